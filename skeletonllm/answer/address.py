"""Which servers may be asked, and by which addresses. Nothing here connects; `connect.py` does."""

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from skeletonllm.errors import ConfigError

PREFIX = "openai:"
OPENAI_URL = "https://api.openai.com/v1"
_WANTED = "give openai:MODEL@http://host:port/v1, or openai:MODEL with OPENAI_BASE_URL"
# Clouds answer with the machine's own credentials at these; most are link-local, these are not.
_METADATA = frozenset(ipaddress.ip_address(text) for text in ("fd00:ec2::254", "100.100.100.200", "168.63.129.16"))
_QUERY = ("api-version",)  # Azure's; anything else in a query may be a key, and addresses are kept in manifests

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Rules:
    """Which servers may be asked.

    Args:
        hosts: names of hosts, `*.example.org` for all below one; empty for any.
        allow_http: whether a private network may be trusted with an unencrypted connection; this machine always is.
    """

    hosts: tuple[str, ...] = ()
    allow_http: bool = False


@dataclass(frozen=True)
class Address:
    """A model behind an address. The key is in no repr, so it is in no log."""

    model: str
    url: str
    key: str = field(default="", repr=False)


def parse_address(text: str, default_url: str = "", key: str = "", rules: Rules | None = None) -> Address:
    """What `openai:MODEL@http://host:port/v1` says.

    Args:
        text: with or without an address.
        default_url: where the text has none; by default the OpenAI API itself.
        key: of the server.
        rules: which servers may be asked; by default any, over https or on this machine.

    Raises:
        ConfigError: no model, an address that may not be asked or holds a password, or a key that cannot be one.
    """
    model, at, rest = text.removeprefix(PREFIX).partition("@http")
    if not model:
        raise ConfigError(f"model {PREFIX}: names no model; {_WANTED}")
    url = f"http{rest}" if at else default_url or OPENAI_URL
    check_url(url, f"model {PREFIX}{model}" if at else "OPENAI_BASE_URL", rules)
    check_key(key)
    return Address(model, url, key)


def check_key(key: str, where: str = "OPENAI_API_KEY") -> None:
    """Refuse what no header can hold.

    Raises:
        ConfigError: says where, and not what.
    """
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"{where} holds letters that no key has (not ASCII, or blanks); copy it again")


def check_url(url: str, where: str, rules: Rules | None = None) -> None:
    """Refuse an address that must not be asked, or that must not be written down.

    Addresses are logged and kept in manifests, so no secret may be in one; as it may hold one, the message shows no more of
    it than the host.

    Args:
        url: of a server, up to and with its /v1.
        where: it was given.
        rules: which servers may be asked.

    Raises:
        ConfigError: it is none, holds a password, is not on the list, is not encrypted, or leads to a cloud's metadata.
    """
    rules = rules or Rules()
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ConfigError(f"{where}: it is no address, must be one like http://localhost:8000/v1") from None
    if "@" in parts.netloc:
        raise ConfigError(
            f"{where}: it holds a user name or a password; give the address alone and the key in OPENAI_API_KEY"
        )
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(
            f"{where}: it does not begin with http:// or https:// and a host, must be an address like "
            "http://localhost:8000/v1"
        )
    if parts.fragment or any(name not in _QUERY for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        raise ConfigError(
            f"{where}: its end, after ? or #, may hold a key; give the address alone (of a query only "
            f"{', '.join(_QUERY)} is taken) and the key in OPENAI_API_KEY"
        )
    host = host.rstrip(".").lower()
    literal = _ip(host)
    if literal is not None:
        check_peer(literal, where, encrypted=parts.scheme == "https")
    if rules.hosts and not any(_fits(host, allowed.lower().rstrip(".")) for allowed in rules.hosts):
        raise ConfigError(
            f"{where}: host {host} is not in SKELETONLLM_TEACHER_HOSTS ({', '.join(rules.hosts)}); add it there if it "
            "may see recordings and the key"
        )
    if parts.scheme == "http" and not rules.allow_http and not is_this_machine(host):
        raise ConfigError(
            f"{where}: http://{host} is not encrypted, so anybody on the way reads the key; use https://, or, for a server "
            "in a private network that you trust, set SKELETONLLM_TEACHER_INSECURE=1"
        )


def check_peer(address: IPAddress, where: str, encrypted: bool) -> None:
    """Refuse the machine at the other end: a cloud's metadata service, or an unencrypted one across the internet.

    Raises:
        ConfigError: says which.
    """
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_link_local or address.is_multicast or address in _METADATA:
        raise ConfigError(
            f"{where}: it leads to {address}, where clouds keep a machine's own credentials, and no model; give the "
            "server's address"
        )
    if not encrypted and address.is_global:
        raise ConfigError(
            f"{where}: it leads to {address} across the internet without encryption, so anybody on the way reads the key; "
            "use https://"
        )


def is_this_machine(host: str) -> bool:
    """Whether a host's name or number means this machine."""
    address = _ip(host)
    return host == "localhost" if address is None else address.is_loopback or address.is_unspecified


def _ip(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _fits(host: str, allowed: str) -> bool:
    return host.endswith(allowed[1:]) if allowed.startswith("*.") else host == allowed
