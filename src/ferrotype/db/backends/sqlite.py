"""SQLite in WAL mode: one thread that reads and one that writes, each with a connection of its own."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import msgspec

from ferrotype.config.model import Database as DatabaseConfig
from ferrotype.db.engine import DatabaseUnavailable, Duplicate, Locked, Row, Statement, Transaction
from ferrotype.model.errors import FerrotypeError
from ferrotype.offload import shielded

T = TypeVar("T")

#: Seconds between two looks whether another process has ended its transaction.
_LOOK = 0.001


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise Duplicate(str(error)) from error
    except (sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.NotSupportedError):
        raise  # We asked for something that there is not.
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


def _for_sqlite(values: list[Any]) -> list[Any]:
    """A list is bound as one JSON text, which ``json_each`` unfolds."""
    return [msgspec.json.encode(value).decode() if isinstance(value, list | tuple) else value for value in values]


class _Transaction:
    kind = "sqlite"

    def __init__(self, thread: _Thread):
        self._thread = thread

    async def rows(self, statement: Statement, **values: Any) -> list[Row]:
        text, bound = statement.bind(self.kind, values)
        return await self._thread.do(lambda c: c.execute(text, _for_sqlite(bound)).fetchall())

    async def row(self, statement: Statement, **values: Any) -> Row | None:
        text, bound = statement.bind(self.kind, values)
        return await self._thread.do(lambda c: c.execute(text, _for_sqlite(bound)).fetchone())

    async def run(self, statement: Statement, **values: Any) -> int:
        text, bound = statement.bind(self.kind, values)
        return await self._thread.do(lambda c: c.execute(text, _for_sqlite(bound)).rowcount)

    async def run_many(self, statement: Statement, rows: Iterable[dict[str, Any]]) -> None:
        bound = [statement.bind(self.kind, values) for values in rows]
        if bound:
            await self._thread.do(lambda c: c.executemany(bound[0][0], [_for_sqlite(values) for _, values in bound]))


class SQLite:
    """One file, one thread that reads and one that writes. Transactions of one process queue for the writer."""

    kind = "sqlite"

    def __init__(self, config: DatabaseConfig):
        self._writer = _Thread(config, "writer")
        self._reader = _Thread(config, "reader")
        self._turn = asyncio.Lock()
        self._patience = config.busy_timeout

    async def rows(self, statement: Statement, **values: Any) -> list[Row]:
        return await _Transaction(self._reader).rows(statement, **values)

    async def row(self, statement: Statement, **values: Any) -> Row | None:
        return await _Transaction(self._reader).row(statement, **values)

    @asynccontextmanager
    async def begin(self, reserved: bool = False) -> AsyncIterator[Transaction]:
        patient_until = time.monotonic() + self._patience  # Waiting here and waiting for another process are one.
        try:
            async with asyncio.timeout(self._patience):
                await self._turn.acquire()
        except TimeoutError as error:
            raise Locked("SQLite: other transactions of this process did not end in time") from error
        try:
            try:
                await shielded(self._writer.do(lambda c: _begin(c, patient_until)))
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
            self._turn.release()

    async def close(self) -> None:
        async with self._turn:
            await asyncio.to_thread(self._writer.close)
            await asyncio.to_thread(self._reader.close)


def _begin(connection: sqlite3.Connection, patient_until: float) -> None:
    """Begin a transaction as the only one that writes, when the other processes have ended theirs.

    IMMEDIATE: one that first reads and then wants to write would be refused at once when another process wrote in
    between, whatever the busy timeout. SQLite's own waiting looks ever more seldom, up to 100 ms apart, and whoever
    has waited longest comes last: with 8 clients of two workers one write in a hundred took 0.2 to 1.6 s.
    """
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() >= patient_until:
                raise
            time.sleep(_LOOK)
        else:
            return


def _rollback(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")
