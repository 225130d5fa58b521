"""What was asked, what came back and what it cost: nothing is paid for twice, and no cap is ever passed.

Money is reserved before a request is written to the network, by what it can cost at most, in the transaction that checks
the caps; afterwards it is settled. An attempt goes through these states:

    reserved ──> sent ──> settled      the reply is there; what it really cost counts
        │          ├────> failed       the server did not charge; nothing counts
        │          └────> in doubt     nobody knows whether it was charged; all that was reserved counts
        └────> failed                  it was never sent

Whoever dies leaves attempts behind that nobody else can finish: those that were sent become in doubt, the others failed.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, insert

from pipelines.teacher import entries
from pipelines.teacher.database import BUDGET, VERDICT, Database
from pipelines.teacher.owners import this_owner
from pipelines.teacher.request import TeacherReply, TeacherRequest
from pipelines.teacher.terms import Attempt, Bound, Caps, Pace, Totals, Wait
from skeletonllm.errors import BudgetError, RequestError

__all__ = ["MOST_IN_DOUBT", "Attempt", "Bound", "Caps", "Ledger", "Pace", "Totals", "Wait"]

# How often a request is sent whose answer got lost. Each may have been paid for.
MOST_IN_DOUBT = 2


class Ledger:
    """The ledger of one place, for the threads of one process; other processes open their own.

    Args:
        database: where it is kept.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._me = this_owner()

    @classmethod
    def open(cls, url: str) -> "Ledger":
        """The ledger at an address; it is made when it is not there.

        Raises:
            ConfigError: the address is none, or its driver is not installed.
            DataError: it cannot be opened, or is no ledger.
        """
        me = this_owner()
        ledger = cls(Database(url, idle=lambda connection: entries.show_life(connection, me)))
        ledger.database.do(lambda connection: (entries.show_life(connection, me), entries.bury(connection)))
        return ledger

    def close(self) -> None:
        """Finish what is being written and let go of the database."""
        self.database.close()

    def reserve(
        self,
        request: TeacherRequest,
        bound: Bound,
        caps: Caps,
        budget: str = "",
        batch: str = "",
        pace: Pace | None = None,
    ) -> Attempt | TeacherReply | Wait:
        """Leave to send a request, or the reply where there is one already.

        Args:
            request: what is asked.
            bound: what it can take at most.
            caps: of the budget; what is reserved and what was spent stay below them together.
            budget: what this is paid from, by name. Every run that gives the same name shares it.
            batch: the batch that the request goes with. Its attempts do not die with this process.
            pace: gives the attempt its turn.

        Returns:
            The attempt; or the reply; or `Wait` while the same request, or money that may come free, is under way.

        Raises:
            BudgetError: a cap does not leave enough.
            RequestError: it was sent twice, and nobody knows what came of it.
            DataError: the ledger cannot be used.
        """

        def work(connection: Connection) -> Attempt | TeacherReply | Wait:
            leave = self._reserve(connection, request, bound, caps, budget, batch)
            if pace is None or not isinstance(leave, Attempt):
                return leave
            return replace(leave, send_at=entries.turn(connection, pace))

        return self.database.do(work)

    def reserve_all(
        self, requests: Sequence[tuple[TeacherRequest, Bound]], caps: Caps, budget: str = "", batch: str = ""
    ) -> list[Attempt | TeacherReply | Wait | RequestError | BudgetError]:
        """`reserve` for many requests in one transaction; what it would raise stands in the list."""

        def work(connection: Connection) -> list[Attempt | TeacherReply | Wait | RequestError | BudgetError]:
            results = []
            for request, bound in requests:
                try:
                    results.append(self._reserve(connection, request, bound, caps, budget, batch))
                except (BudgetError, RequestError) as error:
                    results.append(error)
            return results

        return self.database.do(work)

    def mark_sent(self, attempt: Attempt) -> None:
        """To be called just before the first byte goes out: from here on the server may charge.

        Raises:
            RequestError: this process was taken for dead meanwhile, and its attempt given up; it must not be sent.
        """
        row = {"is": attempt.id, "now": time.time()}
        if self.database.do(lambda connection: connection.execute(entries.SENT, row).rowcount) == 0:
            raise RequestError(f"request {attempt.key[:12]}: was held for too long and given up; run again to ask it")

    def settle(self, attempt: Attempt, reply: TeacherReply, http_status: int = 200, response_id: str = "") -> None:
        """Keep a reply and what it really cost; where it does not say its cost, all that was reserved counts."""
        self.database.do(lambda connection: entries.settle(connection, attempt, reply, http_status, response_id))

    def fail(self, attempt: Attempt, reason: str, http_status: int | None = None, in_doubt: bool = False) -> None:
        """An attempt brought no reply.

        Args:
            attempt: which.
            reason: in a sentence.
            http_status: where the server answered.
            in_doubt: whether it may have been charged all the same, as when the connection broke after it was sent.
        """
        self.database.do(lambda connection: entries.fail(connection, attempt, reason, http_status, in_doubt))

    def reply(self, key: str) -> TeacherReply | None:
        """The reply to a request, if there is one."""
        return self.database.do(lambda connection: entries.known_reply(connection, key))

    def last_reason(self, key: str) -> str:
        """Why the last attempt at a request brought no reply; empty where there was none."""
        return self.database.do(lambda connection: entries.last_reason(connection, key))

    def bury(self) -> None:
        """End what dead processes left."""
        self.database.do(entries.bury)

    def judge(self, key: str, clip_id: str, verdict: str, reasons: Sequence[str] = ()) -> None:
        """Keep what came of checking a reply; the latest judgement holds."""
        row = {
            "key": key,
            "clip_id": clip_id,
            "verdict": verdict,
            "reasons": json.dumps(list(reasons)),
            "made_at": time.time(),
        }

        def work(connection: Connection) -> None:
            connection.execute(entries.FORGET_VERDICT, {"is": key})
            connection.execute(insert(VERDICT), row)

        self.database.do(work)

    def totals(self, budget: str | None = None) -> Totals:
        """What a budget has come to, or all budgets together where none is named."""
        return self.database.do(lambda connection: entries.totals(connection, budget))

    def _reserve(
        self, connection: Connection, request: TeacherRequest, bound: Bound, caps: Caps, budget: str, batch: str
    ) -> Attempt | TeacherReply | Wait:
        key = request.key
        known = entries.known_reply(connection, key)
        if known is not None:
            return known
        earlier = connection.execute(entries.ATTEMPTS, {"key": key}).all()
        if any(one.state in entries.OPEN for one in earlier):
            entries.bury(connection)
            earlier = connection.execute(entries.ATTEMPTS, {"key": key}).all()
            for one in earlier:
                if one.state in entries.OPEN:
                    return Wait(f"batch {one.batch} asks it" if one.batch else f"process {one.owner} asks it")
        if sum(one.state == "in doubt" for one in earlier) >= MOST_IN_DOUBT:
            raise RequestError(
                f"request {key[:12]}: was sent {MOST_IN_DOUBT} times, and the answer was lost each time; it may have been "
                "paid for, so it is not sent again"
            )
        wait = entries.check(connection, bound, caps, budget)
        if wait is not None:
            return wait
        now = time.time()
        if not earlier:
            connection.execute(entries.NEW_REQUEST, entries.request_row(request, key, now))
        spent = {"name": budget, "requests": 1, "tokens": bound.tokens, "cost": entries.nano(bound.cost)}
        if connection.execute(entries.ADD, {"is": budget, **spent}).rowcount == 0:
            connection.execute(insert(BUDGET), spent)
        row = {
            "key": key,
            "budget": budget,
            "owner": "" if batch else self._me,
            "batch": batch,
            "state": "reserved",
            "tokens": bound.tokens,
            "cost": spent["cost"],
            "reserved_at": now,
        }
        made = connection.execute(entries.NEW_ATTEMPT, row).inserted_primary_key
        assert made is not None
        return Attempt(made[0], key, len(earlier) + 1, bound)
