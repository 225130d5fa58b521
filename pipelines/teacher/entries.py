"""The ledger's statements, each inside a transaction that nobody else writes in. See `ledger.py` for what they mean."""

import json
import logging
import math
import time
import zlib
from dataclasses import asdict
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update
from sqlalchemy import delete as delete_from

from pipelines.teacher.database import ATTEMPT, BUDGET, OWNER, PACE, REPLY, REQUEST, VERDICT
from pipelines.teacher.owners import is_alive
from pipelines.teacher.request import TeacherReply, TeacherRequest
from pipelines.teacher.terms import Attempt, Bound, Caps, Pace, Totals, Wait
from skeletonllm.errors import BudgetError, DataError

logger = logging.getLogger(__name__)

OPEN = ("reserved", "sent")
NANO = 1_000_000_000

NEW_ATTEMPT, NEW_REQUEST, _NEW_REPLY = insert(ATTEMPT), insert(REQUEST), insert(REPLY)
FIND_REPLY = select(REPLY.c.reply).where(REPLY.c.key == bindparam("key"))
_LAST_REASON = select(ATTEMPT.c.reason).where(ATTEMPT.c.key == bindparam("key")).order_by(ATTEMPT.c.id.desc()).limit(1)
ATTEMPTS = select(ATTEMPT.c.state, ATTEMPT.c.owner, ATTEMPT.c.batch).where(ATTEMPT.c.key == bindparam("key"))
SENT = (
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
ADD = (
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
FORGET_VERDICT = delete_from(VERDICT).where(VERDICT.c.key == bindparam("is"))


def turn(connection: Connection, pace: Pace) -> float:
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


def nano(usd: float) -> int:
    """Billionths of a dollar, rounded up. A price of a millionth of a cent a token is still a whole number."""
    return math.ceil(round(usd * NANO, 3))


def known_reply(connection: Connection, key: str) -> TeacherReply | None:
    """The reply that is kept."""
    row = connection.execute(FIND_REPLY, {"key": key}).first()
    if row is None:
        return None
    try:
        return TeacherReply(**json.loads(row.reply))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"the ledger's reply to request {key[:12]} cannot be read ({error}); delete that row"
        ) from error


def request_row(request: TeacherRequest, key: str, now: float) -> dict[str, Any]:
    """A request as it is kept."""
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


def check(connection: Connection, bound: Bound, caps: Caps, budget: str) -> Wait | None:
    """Whether the caps leave room.

    Raises:
        BudgetError: they do not, and will not.
    """
    over = _over(connection, bound, caps, budget)
    if over is None:
        return None
    if bury(connection):  # a dead process may hold money that was never sent
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
    wanted = nano(bound.cost)
    if caps.max_cost is not None and cost + wanted > nano(caps.max_cost):
        return (
            f"the teacher has cost {cost / NANO:.4f} USD, the next request may cost {wanted / NANO:.4f}, at most "
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


def end(connection: Connection, attempt: int, row: dict[str, Any]) -> None:
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
    connection.execute(ADD, {"is": before.budget, **change})


def settle(
    connection: Connection, attempt: Attempt, reply: TeacherReply, http_status: int = 200, response_id: str = ""
) -> None:
    """Keep a reply and what it really cost."""
    row = {
        "state": "settled",
        "tokens": reply.prompt_tokens + reply.completion_tokens,
        "cost": nano(attempt.bound.cost if reply.cost is None else reply.cost),
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "http_status": http_status,
        "response_id": response_id,
    }
    end(connection, attempt.id, row)
    if connection.execute(FIND_REPLY, {"key": attempt.key}).first() is None:  # a reply is written once and stays
        connection.execute(_NEW_REPLY, {"key": attempt.key, "reply": json.dumps(asdict(reply))})


def fail(
    connection: Connection, attempt: Attempt, reason: str, http_status: int | None = None, in_doubt: bool = False
) -> None:
    """Write that an attempt brought no reply."""
    state = {"state": "in doubt"} if in_doubt else {"state": "failed", "tokens": 0, "cost": 0}
    end(connection, attempt.id, {**state, "http_status": http_status, "reason": reason.replace("\0", "")[:500]})


def last_reason(connection: Connection, key: str) -> str:
    """Why the last attempt at a request brought no reply; empty where there was none."""
    return connection.scalar(_LAST_REASON, {"key": key}) or ""


def bury(connection: Connection) -> int:
    """End what dead processes left: in doubt where it was sent, failed where it was not. How many that were."""
    alive: dict[str, bool] = {}
    buried = 0
    for one in connection.execute(_UNDER_WAY).all():
        if one.owner not in alive:
            alive[one.owner] = is_alive(one.owner, one.seen_at or 0.0)
        if not alive[one.owner]:
            state = {"state": "in doubt"} if one.state == "sent" else {"state": "failed", "tokens": 0, "cost": 0}
            end(connection, one.id, {**state, "reason": "its process died"})
            buried += 1
    return buried


def show_life(connection: Connection, me: str) -> None:
    """Note that a process lives."""
    now = time.time()
    if connection.execute(_SEEN, {"is": me, "now": now}).rowcount == 0:
        connection.execute(insert(OWNER), {"name": me, "seen_at": now})


def totals(connection: Connection, budget: str | None) -> Totals:
    """What a budget, or all of them, has come to."""
    query = select(ATTEMPT.c.state, func.count(), func.sum(ATTEMPT.c.tokens), func.sum(ATTEMPT.c.cost))
    if budget is not None:
        query = query.where(ATTEMPT.c.budget == budget)
    by_state = {
        state: (number, int(tokens), int(cost) / NANO)
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
