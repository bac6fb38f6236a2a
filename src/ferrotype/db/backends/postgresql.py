"""PostgreSQL through asyncpg: a pool of connections, statements prepared by the driver."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from typing import Any, TypeVar

import asyncpg
from sqlalchemy.ext.compiler import compiles

from ferrotype.config.database import Database as DatabaseConfig
from ferrotype.db.backends.standard import on_conflict, with_returning
from ferrotype.db.engine import (
    DatabaseUnavailable,
    Duplicate,
    ExactString,
    ExactText,
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
from ferrotype.offload import shielded

T = TypeVar("T")

log = logging.getLogger("ferrotype.db")

EMBEDDED = False

#: Longest that a statement may wait for a lock, in seconds: short enough that a worker keeps its lease meanwhile.
LOCK_TIMEOUT = 5.0
#: Seconds after which the server ends an idle transaction: its process may be frozen, or its host down, while it
#: holds locks.
IDLE_TIMEOUT = 10.0


@cache
def dialect() -> Any:
    """Return the dialect of SQLAlchemy."""
    from sqlalchemy.dialects.postgresql import asyncpg

    return asyncpg.dialect()  # type: ignore[no-untyped-call]


register_dialect("postgresql", dialect)


compiles(Upsert, "postgresql")(on_conflict)


@compiles(now, "postgresql")
def _now(element: now, compiler: Any, **_: Any) -> str:
    return "(extract(epoch from clock_timestamp()) * 1000000)::bigint"


@compiles(any_of, "postgresql")
def _any_of(element: any_of, compiler: Any, **kw: Any) -> str:
    column, values = compiler.process(element.column, **kw), compiler.process(element.values, **kw)
    return f"{column} = ANY ({values})"


@compiles(ExactString, "postgresql")
def _exact_string(type_: ExactString, compiler: Any, **kw: Any) -> str:
    return f'{compiler.visit_VARCHAR(type_, **kw)} COLLATE "C"'


@compiles(ExactText, "postgresql")
def _exact_text(type_: ExactText, compiler: Any, **kw: Any) -> str:
    return f'{compiler.visit_TEXT(type_, **kw)} COLLATE "C"'


# -- running statements ---------------------------------------------------------------------------

#: Errors of a server that is shutting down, starting, full, read-only, or no longer lets us in.
_UNAVAILABLE = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that was closed while it was being used
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)


@asynccontextmanager
async def _errors() -> AsyncIterator[None]:
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise Duplicate(str(error)) from error
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
        raise Locked(f"PostgreSQL: {type(error).__name__}: {error}") from error
    except TimeoutError as error:
        raise DatabaseUnavailable("PostgreSQL: no connection or no answer in time") from error
    except _UNAVAILABLE as error:
        raise DatabaseUnavailable(f"PostgreSQL: {type(error).__name__}: {error}") from error


async def _no_reset(connection: Any) -> None:
    """Keep the session as it is: we change no settings, listen to nothing and take no advisory locks.

    The driver's own reset costs one more round trip for each use. Before it calls this, it rolls back a transaction
    that was left open.
    """


async def _release(pool: Any, connection: Any) -> None:
    """Return a connection to the pool. When that fails, the pool replaces it: what was done with it is done."""
    try:
        await shielded(pool.release(connection))
    except (TimeoutError, *_UNAVAILABLE) as error:
        log.warning("connection could not be returned to the PostgreSQL pool: %s", error)


class _Transaction:
    kind = "postgresql"

    def __init__(self, connection: Any):
        self._connection = connection

    async def rows(self, statement: Statement, **values: Any) -> list[Row]:
        text, bound = statement.bind(self.kind, values)
        async with _errors():
            return await self._connection.fetch(text, *bound)  # type: ignore[no-any-return]

    async def row(self, statement: Statement, **values: Any) -> Row | None:
        text, bound = statement.bind(self.kind, values)
        async with _errors():
            return await self._connection.fetchrow(text, *bound)  # type: ignore[no-any-return]

    async def run(self, statement: Statement, **values: Any) -> int:
        text, bound = statement.bind(self.kind, values)
        async with _errors():
            tag = await self._connection.execute(text, *bound)
        return int(tag.rsplit(" ", 1)[1])

    async def run_many(self, statement: Statement, rows: Iterable[dict[str, Any]]) -> None:
        bound = [statement.bind(self.kind, values) for values in rows]
        if bound:
            async with _errors():
                await self._connection.executemany(bound[0][0], [values for _, values in bound])

    async def update_returning(self, statement: UpdateReturning, **values: Any) -> Row | None:
        return await self.row(with_returning(statement, self.kind), **values)


#: Errors with which another host is tried.
_NEXT_HOST = (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.TargetServerAttributeNotMatched)


def _connector(config: DatabaseConfig) -> Callable[..., Awaitable[Any]]:
    """Return the function that opens a connection, with further arguments for asyncpg.

    Several hosts are tried in their order, each for ``connect_timeout``: asyncpg itself has one timeout for all of
    them, which a host that does not answer would use up.
    """

    async def connect(url: str = config.url, **more: Any) -> Any:
        options = {
            "timeout": config.connect_timeout,
            "server_settings": {"application_name": config.application_name},
            **({"ssl": True} if config.system_ca else {}),
            **more,
        }
        for host, port in config.hosts[:-1]:
            try:
                return await asyncpg.connect(url, host=host, port=port or 5432, **options)
            except _NEXT_HOST as error:
                log.info("trying the next host: host=%s error=%s", host, error)
        if config.hosts:
            host, port = config.hosts[-1]
            options |= {"host": host, "port": port or 5432}
        return await asyncpg.connect(url, **options)

    return connect


class PostgreSQL:
    """Connections to PostgreSQL. However many transactions wait for locks, reads and the lease do not wait for them.

    A read waits for no lock, so a third of the connections is kept for reads. One is reserved for the lease.
    """

    kind = "postgresql"

    def __init__(self, shared: Any, reserved: Any, lock_timeout: float):
        self._pools = shared, reserved
        self._write_slots = asyncio.Semaphore(max(1, shared.get_max_size() * 2 // 3)), asyncio.Semaphore(1)
        self._timeout = 2 * lock_timeout  # The transaction that has our connection may itself wait for a lock.

    @classmethod
    async def connect(cls, config: DatabaseConfig) -> "PostgreSQL":
        lock_timeout = min(config.busy_timeout, LOCK_TIMEOUT)

        async def initialize(connection: Any) -> None:
            # Not as startup parameters: a pooler such as PgBouncer refuses those that it does not know.
            await connection.execute(
                "SELECT set_config('lock_timeout', $1, false),"
                " set_config('idle_in_transaction_session_timeout', $2, false)",
                f"{lock_timeout * 1000:.0f}ms",
                f"{IDLE_TIMEOUT * 1000:.0f}ms",
            )

        async def pool(size: int, **options: Any) -> Any:
            return await asyncpg.create_pool(
                config.url,
                min_size=1,
                max_size=size,
                statement_cache_size=256,
                connect=_connector(config),
                init=initialize,
                reset=_no_reset,
                **options,
            )

        async with _errors():
            shared = await pool(max(2, config.pool_size - 1), command_timeout=60)
            reserved = await pool(1, command_timeout=IDLE_TIMEOUT, max_inactive_connection_lifetime=0)
        return cls(shared, reserved, lock_timeout)

    async def rows(self, statement: Statement, **values: Any) -> list[Row]:
        text, bound = statement.bind(self.kind, values)
        async with self._reading() as connection:
            return await connection.fetch(text, *bound)  # type: ignore[no-any-return]

    async def row(self, statement: Statement, **values: Any) -> Row | None:
        text, bound = statement.bind(self.kind, values)
        async with self._reading() as connection:
            return await connection.fetchrow(text, *bound)  # type: ignore[no-any-return]

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Any]:
        """A connection for one statement outside a transaction."""
        async with _errors():
            connection = await self._with_timeout(self._pools[False].acquire())
            try:
                yield connection
            finally:
                await _release(self._pools[False], connection)

    @asynccontextmanager
    async def begin(self, reserved: bool = False) -> AsyncIterator[Transaction]:
        slots, pool = self._write_slots[reserved], self._pools[reserved]
        async with _errors():
            await self._with_timeout(slots.acquire())
        try:
            async with _errors():
                connection = await self._with_timeout(pool.acquire())
            try:
                transaction = connection.transaction()
                async with _errors():
                    await transaction.start()
                try:
                    yield _Transaction(connection)
                except BaseException:
                    # A connection that is closed, now or on release, takes its transaction with it.
                    with suppress(TimeoutError, *_UNAVAILABLE):
                        if not connection.is_closed():
                            await shielded(transaction.rollback())
                    raise
                async with _errors():
                    await shielded(transaction.commit())
            finally:
                await _release(pool, connection)
        finally:
            slots.release()

    async def _with_timeout(self, wait: Awaitable[T]) -> T:
        """Return what ``wait`` returns; raise TimeoutError when no slot or connection becomes free in time."""
        async with asyncio.timeout(self._timeout):
            return await wait

    async def close(self) -> None:
        for pool in self._pools:
            await pool.close()


async def connect(config: DatabaseConfig) -> PostgreSQL:
    """Return the database with its pools of connections open."""
    return await PostgreSQL.connect(config)


# -- the schema -----------------------------------------------------------------------------------


@asynccontextmanager
async def administering(config: DatabaseConfig) -> AsyncIterator[Any]:
    """A connection for as long as the block takes. It may wait for locks for as long as the server lets it."""
    try:
        connection = await _connector(config)()
        try:
            yield connection
        finally:
            await connection.close()
    except (OSError, OverflowError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseUnavailable(f"PostgreSQL: {type(error).__name__}: {error}") from error


async def _has_version(connection: Any) -> bool:
    return await connection.fetchval("SELECT to_regclass('alembic_version')") is not None


def schema_version(config: DatabaseConfig) -> str | None:
    """Return the schema's revision, or None where there is no schema."""

    async def ask() -> str | None:
        async with administering(config) as connection:
            if not await _has_version(connection):
                return None
            return await connection.fetchval("SELECT version_num FROM alembic_version")  # type: ignore[no-any-return]

    return asyncio.run(ask())


def create_schema(config: DatabaseConfig, statements: Sequence[str]) -> None:
    """Run the statements in one transaction, unless another node created it first."""

    async def create() -> None:
        async with administering(config) as connection, connection.transaction():
            # Serialises nodes that sync at the same time: the second waits here and then finds the schema.
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('ferrotype schema'))")
            if not await _has_version(connection):
                for statement in statements:
                    await connection.execute(statement)

    asyncio.run(create())


def migrate(config: DatabaseConfig, run: Callable[[Any], None]) -> None:
    """Call ``run`` with a SQLAlchemy connection in a transaction."""
    from sqlalchemy.ext.asyncio import create_async_engine

    async def migrate() -> None:
        engine = create_async_engine("postgresql+asyncpg://", async_creator=_connector(config))
        async with engine.begin() as connection:
            await connection.run_sync(run)
        await engine.dispose()

    asyncio.run(migrate())
