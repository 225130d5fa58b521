"""Which Ray cluster may be joined: one of this machine, or one that asks for a token."""

import ipaddress
from urllib.parse import urlsplit

from pipelines.settings import Settings
from skeletonllm.errors import ConfigError


def check_cluster(settings: Settings) -> None:
    """Refuse a cluster that anybody in the network could give work to: whoever joins one runs what others send.

    Raises:
        ConfigError: says what to set.
    """
    address = settings.ray_address
    if not address or settings.ray_has_token or settings.ray_insecure or _is_here(address):
        return
    raise ConfigError(
        f"RAY_ADDRESS is {address}, which may be another machine, and RAY_AUTH_MODE is not `token`: whoever reaches that "
        "cluster runs code on it, and here; set RAY_AUTH_MODE=token with RAY_AUTH_TOKEN_PATH (or RAY_AUTH_TOKEN), or "
        "SKELETONLLM_RAY_INSECURE=1 where nobody else is in the network"
    )


def _is_here(address: str) -> bool:
    """Whether an address, with or without a scheme, is this machine's loopback; `auto` may be anywhere."""
    if address == "local":
        return True
    host = urlsplit(address if "//" in address else f"//{address}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
