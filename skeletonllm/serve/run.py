"""Run a server until it is told to stop: then what is under way is answered, and nothing new is taken."""

import contextlib
import ipaddress
import logging
import resource
import signal
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from skeletonllm.errors import ConfigError
from skeletonllm.serve.app import Server
from skeletonllm.serve.limits import Limits
from skeletonllm.skeleton.performers import perform

logger = logging.getLogger(__name__)

_GRACE_S = 30
_BACKLOG = 2048
_LAST_PORT = 65535


def serve(
    student: Any,
    model: str,
    host: str,
    port: int,
    limits: Limits,
    key: str = "",
    ready: Callable[[str], None] = print,
) -> None:
    """Serve a student until SIGTERM or SIGINT.

    Args:
        student: the model, in evaluation mode.
        model: its name.
        host: the address to listen at; any but this machine's own needs a key.
        port: 0 takes a free one.
        limits: what is accepted.
        key: that clients must give.
        ready: told the address, once requests are answered.

    Raises:
        ConfigError: the address is not to be had, or needs a key.
    """
    check_host(host, key)
    listening = _listen(host, port)
    warm_up(student)
    server = Server(student, model, limits, key)
    config = uvicorn.Config(
        server.app(),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
    _take_many_files()
    # uvicorn sends itself the signal again when it has stopped; then it must not end the process in the middle of this.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    shown = f"[{host}]" if ":" in host else host
    ready(f"http://{shown}:{listening.getsockname()[1]}/v1")
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        server.engine.stop()
        listening.close()


def check_host(host: str, key: str) -> None:
    """Others than this machine need a key.

    Raises:
        ConfigError: they reach the address, and there is none.
    """
    if not key and not _is_loopback(host):
        raise ConfigError(
            f"--host {host}: others reach this address, so a key is needed; give --api-key-file or SKELETONLLM_SERVE_KEY"
        )


def warm_up(student: Any) -> None:
    """Answer once, so that nobody waits for kernels that are built at first use."""
    clip = perform("wave", 0, 0, 0, fps=10.0)
    student.rank(student.renderer.collate([clip]).to(next(student.parameters()).device), ["?"], ["wave", "bow"])


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= _LAST_PORT:  # the resolver takes a larger one for another
        raise ConfigError(f"--port is {port}, must be 0 to {_LAST_PORT}")
    listening = None
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except (OSError, UnicodeError) as error:
        if listening is not None:
            listening.close()
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"{host}:{port}: cannot be listened at ({reason}); choose another --host or --port"
        ) from error
    return listening


def _take_many_files() -> None:
    """Each connection is an open file; the soft limit is often 1024."""
    with contextlib.suppress(OSError, ValueError):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
