"""SQLite in WAL mode: one thread that reads and one that writes, each with a connection of its own.

Strings are compared byte by byte by default (BINARY), and a transaction that writes locks the whole database.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy.ext.compiler import compiles

from ferrotype.config.database import Database as DatabaseConfig
from ferrotype.db.backends.standard import on_conflict, with_returning
from ferrotype.db.engine import (
    DatabaseUnavailable,
    Duplicate,
    Locked,
    Row,
    Statement,
    Transaction,
    UpdateReturning,
    Upsert,
    any_of,
    now,
    register_dialect,
)
from ferrotype.model.errors import FerrotypeError
from ferrotype.offload import shielded

T = TypeVar("T")

EMBEDDED = True

#: Seconds between two attempts to begin a transaction while another process writes.
_RETRY_INTERVAL = 0.001


@cache
def dialect() -> Any:
    """Return the dialect of SQLAlchemy."""
    from sqlalchemy.dialects import sqlite

    return sqlite.dialect()


register_dialect("sqlite", dialect)


compiles(Upsert, "sqlite")(on_conflict)


@compiles(now, "sqlite")
def _now(element: now, compiler: Any, **_: Any) -> str:
    return "now_us()"  # SQLite 3.40 has no clock finer than a millisecond; the connection provides one


@compiles(any_of, "sqlite")
def _any_of(element: any_of, compiler: Any, **kw: Any) -> str:
    column, values = compiler.process(element.column, **kw), compiler.process(element.values, **kw)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - both are SQL from SQLAlchemy


def _bindable(values: list[Any]) -> list[Any]:
    """Return the values with each list as one JSON text, which ``json_each`` of ``any_of`` unfolds."""
    return [msgspec.json.encode(value).decode() if isinstance(value, list | tuple) else value for value in values]


# -- running statements ---------------------------------------------------------------------------


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise Duplicate(str(error)) from error
    except (sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.NotSupportedError):
        raise  # a mistake in a statement
    except sqlite3.DatabaseError as error:
        kind = Locked if _is_busy(error) else DatabaseUnavailable
        raise kind(f"SQLite: {error}") from error


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


class _Thread:
    """One thread that owns one SQLite connection and does what it is given, in order."""

    def __init__(self, config: DatabaseConfig, role: str):
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"sqlite-{role}")
        try:
            with _errors():
                self._connection = self._pool.submit(self._open, config, role).result()
        except DatabaseUnavailable as error:
            self._pool.shutdown()
            raise DatabaseUnavailable(f"{error} ({config.path})") from error

    @staticmethod
    def _open(config: DatabaseConfig, role: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            str(config.path), timeout=config.busy_timeout, isolation_level=None, cached_statements=512
        )
        connection.create_function("now_us", 0, lambda: time.time_ns() // 1000)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA cache_size=-65536")
        if role == "writer":
            connection.execute("PRAGMA busy_timeout=0")  # It waits in ``_begin``.
        return connection

    async def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with _errors():
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, self._connection)

    def close(self) -> None:
        self._pool.submit(self._connection.close).result()
        self._pool.shutdown()


class _Transaction:
    kind = "sqlite"

    def __init__(self, thread: _Thread):
        self._thread = thread

    async def rows(self, statement: Statement, **values: Any) -> list[Row]:
        text, bound = statement.bind(self.kind, values)
        return await self._thread.do(lambda c: c.execute(text, _bindable(bound)).fetchall())

    async def row(self, statement: Statement, **values: Any) -> Row | None:
        text, bound = statement.bind(self.kind, values)
        return await self._thread.do(lambda c: c.execute(text, _bindable(bound)).fetchone())

    async def run(self, statement: Statement, **values: Any) -> int:
        text, bound = statement.bind(self.kind, values)
        return await self._thread.do(lambda c: c.execute(text, _bindable(bound)).rowcount)

    async def run_many(self, statement: Statement, rows: Iterable[dict[str, Any]]) -> None:
        bound = [statement.bind(self.kind, values) for values in rows]
        if bound:
            await self._thread.do(lambda c: c.executemany(bound[0][0], [_bindable(values) for _, values in bound]))

    async def update_returning(self, statement: UpdateReturning, **values: Any) -> Row | None:
        return await self.row(with_returning(statement, self.kind), **values)


class SQLite:
    """One file, one thread that reads and one that writes. Transactions of one process queue for the writer."""

    kind = "sqlite"

    def __init__(self, config: DatabaseConfig):
        self._writer = _Thread(config, "writer")
        self._reader = _Thread(config, "reader")
        self._writing = asyncio.Lock()
        self._lock_timeout = config.busy_timeout

    async def rows(self, statement: Statement, **values: Any) -> list[Row]:
        return await _Transaction(self._reader).rows(statement, **values)

    async def row(self, statement: Statement, **values: Any) -> Row | None:
        return await _Transaction(self._reader).row(statement, **values)

    @asynccontextmanager
    async def begin(self, reserved: bool = False) -> AsyncIterator[Transaction]:
        deadline = time.monotonic() + self._lock_timeout  # One limit for both waits: in this process and for others.
        try:
            async with asyncio.timeout(self._lock_timeout):
                await self._writing.acquire()
        except TimeoutError as error:
            raise Locked("SQLite: other transactions of this process did not finish in time") from error
        try:
            try:
                await shielded(self._writer.do(lambda c: _begin(c, deadline)))
                yield _Transaction(self._writer)
            except BaseException:
                await shielded(self._writer.do(_rollback))
                raise
            try:
                await shielded(self._writer.do(lambda c: c.execute("COMMIT")))
            except FerrotypeError:
                await self._writer.do(_rollback)  # A commit that failed (disk full) leaves it open.
                raise
        finally:
            self._writing.release()

    async def close(self) -> None:
        async with self._writing:
            await asyncio.to_thread(self._writer.close)
            await asyncio.to_thread(self._reader.close)


def _begin(connection: sqlite3.Connection, deadline: float) -> None:
    """Begin a transaction that writes, as soon as no other process has one. ``deadline`` is in monotonic seconds.

    IMMEDIATE: a deferred transaction that reads and then writes fails at once, whatever the busy timeout, when
    another process has written in between. SQLite's own busy handler backs off to 100 ms, so the longest waiter
    comes last: with 8 clients of two workers, one write in a hundred took 0.2 to 1.6 s.
    """
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() >= deadline:
                raise
            time.sleep(_RETRY_INTERVAL)
        else:
            return


def _rollback(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


async def connect(config: DatabaseConfig) -> SQLite:
    """Return the database, open: a file that is missing is made, without tables."""
    return SQLite(config)


# -- the schema -----------------------------------------------------------------------------------

_HAS_VERSION = "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"


@contextmanager
def _errors_naming(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise DatabaseUnavailable(f"SQLite: {path}: {error}") from error


def schema_version(config: DatabaseConfig) -> str | None:
    """Return the schema's revision, or None where there is no file or no schema in it."""
    path = config.path or Path()
    with _errors_naming(path):
        if not path.exists():
            return None
        with closing(sqlite3.connect(path, timeout=config.busy_timeout)) as connection:
            if not connection.execute(_HAS_VERSION).fetchone():
                return None
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            return str(row[0]) if row else None


def create_schema(config: DatabaseConfig, statements: Sequence[str]) -> None:
    """Run the statements in one transaction, in a file of mode 0640, unless another process did it first."""
    path = config.path or Path()
    with _errors_naming(path):
        _make_directory(path.parent)
        with closing(sqlite3.connect(path, timeout=config.busy_timeout, isolation_level=None)) as connection:
            path.chmod(0o640)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("BEGIN EXCLUSIVE")
            if connection.execute(_HAS_VERSION).fetchone():
                connection.execute("ROLLBACK")
                return
            for statement in statements:
                connection.execute(statement)
            connection.execute("COMMIT")


def _make_directory(directory: Path) -> None:
    """Make a directory and its missing parents, durably: SQLite syncs the entries in it, not its own."""
    if directory.exists():
        return
    _make_directory(directory.parent)
    directory.mkdir(exist_ok=True, mode=0o750)
    parent = os.open(directory.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def migrate(config: DatabaseConfig, run: Callable[[Any], None]) -> None:
    """Call ``run`` with a SQLAlchemy connection in a transaction."""
    from sqlalchemy import create_engine

    engine = create_engine(f"sqlite:///{config.path}")
    with engine.begin() as connection:
        run(connection)
    engine.dispose()
