"""PostgreSQL through asyncpg: a pool of connections, statements prepared by the driver."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from tintype.config.model import Database as DatabaseConfig
from tintype.db.engine import DatabaseUnavailable, Duplicate, Row, Statement, Transaction
from tintype.offload import undisturbed


@asynccontextmanager
async def _errors() -> AsyncIterator[None]:
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise Duplicate(str(error)) from error
    except (
        OSError,
        TimeoutError,
        asyncpg.InterfaceError,
        asyncpg.PostgresConnectionError,
        asyncpg.OperatorInterventionError,
        asyncpg.InsufficientResourcesError,
        asyncpg.TooManyConnectionsError,
        asyncpg.CannotConnectNowError,
        asyncpg.DeadlockDetectedError,
    ) as error:
        raise DatabaseUnavailable(f"PostgreSQL: {type(error).__name__}: {error}") from error


async def _nothing_to_reset(connection: Any) -> None:
    """Take a connection back as it is: we change no session settings, listen to nothing, lock nothing by name.

    The driver's own way asks the server to undo all that, one more round trip for each use. A transaction
    that was left open is rolled back by the driver before this is called.
    """


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
    """A pool of connections to PostgreSQL."""

    kind = "postgresql"

    def __init__(self, pool: Any):
        self._pool = pool

    @classmethod
    async def connect(cls, config: DatabaseConfig) -> "PostgreSQL":
        async with _errors():
            pool = await asyncpg.create_pool(
                config.url,
                min_size=1,
                max_size=config.pool_size,
                timeout=10,
                command_timeout=60,
                statement_cache_size=256,
                server_settings={"application_name": "tintype"},
                reset=_nothing_to_reset,
            )
        return cls(pool)

    async def rows(self, statement: Statement, **values: Any) -> list[Row]:
        text, bound = statement.bind(self.kind, values)
        async with _errors():
            return await self._pool.fetch(text, *bound)  # type: ignore[no-any-return]

    async def row(self, statement: Statement, **values: Any) -> Row | None:
        text, bound = statement.bind(self.kind, values)
        async with _errors():
            return await self._pool.fetchrow(text, *bound)  # type: ignore[no-any-return]

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Transaction]:
        async with _errors():
            connection = await self._pool.acquire()
        try:
            transaction = connection.transaction()
            async with _errors():
                await transaction.start()
            try:
                yield _Transaction(connection)
            except BaseException:
                if not connection.is_closed():
                    async with _errors():
                        await undisturbed(transaction.rollback())
                raise
            async with _errors():
                await undisturbed(transaction.commit())
        finally:
            await undisturbed(self._pool.release(connection))

    async def close(self) -> None:
        await self._pool.close()
