"""The teacher's replies by request key: what is here is never asked, and never paid for, again."""

import json
import sqlite3
from contextlib import closing
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
        DataError: the file cannot be opened, or is no such store.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as connection, connection:
                # WAL, and every commit flushed: a kill loses at most the reply that was being written.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("CREATE TABLE IF NOT EXISTS reply (key TEXT PRIMARY KEY, reply TEXT NOT NULL)")
        except (OSError, sqlite3.Error) as error:
            raise DataError(
                f"{path}: cannot be used as a store of replies ({error}); move it away or name another"
            ) from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY_S)
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def get(self, key: str) -> TeacherReply | None:
        """The reply to a request, if there is one."""
        with closing(self._connect()) as connection:
            row = connection.execute("SELECT reply FROM reply WHERE key = ?", (key,)).fetchone()
        return None if row is None else TeacherReply(**json.loads(row[0]))

    def put(self, reply: TeacherReply) -> None:
        """Keep a reply; a second one to the same request is left out."""
        with closing(self._connect()) as connection, connection:
            connection.execute(
                "INSERT OR IGNORE INTO reply VALUES (?, ?)", (reply.key, json.dumps(asdict(reply), ensure_ascii=False))
            )

    def __len__(self) -> int:
        with closing(self._connect()) as connection:
            return connection.execute("SELECT COUNT(*) FROM reply").fetchone()[0]
