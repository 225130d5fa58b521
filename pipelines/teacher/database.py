"""The ledger's tables, in SQLite or Postgres, and the one thread of a process that writes to them.

Whatever is asked of the database while a commit is under way goes into the next one together: with sixty requests in
flight, a flush of the disk is paid by many of them and not by each.
"""

import functools
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
import sqlalchemy.event
import sqlalchemy.exc
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

from skeletonllm.errors import ConfigError, DataError, SkeletonLLMError

T = TypeVar("T")
Work = Callable[[Connection], T]

_BUSY_S = 60.0
_MOST_TOGETHER = 256
# Any number that no other program takes on the same Postgres; it makes writers queue, as SQLite's own lock does.
_POSTGRES_LOCK = 0x736B656C

_METADATA = MetaData()
_BIG = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only where the type is INTEGER

REQUEST = Table(
    "request",
    _METADATA,
    Column("key", String(64), primary_key=True),
    Column("model", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("prompt_version", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),  # zlib of the JSON of what was asked, pictures by their hash
    Column("made_at", Float, nullable=False),
)

ATTEMPT = Table(
    "attempt",
    _METADATA,
    Column("id", _BIG, primary_key=True, autoincrement=True),
    Column("key", String(64), nullable=False, index=True),
    Column("budget", Text, nullable=False),
    Column("owner", Text, nullable=False),  # the process that asks; empty where a batch does
    Column("batch", Text, nullable=False),  # the batch that asks; empty where a process does
    Column("state", String(8), nullable=False),  # reserved -> sent -> settled | failed | in doubt
    Column("tokens", _BIG, nullable=False),  # reserved until settled, then real
    Column("cost", _BIG, nullable=False),  # billionths of a dollar, likewise
    Column("prompt_tokens", _BIG),
    Column("completion_tokens", _BIG),
    Column("http_status", Integer),
    Column("response_id", Text),
    Column("reason", Text),
    Column("reserved_at", Float, nullable=False),
    Column("sent_at", Float),
    Column("ended_at", Float),
)
Index("attempt_open", ATTEMPT.c.owner, sqlite_where=ATTEMPT.c.state.in_(("reserved", "sent")))
Index("attempt_batch", ATTEMPT.c.batch)

REPLY = Table(
    "reply",
    _METADATA,
    Column("key", String(64), primary_key=True),
    Column("reply", Text, nullable=False),  # JSON in ASCII, so that no letter of a model is too much for a database
)

VERDICT = Table(
    "verdict",
    _METADATA,
    Column("key", String(64), primary_key=True),  # of the request
    Column("clip_id", Text, nullable=False),
    Column("verdict", Text, nullable=False),  # accepted, rejected, no chain, failed
    Column("reasons", Text, nullable=False),  # JSON list
    Column("made_at", Float, nullable=False),
)

# What each budget has come to: the sum over its attempts, kept beside them so that a cap is checked at one glance.
BUDGET = Table(
    "budget",
    _METADATA,
    Column("name", Text, primary_key=True),
    Column("requests", _BIG, nullable=False),
    Column("tokens", _BIG, nullable=False),
    Column("cost", _BIG, nullable=False),
)

OWNER = Table(
    "owner",
    _METADATA,
    Column("name", Text, primary_key=True),
    Column("seen_at", Float, nullable=False),
)

# When the next request to a server may be sent. All processes take their turns from it.
PACE = Table(
    "pace",
    _METADATA,
    Column("name", Text, primary_key=True),
    Column("next_request_at", Float, nullable=False),
    Column("next_token_at", Float, nullable=False),
    Column("paused_until", Float, nullable=False),
)

# A batch of requests that a server works on by itself. It outlives the process that sent it.
BATCH = Table(
    "batch",
    _METADATA,
    Column("name", Text, primary_key=True),
    Column("endpoint", Text, nullable=False),
    Column("budget", Text, nullable=False),
    Column("owner", Text, nullable=False),  # the process that sends it; empty once the server has it
    Column("remote_id", Text, nullable=False),  # empty until the server has given one
    Column("state", Text, nullable=False),  # filling -> submitting -> submitted -> done | refused; or dropped
    Column("made_at", Float, nullable=False),
    Column("changed_at", Float, nullable=False),
)


def shown(url: str) -> str:
    """A ledger's address as people may see it: without a password."""
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return "(not an address)"


def ledger_url(named: str, file: Path) -> str:
    """The address of the ledger: the one that the settings name, else that of a file."""
    return named or f"sqlite:///{file}"


class Database:
    """One process's way to the ledger. Safe for several threads.

    Args:
        url: `sqlite:///FILE` or `postgresql+psycopg://USER@HOST/NAME`.
        idle: called in a transaction of its own whenever nothing else was asked for `idle_s`.
        idle_s: how long that is.

    Raises:
        ConfigError: the address is none, or its driver is not installed.
        DataError: it cannot be opened, or holds something else.
    """

    def __init__(self, url: str, idle: Work[Any] | None = None, idle_s: float = 10.0) -> None:
        self.shown = shown(url)
        self._engine = _engine(url, self.shown)
        self._idle, self._idle_s = idle, idle_s
        self._waiting: queue.SimpleQueue[tuple[Work[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._make_tables()
        self._thread = threading.Thread(target=self._write, name="ledger", daemon=True)
        self._thread.start()

    def do(self, work: Work[T]) -> T:
        """Run statements in a transaction that nobody else writes in meanwhile; on return they are on the disk.

        Other work shares the transaction. So what `work` has written when it raises an error of ours must be right by
        itself; after any other error nothing is written at all.

        Raises:
            DataError: the database failed; nothing was written.
        """
        done: Future[T] = Future()
        self._waiting.put((work, done))
        return done.result()

    def close(self) -> None:
        """End the thread, after what was asked so far."""
        self._waiting.put(None)
        self._thread.join()
        self._engine.dispose()

    def _make_tables(self) -> None:
        try:
            with self._engine.begin() as connection:
                _lock(connection)
                _METADATA.create_all(connection)
        except (sqlalchemy.exc.SQLAlchemyError, sqlite3.Error) as error:  # what `_set_up_sqlite` meets comes as it is
            raise self._fault(error) from error

    def _write(self) -> None:
        while True:
            try:
                first = self._waiting.get(timeout=self._idle_s)
            except queue.Empty:
                if self._idle is not None:
                    self._transact([(self._idle, Future())])
                continue
            if first is None:
                return
            together = [first]
            while len(together) < _MOST_TOGETHER:
                try:
                    another = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if another is None:
                    self._waiting.put(None)
                    break
                together.append(another)
            self._transact(together)

    def _transact(self, together: list[tuple[Work[Any], Future[Any]]]) -> None:
        ended: list[Callable[[], None]] = []  # nobody is told anything before the commit
        try:
            with self._engine.begin() as connection:
                _lock(connection)
                for work, done in together:
                    try:
                        value = work(connection)
                    except SkeletonLLMError as error:
                        ended.append(functools.partial(done.set_exception, error))
                    else:
                        ended.append(functools.partial(done.set_result, value))
        except Exception as error:
            fault = self._fault(error)
            fault.__cause__ = error
            ended = [functools.partial(done.set_exception, fault) for _, done in together]
        for tell in ended:
            tell()

    def _fault(self, error: Exception) -> DataError:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        return DataError(
            f"{self.shown}: cannot be used as the ledger of the teacher ({reason:.200}); free the disk, mend its "
            "permissions or the connection and run again: what was answered is kept"
        )


def _engine(url: str, shown: str) -> Engine:
    try:
        parsed = sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError:
        raise ConfigError(
            "the ledger's address is none; it must look like sqlite:///ledger.sqlite or postgresql+psycopg://user@host/name"
        ) from None
    kind = parsed.get_backend_name()
    if kind == "postgresql":
        try:
            return sqlalchemy.create_engine(
                parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True, pool_size=1
            )
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"{shown}: needs psycopg; install it with `pip install 'skeletonllm[postgres]'`"
            ) from error
    if kind != "sqlite" or not parsed.database:
        raise ConfigError(
            f"{shown}: a ledger is in SQLite (sqlite:///FILE) or Postgres (postgresql+psycopg://user@host/name)"
        )
    try:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{shown}: its folder cannot be made ({error}); choose another place for the ledger") from error
    engine = sqlalchemy.create_engine(parsed, connect_args={"timeout": _BUSY_S, "check_same_thread": False})
    sqlalchemy.event.listen(engine, "connect", _set_up_sqlite)
    sqlalchemy.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _set_up_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions begin where we say so, and at once as writers
    # WAL, and every commit flushed: a kill or a power cut loses nothing that somebody was told.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_POSTGRES_LOCK})")
