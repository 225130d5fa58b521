"""What the ledger tells of money and of answers: by model, and what an answer has taken so far."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from pipelines.teacher.database import ATTEMPT, REQUEST, VERDICT
from pipelines.teacher.entries import NANO
from pipelines.teacher.ledger import Caps, Ledger, Totals
from skeletonllm.log import progress

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Spent:
    """What a model took of a budget.

    Args:
        model: as its server calls it.
        requests: that were or may have been charged.
        tokens: of them.
        cost: of them, USD.
    """

    model: str
    requests: int
    tokens: int
    cost: float


@dataclass(frozen=True)
class Answers:
    """What answers to one prompt have taken so far, on average.

    Args:
        count: of settled requests.
        prompt_tokens: of the question, pictures and all.
        completion_tokens: of the answer.
    """

    count: int
    prompt_tokens: float
    completion_tokens: float


def spent_by_model(ledger: Ledger, budget: str) -> list[Spent]:
    """What each model took of a budget, the dearest first."""

    def work(connection: Connection) -> list[Spent]:
        query = (
            select(REQUEST.c.model, func.count(), func.sum(ATTEMPT.c.tokens), func.sum(ATTEMPT.c.cost))
            .join(REQUEST, REQUEST.c.key == ATTEMPT.c.key)
            .where(ATTEMPT.c.budget == budget, ATTEMPT.c.state != "failed")
            .group_by(REQUEST.c.model)
        )
        rows = [
            Spent(name, count, int(tokens), int(cost) / NANO) for name, count, tokens, cost in connection.execute(query)
        ]
        return sorted(rows, key=lambda row: (-row.cost, -row.tokens, row.model))

    return ledger.database.do(work)


def past_answers(ledger: Ledger, model: str, base_url: str, prompt_version: str) -> Answers:
    """What a model's answers to a prompt have taken so far."""

    def work(connection: Connection) -> Answers:
        query = (
            select(func.count(), func.avg(ATTEMPT.c.prompt_tokens), func.avg(ATTEMPT.c.completion_tokens))
            .join(REQUEST, REQUEST.c.key == ATTEMPT.c.key)
            .where(
                ATTEMPT.c.state == "settled",
                REQUEST.c.model == model,
                REQUEST.c.endpoint == base_url,
                REQUEST.c.prompt_version == prompt_version,
            )
        )
        count, prompt_tokens, completion_tokens = connection.execute(query).one()
        return Answers(count, float(prompt_tokens or 0), float(completion_tokens or 0))

    return ledger.database.do(work)


def judged_since(ledger: Ledger, moment: float) -> int:
    """Of how many clips a reply was judged since a moment, in seconds since 1970."""
    query = select(func.count(VERDICT.c.clip_id.distinct())).where(VERDICT.c.made_at >= moment)
    return ledger.database.do(lambda connection: connection.execute(query).scalar_one())


def told_totals(totals: Totals, caps: Caps) -> str:
    """What was spent, and of how much where there is a cap, in words."""
    parts = []
    if totals.cost or caps.max_cost is not None:
        parts.append(f"{totals.cost:.4f}{_of(caps.max_cost, '.4f')} USD")
    parts.append(f"{totals.requests:,}{_of(caps.max_requests)} requests")
    parts.append(f"{totals.tokens:,}{_of(caps.max_tokens)} tokens")
    if totals.in_doubt:
        parts.append(f"of these {totals.in_doubt} in doubt, counted in full")
    return ", ".join(parts)


@contextmanager
def shown_spending(
    ledger: Ledger, budget: str, caps: Caps, num_clips: int, watch: Callable[[Totals], None] | None = None
) -> Iterator[None]:
    """Progress while the teacher is asked, wherever that happens: clips judged, what was spent, and what time is left.

    Args:
        ledger: which the askers share.
        budget: that they spend.
        caps: of it.
        num_clips: to be asked about.
        watch: told every second what was spent, in a thread of its own, and at the end.
    """
    began, over = time.time(), threading.Event()
    with progress("asking the teacher", num_clips, "clips") as tick:

        def look() -> None:
            totals = ledger.totals(budget)
            tick(min(num_clips, judged_since(ledger, began)), told_totals(totals, caps))
            if watch is not None:
                watch(totals)

        def look_often() -> None:
            while not over.wait(_LOOK_EVERY_S):
                look()

        thread = threading.Thread(target=look_often, name="spending", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            look()
    logger.info("the teacher has taken %s", told_totals(ledger.totals(budget), caps))


def _of(cap: float | None, form: str = ",") -> str:
    return "" if cap is None else f" of at most {cap:{form}}"
