"""Transactions that neither database can make worse.

SQLite has one writer. A greenlet that waits for its lock in C freezes the whole worker (hazard 24), so the
busy timeout is zero, writers of one worker queue at a lock that yields, and a busy database is tried again
after ``sleep`` (gevent's, once patched). PostgreSQL asks for a whole transaction again after a deadlock.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine, MetaData, Row, Select, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.pool import ConnectionPoolEntry

from app.errors import UnavailableError

Result = TypeVar("Result")

LastWork = Callable[[Session], Callable[[], None]]
"""Done at the end of a transaction; what it returns is called once that is committed."""

BUSY_DEADLINE_SECONDS = 5.0
POSTGRES_OPTIONS = (
    "-c statement_timeout=15000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=30000"
)

OWN_POSTGRES_OPTIONS = (
    "-c statement_timeout=5000 -c lock_timeout=4000 -c idle_in_transaction_session_timeout=10000"
)


class Base(DeclarativeBase):
    """Every table; constraints have names, so that a migration can drop them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class DatabaseBusyError(UnavailableError):
    """Another writer held the database for the whole deadline; nothing was written."""


db = SQLAlchemy(model_class=Base)
_LAST = "signalbox.last"
_writer = threading.Lock()
_engine: ContextVar[Engine | None] = ContextVar("engine", default=None)
MOST_VIEWS = {"postgresql": 6, "sqlite": 2}
"""Of a process: a fifth of the connections that requests have."""
_views = 0
_view: ContextVar[Session | None] = ContextVar("view", default=None)
_beginning: ContextVar[_Beginning | None] = ContextVar("beginning", default=None)


def current_engine() -> Engine:
    """The engine that reads and transactions use here: the application's, unless ``using`` says another."""
    return _engine.get() or db.engine


@contextmanager
def using(own: Engine) -> Iterator[None]:
    """Let everything inside, in this greenlet, use the connections of *own* and none of the requests'."""
    token = _engine.set(own)
    try:
        yield
    finally:
        _engine.reset(token)


def engine_options(url: str) -> dict[str, Any]:
    """What ``create_engine`` is given for *url*."""
    if url.startswith("sqlite"):
        # Transactions begin by our own words (see _begin), not by the driver's guess.
        return {"connect_args": {"timeout": 0, "isolation_level": None, "check_same_thread": False}}
    return {
        "pool_size": 10,
        "max_overflow": 20,
        "pool_timeout": 5,
        "pool_pre_ping": True,
        "connect_args": {"connect_timeout": 5, "options": POSTGRES_OPTIONS, "tcp_user_timeout": 10_000},
    }


def engine_of_its_own(url: str, name: str, size: int = 4) -> Engine | None:
    """*size* connections to PostgreSQL that requests cannot use up, with a shorter time-out; *name* is shown there.

    ``None`` for SQLite, where a read waits for nobody. Connects to nothing yet.
    """
    if url.startswith("sqlite"):
        return None
    return create_engine(
        url,
        pool_size=size,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": 5,
            "options": OWN_POSTGRES_OPTIONS,
            "tcp_user_timeout": 5000,
            "application_name": name,
        },
    )


def prepare(engine: Engine) -> None:
    """Set up the connections of *engine*; nothing to do for PostgreSQL."""
    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        def write_ahead() -> None:
            connection.execute("PRAGMA journal_mode=WAL")

        until_not_busy(write_ahead)
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql(
            f"BEGIN {connection.get_execution_options().get('sqlite_begin', 'DEFERRED')}"
        )


def transaction(work: Callable[[Session], Result]) -> Result:
    """Run *work* in one write transaction, commit it, and return what it returned.

    *work* may run more than once and must not yield: no Redis, no HTTP, no sleep. Rows that it returns stay
    readable after the commit. An exception rolls everything back.

    :raises DatabaseBusyError: another writer held the database for five seconds.
    """
    if current_engine().dialect.name == "sqlite":
        if not _writer.acquire(timeout=BUSY_DEADLINE_SECONDS):
            raise DatabaseBusyError("The database is busy; nothing was changed.", retry_after=2)
        try:
            return until_not_busy(lambda: _commit(work, {"sqlite_begin": "IMMEDIATE"}))
        finally:
            _writer.release()
    return until_not_busy(lambda: _commit(work, {}))


def snapshot(work: Callable[[Session], Result]) -> Result:
    """Run *work*, which only reads, on one consistent view of the database (hazard 1).

    Inside of ``one_view`` it is that one.
    """
    view = _view.get()
    if view is not None:
        return work(view)

    def read() -> Result:
        with _reading() as session:
            return work(session)

    return until_not_busy(read)


@contextmanager
def one_view() -> Iterator[None]:
    """Let every ``snapshot`` inside, in this greenlet, see the database as it was at the first of them.

    A page asks twenty times; beginning and ending a transaction around each question takes longer than the answers,
    and where workers are busy each of the waits is a long one. Nothing that is written inside is seen inside.
    It holds a connection whatever is waited for inside, so there are few in a process; beyond these each question has
    its own again, as it has inside of ``outside_of_views``.
    """
    global _views
    most = MOST_VIEWS.get(current_engine().dialect.name, MOST_VIEWS["postgresql"])
    if _view.get() is not None or _views >= most:
        yield
        return
    _views += 1
    try:
        with _reading() as session:
            token = _view.set(session)
            try:
                yield
            finally:
                _view.reset(token)
    finally:
        _views -= 1


@contextmanager
def outside_of_views() -> Iterator[None]:
    """Let every ``snapshot`` inside see the database as it is then: for what others are given of it, too."""
    token = _view.set(None)
    try:
        yield
    finally:
        _view.reset(token)


@contextmanager
def _reading() -> Iterator[Session]:
    options = (
        {}
        if current_engine().dialect.name == "sqlite"
        else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    )
    with Session(current_engine(), expire_on_commit=False) as session:
        session.connection(execution_options=options)
        yield session


def look(query: Select[Any]) -> Sequence[Row[Any]]:
    """The rows of one *query* as they are now: half of what a ``snapshot`` takes, which several queries need."""

    def read() -> Sequence[Row[Any]]:
        engine = current_engine()
        if engine.dialect.name != "sqlite":
            engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            return connection.execute(query).all()

    return until_not_busy(read)


def do_last(session: Session, work: LastWork) -> None:
    """Let *work* be the last thing that this session's ``transaction`` does, once however often it is asked for.

    For what takes a lock that all transactions of a kind share: whoever takes it last waits for nothing while
    holding it. What *work* returns is called after the commit.
    """
    asked: list[LastWork] = session.info.setdefault(_LAST, [])
    if work not in asked:
        asked.append(work)


class _Beginning:
    """What comes first in a transaction, until one that it came first in is committed."""

    def __init__(self, work: Callable[[Session], None]) -> None:
        self.work = work
        self.is_committed = False


@contextmanager
def beginning_with(work: Callable[[Session], None]) -> Iterator[Callable[[], bool]]:
    """Let *work* come first in the first ``transaction`` inside, in this greenlet, and live or die with it.

    Whoever asks is handed a function that says whether it has been committed. It may raise, and so prevent the
    transaction; it runs again in the next one if that one came to nothing.
    """
    beginning = _Beginning(work)
    token = _beginning.set(beginning)
    try:
        yield lambda: beginning.is_committed
    finally:
        _beginning.reset(token)


def _commit(work: Callable[[Session], Result], options: dict[str, Any]) -> Result:
    with Session(current_engine(), expire_on_commit=False) as session:
        session.connection(execution_options=options)
        beginning = _beginning.get()
        if beginning is not None and not beginning.is_committed:
            beginning.work(session)
        result = work(session)
        told = [last(session) for last in session.info.pop(_LAST, ())]
        session.commit()
        if beginning is not None:
            beginning.is_committed = True
    for tell in told:
        tell()
    return result


def until_not_busy(attempt: Callable[[], Result]) -> Result:
    """What *attempt*, a whole transaction, returns; tried again while another writer is in its way.

    :raises DatabaseBusyError: that was so for five seconds.
    """
    deadline = time.monotonic() + BUSY_DEADLINE_SECONDS
    pause = 0.002
    while True:
        try:
            return attempt()
        except (OperationalError, DBAPIError, sqlite3.OperationalError) as error:
            if not is_passing(error):
                raise
            if time.monotonic() > deadline:
                raise DatabaseBusyError(
                    "The database is busy; nothing was changed.", retry_after=2
                ) from error
            time.sleep(random.uniform(0, pause))
            pause = min(pause * 2, 0.1)


def is_passing(error: Exception) -> bool:
    """Whether the same transaction may succeed when it is tried again."""
    original = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(original, sqlite3.OperationalError):
        return getattr(original, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return getattr(original, "sqlstate", None) in ("40P01", "40001")


def make_folder(url: str) -> None:
    """Make the folder of the SQLite file that *url* names, readable by its owner alone."""
    file = make_url(url).database
    if file:
        Path(file).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
