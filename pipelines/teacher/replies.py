"""The teacher's replies by request key: what is here is never asked, and never paid for, again."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

from pipelines.teacher.request import TeacherReply
from skeletonllm.errors import DataError

_BUSY_S = 60.0


class ReplyStore:
    """A table in one SQLite file, safe for several processes of one machine; a reply is written once and stays.

    Args:
        path: of the file; it is made when it is not there.

    Raises:
        DataError: the file cannot be opened, read or written, or is no such store.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._fault(error) from error
        with self._transaction() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS reply (key TEXT PRIMARY KEY, reply TEXT NOT NULL)")

    def get(self, key: str) -> TeacherReply | None:
        """The reply to a request, if there is one."""
        with self._transaction() as connection:
            row = connection.execute("SELECT reply FROM reply WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        try:
            return TeacherReply(**json.loads(row[0]))
        except (ValueError, TypeError) as error:
            raise self._fault(error) from error

    def put(self, reply: TeacherReply) -> None:
        """Keep a reply; a second one to the same request is left out. On return it is on the disk."""
        text = json.dumps(asdict(reply))
        with self._transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO reply VALUES (?, ?)", (reply.key, text))

    def __len__(self) -> int:
        with self._transaction() as connection:
            return connection.execute("SELECT COUNT(*) FROM reply").fetchone()[0]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own, which makes threads, forks and other processes one case."""
        try:
            with closing(sqlite3.connect(self._path, timeout=_BUSY_S)) as connection, connection:
                # WAL, and every commit flushed: a kill loses at most the reply that was being written.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                yield connection
        except sqlite3.Error as error:
            raise self._fault(error) from error

    def _fault(self, error: Exception) -> DataError:
        return DataError(
            f"{self._path}: cannot be used as the store of the teacher's replies ({error}); free the disk or mend its "
            "permissions, or move the file away: its replies are then asked for again"
        )
