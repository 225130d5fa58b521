"""Lets Prefect's server know how it stands with the teacher's budget; `infra/prefect/automations.yaml` acts on it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect.events import emit_event

from pipelines.teacher.terms import Caps, Totals
from skeletonllm.errors import BudgetError

BUDGET_EVENT = "skeletonllm.teacher.budget"
_TOLD_FROM = 0.8


@contextmanager
def told_budget(workdir: Path, caps: Caps) -> Iterator[Callable[[Totals], None]]:
    """Send an event once four fifths of the money are spent, and one where a cap ends the block.

    Args:
        workdir: whose budget it is.
        caps: of it.

    Yields:
        What is to be told the totals, as often as one likes. What requests under way may cost is not spent yet.
    """
    is_told = False

    def look(totals: Totals) -> None:
        nonlocal is_told
        spent, cap = totals.cost - totals.reserved_cost, caps.max_cost
        if not is_told and cap and spent >= _TOLD_FROM * cap:
            is_told = True
            _tell(workdir, f"{spent:.4f} of at most {cap:.4f} USD are spent on the teacher of {workdir}")

    try:
        yield look
    except BudgetError as error:
        _tell(workdir, f"asking the teacher of {workdir} has stopped: {error}")
        raise


def _tell(workdir: Path, message: str) -> None:
    resource = {"prefect.resource.id": f"skeletonllm.workdir.{workdir}", "prefect.resource.name": str(workdir)}
    emit_event(BUDGET_EVENT, resource=resource, payload={"message": message})
