"""Lets `prefect deployment run build-teacher-chains` name one of our deployments by one word.

The stock command accepts only FLOW/DEPLOYMENT. Our flows and deployments have the same name, so one word says both.
Prefect loads this as a plugin (entry point `prefect.plugins`) where `plugins.enabled` is set, as in `pyproject.toml`.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

from prefect.plugins import register_hook

_READERS = ("PrefectClient", "SyncPrefectClient")


@register_hook
def setup_environment(*, ctx: Any) -> None:
    """Teach the clients of this process the short names; other commands than `deployment` are left alone."""
    if "deployment" not in sys.argv[1:2]:
        return
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
