"""What Prefect does for us at its import, in every process where `plugins.enabled` is set, as in `pyproject.toml`.

* `prefect deployment run build-teacher-chains` names one of our deployments by one word. The stock command accepts only
  FLOW/DEPLOYMENT; our flows and deployments have the same name, so one word says both.
* An embedded server ends with the process that started it, also where that one was killed.
* What our packages log is sent to the server with the run that it belongs to.
"""

import functools
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from prefect.plugins import register_hook

_PARENT_SEEN_EVERY_S = 1.0
_READERS = ("PrefectClient", "SyncPrefectClient")


@register_hook
def setup_environment(*, ctx: Any) -> None:
    """Called by Prefect at its import."""
    let_our_lines_through()
    if os.environ.get("PREFECT__SERVER_EPHEMERAL") == "1":
        threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()
    elif "deployment" in sys.argv[1:2]:
        teach_short_names()


def let_our_lines_through() -> None:
    """Log from INFO on: Prefect gives our loggers its handler (`extra_loggers`), but leaves them the root's level."""
    for name in ("flows", "pipelines", "skeletonllm"):
        if logging.getLogger(name).level == logging.NOTSET:
            logging.getLogger(name).setLevel(logging.INFO)


def end_with_parent(parent: int) -> None:
    """End this process as soon as its parent has ended."""
    while os.getppid() == parent:
        time.sleep(_PARENT_SEEN_EVERY_S)
    os._exit(0)


def teach_short_names() -> None:
    """Let the clients of this process understand one word as the name of a deployment."""
    from prefect.client import orchestration

    for name in _READERS:
        client = getattr(orchestration, name)
        client.read_deployment_by_name = accept_one_word(client.read_deployment_by_name)


def accept_one_word(read_by_name: Callable[..., Any]) -> Callable[..., Any]:
    """The same method, to which `x` means `x/x`."""

    @functools.wraps(read_by_name)
    def read(self: Any, name: str, *rest: Any, **named: Any) -> Any:
        return read_by_name(self, name if "/" in name else f"{name}/{name}", *rest, **named)

    return read
