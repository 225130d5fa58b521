"""Clients of servers that speak the OpenAI protocol: no redirects, no detour, nothing about the key in an error."""

import ipaddress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from skeletonllm.answer.address import OPENAI_URL, Rules, check_key, check_peer, check_url
from skeletonllm.errors import ConfigError

if TYPE_CHECKING:
    import openai

# A shorter key, such as the EMPTY of many local servers, is no secret, and a word that answers may well hold.
_SECRET_LETTERS = 16


def connect(
    url: str,
    key: str,
    rules: Rules | None = None,
    timeout_s: float = 120.0,
    retries: int = 0,
    api_version: str = "",
) -> "openai.OpenAI":
    """A client of one server, which goes to that server and nowhere else.

    It does not follow redirects: what is asked, with the key, would go to an address that nobody has checked. A name is
    checked again as what it leads to, before anything is sent. A key that the server repeats is cut from what it says.

    Args:
        url: of the server; empty for the OpenAI API itself.
        key: of the server; empty where it wants none.
        rules: which servers may be asked.
        timeout_s: for one answer.
        retries: of the package itself.
        api_version: given, the server is spoken to as Azure does.

    Raises:
        ConfigError: the address may not be asked, or the key cannot be one, or is missing where one is needed.
    """
    import openai

    url = url or OPENAI_URL
    check_url(url, "OPENAI_BASE_URL", rules)
    check_key(key)
    if not key and url.startswith(OPENAI_URL):
        raise ConfigError(
            "OPENAI_API_KEY is not set in this process, and the OpenAI API needs it; set it, or OPENAI_API_KEY_FILE (on a "
            "cluster: where the workers are started), or name another server in OPENAI_BASE_URL"
        )
    encrypted = urlsplit(url).scheme == "https"

    def look(event: str, told: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            stream = told["return_value"]
            peer = ipaddress.ip_address(stream.get_extra_info("server_addr")[0])
            try:
                check_peer(peer, "OPENAI_BASE_URL", encrypted)
            except ConfigError:
                stream.close()
                raise

    def watch(request: Any) -> None:
        request.extensions = {**request.extensions, "trace": look}

    def hide(response: Any) -> None:
        # Some servers repeat the key that they refuse. Files of results are large, and were made without the key.
        if response.status_code >= 300 or not response.request.url.path.endswith("/content"):
            response.read()
            if len(key) >= _SECRET_LETTERS and key.encode() in response.content:
                response._content = response.content.replace(key.encode(), b"[key]")

    options: dict[str, Any] = {
        "api_key": key or "none",  # local servers ask for no key, the package does
        "max_retries": retries,
        "http_client": openai.DefaultHttpxClient(
            follow_redirects=False,
            timeout=timeout_s,
            trust_env=encrypted,  # a proxy of the environment is for what leaves the house
            event_hooks={"request": [watch], "response": [hide]},
        ),
    }
    if api_version:
        return openai.AzureOpenAI(azure_endpoint=url, api_version=api_version, **options)
    return openai.OpenAI(base_url=url, **options)


def without_frames(error: BaseException) -> BaseException:
    """The same error, and those that led to it, without the frames that they went through.

    In those frames lie headers with the key, which a crash report that shows local variables would print.
    """
    seen, left = set(), [error]
    while left:
        one = left.pop()
        if id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            left += [other for other in (one.__cause__, one.__context__) if other is not None]
    return error
