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
import logging
import math
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update
from sqlalchemy import delete as delete_from

from pipelines.teacher.database import ATTEMPT, BUDGET, OWNER, PACE, REPLY, REQUEST, VERDICT, Database
from pipelines.teacher.owners import is_alive, this_owner
from pipelines.teacher.request import TeacherReply, TeacherRequest
from skeletonllm.errors import BudgetError, DataError, RequestError

logger = logging.getLogger(__name__)

OPEN = ("reserved", "sent")
# How often a request is sent whose answer got lost. Each may have been paid for.
MOST_IN_DOUBT = 2
_NANO = 1_000_000_000


@dataclass(frozen=True)
class Caps:
    """What a budget may come to, over all runs that share it; None is no limit. Cost is in USD."""

    max_cost: float | None = None
    max_tokens: int | None = None
    max_requests: int | None = None


@dataclass(frozen=True)
class Bound:
    """What a request can take at most: tokens in and out together, and USD."""

    tokens: int
    cost: float


@dataclass(frozen=True)
class Attempt:
    """Leave to send a request once.

    Args:
        id: of the row.
        key: of the request. It is also the idempotency key: a server that knows such keys charges once for all attempts.
        number: 1 for the first.
        bound: what is reserved.
        send_at: not before, in seconds since 1970; 0 where nobody asked for a pace.
    """

    id: int
    key: str
    number: int
    bound: Bound
    send_at: float = 0.0


@dataclass(frozen=True)
class Pace:
    """How fast a server may be asked, by all processes together.

    Args:
        name: of whoever shares it.
        requests: a minute; None is no limit.
        tokens: a minute; None is no limit.
        counted_tokens: how many of them the request counts as.
        paused_until: as this process was told by the server, in seconds since 1970.
    """

    name: str
    requests: float | None
    tokens: float | None
    counted_tokens: float
    paused_until: float


@dataclass(frozen=True)
class Wait:
    """Not now, but perhaps in a moment: why."""

    reason: str


@dataclass(frozen=True)
class Totals:
    """What was spent. In doubt and reserved are part of the first three.

    Args:
        requests: that were or may have been charged.
        tokens: of them.
        cost: of them, USD.
        in_doubt: how many requests nobody knows of whether they were charged.
        in_doubt_cost: of these, USD.
        reserved: how many requests are under way.
        reserved_cost: of these, USD.
        failed: attempts that were not charged.
        settled: requests with a reply.
    """

    requests: int = 0
    tokens: int = 0
    cost: float = 0.0
    in_doubt: int = 0
    in_doubt_cost: float = 0.0
    reserved: int = 0
    reserved_cost: float = 0.0
    failed: int = 0
    settled: int = 0


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
        ledger = cls(Database(url, idle=lambda connection: _show_life(connection, me)))
        ledger.database.do(lambda connection: (_show_life(connection, me), _bury(connection)))
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
            return replace(leave, send_at=_turn(connection, pace))

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
        if self.database.do(lambda connection: connection.execute(_SENT, row).rowcount) == 0:
            raise RequestError(f"request {attempt.key[:12]}: was held for too long and given up; run again to ask it")

    def settle(self, attempt: Attempt, reply: TeacherReply, http_status: int = 200, response_id: str = "") -> None:
        """Keep a reply and what it really cost; where it does not say its cost, all that was reserved counts."""
        self.database.do(lambda connection: settle_within(connection, attempt, reply, http_status, response_id))

    def fail(self, attempt: Attempt, reason: str, http_status: int | None = None, in_doubt: bool = False) -> None:
        """An attempt brought no reply.

        Args:
            attempt: which.
            reason: in a sentence.
            http_status: where the server answered.
            in_doubt: whether it may have been charged all the same, as when the connection broke after it was sent.
        """
        self.database.do(lambda connection: fail_within(connection, attempt, reason, http_status, in_doubt))

    def reply(self, key: str) -> TeacherReply | None:
        """The reply to a request, if there is one."""
        return self.database.do(lambda connection: _known_reply(connection, key))

    def last_reason(self, key: str) -> str:
        """Why the last attempt at a request brought no reply; empty where there was none."""
        query = select(ATTEMPT.c.reason).where(ATTEMPT.c.key == key).order_by(ATTEMPT.c.id.desc()).limit(1)
        return self.database.do(lambda connection: connection.scalar(query)) or ""

    def bury(self) -> None:
        """End what dead processes left."""
        self.database.do(_bury)

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
            connection.execute(_FORGET_VERDICT, {"is": key})
            connection.execute(insert(VERDICT), row)

        self.database.do(work)

    def totals(self, budget: str | None = None) -> Totals:
        """What a budget has come to, or all budgets together where none is named."""
        return self.database.do(lambda connection: _totals(connection, budget))

    def _reserve(
        self, connection: Connection, request: TeacherRequest, bound: Bound, caps: Caps, budget: str, batch: str
    ) -> Attempt | TeacherReply | Wait:
        key = request.key
        known = _known_reply(connection, key)
        if known is not None:
            return known
        earlier = connection.execute(_ATTEMPTS, {"key": key}).all()
        if any(one.state in OPEN for one in earlier):
            _bury(connection)
            earlier = connection.execute(_ATTEMPTS, {"key": key}).all()
            for one in earlier:
                if one.state in OPEN:
                    return Wait(f"batch {one.batch} asks it" if one.batch else f"process {one.owner} asks it")
        if sum(one.state == "in doubt" for one in earlier) >= MOST_IN_DOUBT:
            raise RequestError(
                f"request {key[:12]}: was sent {MOST_IN_DOUBT} times, and the answer was lost each time; it may have been "
                "paid for, so it is not sent again"
            )
        wait = _check(connection, bound, caps, budget)
        if wait is not None:
            return wait
        now = time.time()
        if not earlier:
            connection.execute(_NEW_REQUEST, _request_row(request, key, now))
        spent = {"name": budget, "requests": 1, "tokens": bound.tokens, "cost": _nano(bound.cost)}
        if connection.execute(_ADD, {"is": budget, **spent}).rowcount == 0:
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
        made = connection.execute(_NEW_ATTEMPT, row).inserted_primary_key
        assert made is not None
        return Attempt(made[0], key, len(earlier) + 1, bound)


def settle_within(
    connection: Connection, attempt: Attempt, reply: TeacherReply, http_status: int = 200, response_id: str = ""
) -> None:
    """`Ledger.settle` as a part of a transaction."""
    row = {
        "state": "settled",
        "tokens": reply.prompt_tokens + reply.completion_tokens,
        "cost": _nano(attempt.bound.cost if reply.cost is None else reply.cost),
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "http_status": http_status,
        "response_id": response_id,
    }
    _end(connection, attempt.id, row)
    if connection.execute(_REPLY, {"key": attempt.key}).first() is None:  # a reply is written once and stays
        connection.execute(_NEW_REPLY, {"key": attempt.key, "reply": json.dumps(asdict(reply))})


def fail_within(
    connection: Connection, attempt: Attempt, reason: str, http_status: int | None = None, in_doubt: bool = False
) -> None:
    """`Ledger.fail` as a part of a transaction."""
    state = {"state": "in doubt"} if in_doubt else {"state": "failed", "tokens": 0, "cost": 0}
    _end(connection, attempt.id, {**state, "http_status": http_status, "reason": reason.replace("\0", "")[:500]})


_NEW_ATTEMPT, _NEW_REQUEST, _NEW_REPLY = insert(ATTEMPT), insert(REQUEST), insert(REPLY)
_REPLY = select(REPLY.c.reply).where(REPLY.c.key == bindparam("key"))
_ATTEMPTS = select(ATTEMPT.c.state, ATTEMPT.c.owner, ATTEMPT.c.batch).where(ATTEMPT.c.key == bindparam("key"))
_SENT = (
    update(ATTEMPT)
    .where(ATTEMPT.c.id == bindparam("is"), ATTEMPT.c.state == "reserved")
    .values(state="sent", sent_at=bindparam("now"))
)
_ATTEMPT = select(ATTEMPT.c.state, ATTEMPT.c.budget, ATTEMPT.c.tokens, ATTEMPT.c.cost).where(
    ATTEMPT.c.id == bindparam("is")
)
_ENDED = ("prompt_tokens", "completion_tokens", "http_status", "response_id", "reason")
_SET_END = (
    update(ATTEMPT)
    .where(ATTEMPT.c.id == bindparam("is"))
    .values({name: bindparam(name) for name in ("state", "tokens", "cost", *_ENDED, "ended_at")})
)
_SPENT = select(BUDGET.c.requests, BUDGET.c.tokens, BUDGET.c.cost).where(BUDGET.c.name == bindparam("name"))
_ADD = (
    update(BUDGET)
    .where(BUDGET.c.name == bindparam("is"))
    .values(
        requests=BUDGET.c.requests + bindparam("requests"),
        tokens=BUDGET.c.tokens + bindparam("tokens"),
        cost=BUDGET.c.cost + bindparam("cost"),
    )
)
_UNDER_WAY = (
    select(ATTEMPT.c.id, ATTEMPT.c.state, ATTEMPT.c.owner, OWNER.c.seen_at)
    .outerjoin(OWNER, OWNER.c.name == ATTEMPT.c.owner)
    .where(ATTEMPT.c.state.in_(OPEN), ATTEMPT.c.batch == "")
)
_MAY_COME_FREE = select(func.count(), func.sum(ATTEMPT.c.tokens), func.sum(ATTEMPT.c.cost)).where(
    ATTEMPT.c.state.in_(OPEN), ATTEMPT.c.batch == "", ATTEMPT.c.budget == bindparam("name")
)
_SEEN = update(OWNER).where(OWNER.c.name == bindparam("is")).values(seen_at=bindparam("now"))
_PACE = select(PACE.c.next_request_at, PACE.c.next_token_at, PACE.c.paused_until).where(PACE.c.name == bindparam("is"))
_SET_PACE = (
    update(PACE)
    .where(PACE.c.name == bindparam("is"))
    .values({name: bindparam(name) for name in ("next_request_at", "next_token_at", "paused_until")})
)
_FORGET_VERDICT = delete_from(VERDICT).where(VERDICT.c.key == bindparam("is"))


def _turn(connection: Connection, pace: Pace) -> float:
    """When a request may be sent: each comes a little after the one before, whoever sent that."""
    row = connection.execute(_PACE, {"is": pace.name}).first()
    if row is None:
        connection.execute(insert(PACE), {"name": pace.name, **dict.fromkeys(_PACE.selected_columns.keys(), 0.0)})
    request_at, token_at, paused_until = row or (0.0, 0.0, 0.0)
    paused_until = max(paused_until, pace.paused_until)
    at = max(time.time(), paused_until)
    if pace.requests is not None:
        at = max(at, request_at)
        request_at = at + 60.0 / pace.requests
    if pace.tokens is not None:
        at = max(at, token_at)
        token_at = at + 60.0 * pace.counted_tokens / pace.tokens
    after = (request_at, token_at, paused_until)
    if row is None or after != tuple(row):
        connection.execute(_SET_PACE, {"is": pace.name, **dict(zip(_PACE.selected_columns.keys(), after, strict=True))})
    return at


def _nano(usd: float) -> int:
    """Billionths of a dollar, rounded up. A price of a millionth of a cent a token is still a whole number."""
    return math.ceil(round(usd * _NANO, 3))


def _known_reply(connection: Connection, key: str) -> TeacherReply | None:
    row = connection.execute(_REPLY, {"key": key}).first()
    if row is None:
        return None
    try:
        return TeacherReply(**json.loads(row.reply))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"the ledger's reply to request {key[:12]} cannot be read ({error}); delete that row"
        ) from error


def _request_row(request: TeacherRequest, key: str, now: float) -> dict[str, Any]:
    asked = {"messages": [_without_pictures(one) for one in request.messages], "sampling": request.sampling}
    return {
        "key": key,
        "model": request.model,
        "endpoint": request.base_url,
        "prompt_version": request.prompt_version,
        "payload": zlib.compress(json.dumps(asked).encode()),
        "made_at": now,
    }


def _without_pictures(plain: Any) -> Any:
    """The same with each picture's hash in its place: thousands of clips of a dozen pictures would fill the disk."""
    if isinstance(plain, dict):
        return {name: _without_pictures(value) for name, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [_without_pictures(value) for value in plain]
    if isinstance(plain, str) and plain.startswith("data:"):
        return f"sha256:{sha256(plain.encode()).hexdigest()}"
    return plain


def _check(connection: Connection, bound: Bound, caps: Caps, budget: str) -> Wait | None:
    """Whether the caps leave room.

    Raises:
        BudgetError: they do not, and will not.
    """
    over = _over(connection, bound, caps, budget)
    if over is None:
        return None
    if _bury(connection):  # a dead process may hold money that was never sent
        over = _over(connection, bound, caps, budget)
        if over is None:
            return None
    number, tokens, cost = connection.execute(_MAY_COME_FREE, {"name": budget}).one()
    if number and _over(connection, bound, caps, budget, (number, int(tokens), int(cost))) is None:
        return Wait(f"{number} requests under way hold money that may come free")
    raise BudgetError(over)


def _over(
    connection: Connection, bound: Bound, caps: Caps, budget: str, less: tuple[int, int, int] = (0, 0, 0)
) -> str | None:
    """Which cap one more request would pass, in a sentence."""
    if caps == Caps():
        return None
    row = connection.execute(_SPENT, {"name": budget}).first() or (0, 0, 0)
    requests, tokens, cost = (have - free for have, free in zip(row, less, strict=True))
    wanted = _nano(bound.cost)
    if caps.max_cost is not None and cost + wanted > _nano(caps.max_cost):
        return (
            f"the teacher has cost {cost / _NANO:.4f} USD, the next request may cost {wanted / _NANO:.4f}, at most "
            f"{caps.max_cost:.4f} may be spent; give a higher --max-cost and run again: what was answered is kept"
        )
    if caps.max_tokens is not None and tokens + bound.tokens > caps.max_tokens:
        return (
            f"the teacher has taken {tokens} tokens, the next request may take {bound.tokens}, at most {caps.max_tokens} "
            "may be taken; give a higher --max-tokens and run again: what was answered is kept"
        )
    if caps.max_requests is not None and requests + 1 > caps.max_requests:
        return (
            f"the teacher was asked {requests} times, at most {caps.max_requests} are allowed; give a higher "
            "--max-requests and run again: what was answered is kept"
        )
    return None


def _end(connection: Connection, attempt: int, row: dict[str, Any]) -> None:
    """Write how an attempt ended, and correct its budget by what that differs from what was reserved."""
    before = connection.execute(_ATTEMPT, {"is": attempt}).one()
    if before.state not in OPEN:
        # Its process was taken for dead. What the ledger says of money must not become less than what was spent.
        if row["state"] != "settled":
            return
        logger.warning("an attempt that was given up was answered after all")
    counted = 0 if before.state == "failed" else 1
    change = {
        "requests": (0 if row["state"] == "failed" else 1) - counted,
        "tokens": row.get("tokens", before.tokens) - before.tokens,
        "cost": row.get("cost", before.cost) - before.cost,
    }
    kept = {"tokens": before.tokens, "cost": before.cost, **dict.fromkeys(_ENDED), **row, "ended_at": time.time()}
    connection.execute(_SET_END, {"is": attempt, **kept})
    connection.execute(_ADD, {"is": before.budget, **change})


def _bury(connection: Connection) -> int:
    """End what dead processes left: in doubt where it was sent, failed where it was not. How many that were."""
    alive: dict[str, bool] = {}
    buried = 0
    for one in connection.execute(_UNDER_WAY).all():
        if one.owner not in alive:
            alive[one.owner] = is_alive(one.owner, one.seen_at or 0.0)
        if not alive[one.owner]:
            state = {"state": "in doubt"} if one.state == "sent" else {"state": "failed", "tokens": 0, "cost": 0}
            _end(connection, one.id, {**state, "reason": "its process died"})
            buried += 1
    return buried


def _show_life(connection: Connection, me: str) -> None:
    now = time.time()
    if connection.execute(_SEEN, {"is": me, "now": now}).rowcount == 0:
        connection.execute(insert(OWNER), {"name": me, "seen_at": now})


def _totals(connection: Connection, budget: str | None) -> Totals:
    query = select(ATTEMPT.c.state, func.count(), func.sum(ATTEMPT.c.tokens), func.sum(ATTEMPT.c.cost))
    if budget is not None:
        query = query.where(ATTEMPT.c.budget == budget)
    by_state = {
        state: (number, int(tokens), int(cost) / _NANO)
        for state, number, tokens, cost in connection.execute(query.group_by(ATTEMPT.c.state))
    }
    none = (0, 0, 0.0)
    charged = [by_state.get(state, none) for state in (*OPEN, "settled", "in doubt")]
    under_way = [by_state.get(state, none) for state in OPEN]
    return Totals(
        requests=sum(one[0] for one in charged),
        tokens=sum(one[1] for one in charged),
        cost=sum(one[2] for one in charged),
        in_doubt=by_state.get("in doubt", none)[0],
        in_doubt_cost=by_state.get("in doubt", none)[2],
        reserved=sum(one[0] for one in under_way),
        reserved_cost=sum(one[2] for one in under_way),
        failed=by_state.get("failed", none)[0],
        settled=by_state.get("settled", none)[0],
    )
