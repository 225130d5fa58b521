"""The batches of a ledger: what was put into each, how far it is, and who sends it.

    filling ──> submitting ──> submitted ──> done
       │            │              └────────> refused    the server took none of its requests; nothing was charged
       └────────────┴──> dropped                         it never came to be; nothing was charged

A batch outlives the process that sent it. Whoever finds one that nobody looks after goes on with it. One that died while it
was `submitting` may be on the server all the same, under a name that only we know; it is looked for there.
"""

import functools
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from pipelines.teacher.database import ATTEMPT, BATCH, OWNER
from pipelines.teacher.entries import NANO, OPEN, fail, settle
from pipelines.teacher.ledger import Attempt, Bound, Ledger
from pipelines.teacher.owners import is_alive, this_owner
from pipelines.teacher.request import TeacherReply

_UNDER_WAY = ("filling", "submitting", "submitted")
_TOGETHER = 500  # attempts that end in one transaction: others wait for it


@dataclass(frozen=True)
class Batch:
    """A batch as the ledger knows it.

    Args:
        name: ours; the server keeps it too.
        remote_id: the server's; empty until it has given one.
        state: how far it is.
        changed_at: when it came there, in seconds since 1970.
        is_orphan: whether nobody sends it any more.
    """

    name: str
    remote_id: str
    state: str
    changed_at: float
    is_orphan: bool


@dataclass(frozen=True)
class Ended:
    """A request that ended without a reply.

    Args:
        reason: in a sentence.
        http_status: where the server gave one.
        in_doubt: whether it may have been charged all the same.
    """

    reason: str
    http_status: int | None = None
    in_doubt: bool = False


class BatchBook:
    """The batches that one server works on.

    Args:
        ledger: where they are kept.
        endpoint: address of the server.
    """

    def __init__(self, ledger: Ledger, endpoint: str) -> None:
        self._database, self._endpoint, self._me = ledger.database, endpoint, this_owner()

    def under_way(self) -> list[Batch]:
        """All that are not at their end, the oldest first."""
        query = (
            select(BATCH, OWNER.c.seen_at)
            .outerjoin(OWNER, OWNER.c.name == BATCH.c.owner)
            .where(BATCH.c.endpoint == self._endpoint, BATCH.c.state.in_(_UNDER_WAY))
            .order_by(BATCH.c.made_at)
        )
        rows = self._database.do(lambda connection: connection.execute(query).all())
        return [
            Batch(
                row.name,
                row.remote_id,
                row.state,
                row.changed_at,
                row.owner == "" or not is_alive(row.owner, row.seen_at or 0.0),
            )
            for row in rows
        ]

    def begin(self, name: str, budget: str) -> None:
        """Before the first request is reserved for it."""
        row = {
            "name": name,
            "endpoint": self._endpoint,
            "budget": budget,
            "owner": self._me,
            "remote_id": "",
            "state": "filling",
            "made_at": time.time(),
            "changed_at": time.time(),
        }
        self._database.do(lambda connection: connection.execute(insert(BATCH), row))

    def submitting(self, name: str) -> None:
        """Before the server is told to begin: from here on it may charge."""

        def work(connection: Connection) -> None:
            _change(connection, name, state="submitting")
            connection.execute(
                update(ATTEMPT)
                .where(ATTEMPT.c.batch == name, ATTEMPT.c.state == "reserved")
                .values(state="sent", sent_at=time.time())
            )

        self._database.do(work)

    def orphan(self, name: str) -> None:
        """Nobody knows whether the server has it: whoever comes next finds out."""
        self._database.do(lambda connection: _change(connection, name, owner=""))

    def submitted(self, name: str, remote_id: str) -> None:
        """The server has it: whoever comes next looks after it."""
        values = {"state": "submitted", "remote_id": remote_id, "owner": ""}
        self._database.do(lambda connection: _change(connection, name, **values))

    def end(self, name: str, state: str, reason: str, in_doubt: bool = False) -> None:
        """Nothing more will come of it.

        Args:
            name: of the batch.
            state: `done`, `dropped` or `refused`.
            reason: why requests that are still open brought no reply.
            in_doubt: whether these may have been charged.
        """
        ended = Ended(reason, in_doubt=in_doubt)
        left = self._database.do(lambda connection: _open(connection, name))
        self.settle(name, {attempt.key: ended for attempt in left})
        self._database.do(lambda connection: _change(connection, name, state=state, owner=""))

    def attempts(self, name: str) -> dict[str, Attempt]:
        """All that were submitted with it, by their keys."""
        return {one.key: one for one in self._database.do(lambda connection: _attempts(connection, name))}

    def asking(self, keys: Collection[str]) -> set[str]:
        """The batches that ask some of these requests at the moment; an empty name stands for processes that do."""
        listed, names = list(keys), set()
        for start in range(0, len(listed), _TOGETHER):
            query = select(ATTEMPT.c.batch).distinct()
            query = query.where(ATTEMPT.c.key.in_(listed[start : start + _TOGETHER]), ATTEMPT.c.state.in_(OPEN))
            names.update(self._database.do(lambda connection, query=query: connection.scalars(query).all()))
        return names

    def settle(self, name: str, ends: Mapping[str, TeacherReply | Ended]) -> None:
        """Write down what came of requests, by their keys. Of those that somebody else has written down, nothing more."""
        keys = list(ends)
        for start in range(0, len(keys), _TOGETHER):
            self._database.do(functools.partial(_settle, name=name, ends=ends, keys=keys[start : start + _TOGETHER]))


def _settle(connection: Connection, name: str, ends: Mapping[str, TeacherReply | Ended], keys: Sequence[str]) -> None:
    # Only those that are still open: several may settle one batch, and one that was killed half-way begins again.
    for attempt in _open(connection, name, keys):
        end = ends[attempt.key]
        if isinstance(end, TeacherReply):
            settle(connection, attempt, end)
        else:
            fail(connection, attempt, end.reason, end.http_status, end.in_doubt)


def _open(connection: Connection, name: str, keys: Sequence[str] | None = None) -> list[Attempt]:
    wanted = ATTEMPT.c.state.in_(OPEN)
    return _attempts(connection, name, wanted if keys is None else wanted & ATTEMPT.c.key.in_(keys))


def _attempts(connection: Connection, name: str, wanted: ColumnElement[bool] | None = None) -> list[Attempt]:
    before = ATTEMPT.alias()
    number = select(func.count()).where(before.c.key == ATTEMPT.c.key, before.c.id <= ATTEMPT.c.id).scalar_subquery()
    query = select(ATTEMPT.c.id, ATTEMPT.c.key, number, ATTEMPT.c.tokens, ATTEMPT.c.cost).where(ATTEMPT.c.batch == name)
    rows = connection.execute(query if wanted is None else query.where(wanted))
    return [Attempt(row[0], row[1], row[2], Bound(row[3], row[4] / NANO)) for row in rows]


def _change(connection: Connection, name: str, **values: str) -> None:
    connection.execute(update(BATCH).where(BATCH.c.name == name).values(changed_at=time.time(), **values))
