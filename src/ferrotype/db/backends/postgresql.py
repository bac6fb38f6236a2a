"""PostgreSQL through asyncpg: a pool of connections, statements prepared by the driver."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import asyncpg

from ferrotype.config.model import Database as DatabaseConfig
from ferrotype.db.blobs import LEASE
from ferrotype.db.engine import DatabaseUnavailable, Duplicate, Locked, Row, Statement, Transaction
from ferrotype.offload import shielded

T = TypeVar("T")

log = logging.getLogger("ferrotype.db")

#: Longest that a statement may wait for another transaction, in seconds: nobody loses a lease by waiting.
MOST_PATIENCE = LEASE / 6 / 1_000_000
#: Seconds after which the server ends a transaction of ours in which nothing happens: its process may be frozen, or
#: its machine gone, and others wait for what it holds.
MOST_IDLE = LEASE / 3 / 1_000_000

#: What a server says that is shutting down, starting, full, or not (any more) the one to write to or to talk to.
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


async def _nothing_to_reset(connection: Any) -> None:
    """Take a connection back as it is: we change no session settings, listen to nothing, lock nothing by name.

    The driver's own way asks the server to undo all that, one more round trip for each use. A transaction
    that was left open is rolled back by the driver before this is called.
    """


async def _give_back(pool: Any, connection: Any) -> None:
    """Put a connection back. One that cannot be is the pool's to replace: what was done with it is done."""
    try:
        await shielded(pool.release(connection))
    except (TimeoutError, *_UNAVAILABLE) as error:
        log.warning("A connection to PostgreSQL could not be given back: %s", error)


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


class PostgreSQL:
    """Connections to PostgreSQL. However many transactions wait for locks, reads and the lease do not wait for them.

    A read waits for nobody's lock; so a third of the connections is for reading alone. One is reserved.
    """

    kind = "postgresql"

    def __init__(self, shared: Any, reserved: Any, patience: float):
        self._pools = shared, reserved
        self._places = asyncio.Semaphore(max(1, shared.get_max_size() * 2 // 3)), asyncio.Semaphore(1)
        self._patience = 2 * patience  # Whoever holds what we want may have just begun to wait.

    @classmethod
    async def connect(cls, config: DatabaseConfig) -> "PostgreSQL":
        patience = min(config.busy_timeout, MOST_PATIENCE)

        async def settle(connection: Any) -> None:
            # Not with the first message, where a pooler in between would refuse what it does not know.
            await connection.execute(
                "SELECT set_config('lock_timeout', $1, false),"
                " set_config('idle_in_transaction_session_timeout', $2, false)",
                f"{patience * 1000:.0f}ms",
                f"{MOST_IDLE * 1000:.0f}ms",
            )

        async def pool(size: int, **options: Any) -> Any:
            return await asyncpg.create_pool(
                config.url,
                min_size=1,
                max_size=size,
                timeout=10,
                statement_cache_size=256,
                server_settings={"application_name": "ferrotype"},
                init=settle,
                reset=_nothing_to_reset,
                **options,
            )

        async with _errors():
            shared = await pool(max(2, config.pool_size - 1), command_timeout=60)
            reserved = await pool(1, command_timeout=MOST_IDLE, max_inactive_connection_lifetime=0)
        return cls(shared, reserved, patience)

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
            connection = await self._soon(self._pools[False].acquire())
            try:
                yield connection
            finally:
                await _give_back(self._pools[False], connection)

    @asynccontextmanager
    async def begin(self, reserved: bool = False) -> AsyncIterator[Transaction]:
        places, pool = self._places[reserved], self._pools[reserved]
        async with _errors():
            await self._soon(places.acquire())
        try:
            async with _errors():
                connection = await self._soon(pool.acquire())
            try:
                transaction = connection.transaction()
                async with _errors():
                    await transaction.start()
                try:
                    yield _Transaction(connection)
                except BaseException:
                    # What is gone, or is closed when it is given back, takes its transaction with it.
                    with suppress(TimeoutError, *_UNAVAILABLE):
                        if not connection.is_closed():
                            await shielded(transaction.rollback())
                    raise
                async with _errors():
                    await shielded(transaction.commit())
            finally:
                await _give_back(pool, connection)
        finally:
            places.release()

    async def _soon(self, wait: Awaitable[T]) -> T:
        """Return what others may hold, unless they do not let go of it in time."""
        async with asyncio.timeout(self._patience):
            return await wait

    async def close(self) -> None:
        for pool in self._pools:
            await pool.close()
