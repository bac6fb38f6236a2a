"""PostgreSQL under lock contention, with an exhausted pool, and read-only, renamed or full."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from uploads import PausedBody, uploading

from ferrotype.config.database import Database as DatabaseConfig
from ferrotype.db.backends.connect import connect
from ferrotype.db.engine import Database, DatabaseUnavailable, Locked, Statement
from ferrotype.testing.client import OWNER, Reply, client

ONE = Statement(text("SELECT 1"))


def configured(url: str, **changes: Any) -> DatabaseConfig:
    return DatabaseConfig(url=url, kind="postgresql", **changes)


@asynccontextmanager
async def opened(url: str, **changes: Any) -> AsyncIterator[Database]:
    """The database as the service opens it; everything in the block must end within a minute."""
    db = await connect(configured(url, **changes))
    try:
        async with asyncio.timeout(60):
            yield db
    finally:
        await db.close()


async def asked(url: str, *statements: str) -> Any:
    """Run statements over another connection and return the value of the last one."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            value = await connection.fetchval(statement)
    finally:
        await connection.close()
    return value


@contextmanager
def locked(url: str, statement: str) -> Iterator[None]:
    """Another connection's transaction that stays open after this statement until the block ends."""
    begun, end = threading.Event(), threading.Event()

    async def hold() -> None:
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction():
                await connection.execute(statement)
                begun.set()
                await asyncio.to_thread(end.wait, 600)
        finally:
            await connection.close()

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(asyncio.run, hold())
        try:
            assert begun.wait(60) or held.result()
            yield
        finally:
            end.set()
        held.result()


async def eventually(so: Callable[[], Awaitable[bool]]) -> None:
    while not await so():  # noqa: ASYNC110 - the server rings no bell
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("size", [1, 2, 10])
def test_reads_and_the_lease_do_not_wait_for_transactions_that_wait(postgresql_url: str, size: int) -> None:
    async def work() -> None:
        begun, end = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            async with db.begin():
                begun.set()
                await end.wait()

        async with opened(postgresql_url, pool_size=size) as db:
            waiting = [asyncio.create_task(wait()) for _ in range(size + 1)]
            await begun.wait()
            assert (await db.row(ONE) or [0])[0] == 1
            async with db.begin(reserved=True) as tx:
                assert await tx.rows(ONE)
            end.set()
            await asyncio.gather(*waiting)

    asyncio.run(work())


def test_an_exhausted_pool_is_an_error_after_the_timeout(postgresql_url: str) -> None:
    async def work() -> None:
        async with opened(postgresql_url, pool_size=1, busy_timeout=0.1) as db:
            async with db.begin():
                with pytest.raises(DatabaseUnavailable, match="no connection"):
                    async with db.begin():
                        pass
            async with db.begin() as tx:  # and nothing was lost by it
                await tx.rows(ONE)

    asyncio.run(work())


def test_a_cancelled_wait_leaks_no_connection(postgresql_url: str) -> None:
    async def work() -> None:
        async with opened(postgresql_url, pool_size=1) as db:
            for _ in range(5):
                async with db.begin():
                    waiting = asyncio.create_task(enter(db))
                    await asyncio.sleep(0)
                    waiting.cancel()
                    await asyncio.gather(waiting, return_exceptions=True)
            async with db.begin() as tx:
                await tx.rows(ONE)

    async def enter(db: Database) -> None:
        async with db.begin():
            pass

    asyncio.run(work())


def test_a_row_locked_forever_fails_one_request_only(postgresql_url: str, tmp_path: Path) -> None:
    database = configured(postgresql_url, pool_size=4, busy_timeout=1.0)
    with client(tmp_path, database=database) as api:
        stuck, other, third = (api.image(caller=OWNER) for _ in range(3))
        lease = api.application.ctx.lease
        worker = lease.worker
        change = [{"op": "replace", "path": "/name", "value": "x"}]
        with (
            ThreadPoolExecutor(5) as pool,
            uploading(api, other, PausedBody(b"one", b" two"), caller=OWNER) as answer,
        ):
            with locked(postgresql_url, f"SELECT 1 FROM images WHERE id = '{stuck['id']}' FOR UPDATE"):
                patches = [pool.submit(api.patch, stuck["self"], change, caller=OWNER) for _ in range(5)]
                assert api.get("/v2/images", caller=OWNER).status == 200
                api.run(lease.renew())
                assert lease.held
                refused = [patch.result() for patch in patches]  # while the other transaction is still there
            assert [each.status for each in refused] == [503] * 5
            assert all(each.headers["retry-after"] for each in refused)
            assert api.patch(third["self"], change, caller=OWNER).status == 200
        assert answer.result().status == 204
        assert lease.worker == worker
        assert api.patch(stuck["self"], change, caller=OWNER).status == 200


def test_a_lock_timeout_has_an_error_of_its_own(postgresql_url: str) -> None:
    async def work() -> None:
        await asked(postgresql_url, "CREATE TABLE t (n int)", "INSERT INTO t VALUES (1)")
        lock = Statement(text("SELECT n FROM t FOR UPDATE"))
        # Twice as long may a new connection take, and the second transaction needs one.
        async with opened(postgresql_url, busy_timeout=1.0) as db:
            async with db.begin() as tx:
                await tx.rows(lock)
                with pytest.raises(Locked, match="lock"):
                    async with db.begin() as second:
                        await second.rows(lock)
            async with db.begin() as tx:
                await tx.rows(lock)

    asyncio.run(work())


def test_a_transaction_ended_by_the_server_is_unavailable(postgresql_url: str) -> None:
    """As when a process was frozen in the middle of it."""

    async def work() -> None:
        ours = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"

        async def ended() -> bool:
            return bool(await asked(postgresql_url, ours) == 0)

        async with opened(postgresql_url) as db:
            with pytest.raises(DatabaseUnavailable):
                async with db.begin() as tx:
                    await tx.rows(Statement(text("SET LOCAL idle_in_transaction_session_timeout = 20")))
                    await eventually(ended)
                    await tx.rows(ONE)
            assert await db.rows(ONE)

    asyncio.run(work())


@pytest.mark.parametrize(
    ("outage", "recovery"),
    [
        (("ALTER DATABASE {0} SET default_transaction_read_only = on",), ("ALTER DATABASE {0} RESET ALL",)),
        (
            ("ALTER DATABASE {0} CONNECTION LIMIT 0", "ALTER DATABASE {0} RENAME TO {0}_gone"),
            ("ALTER DATABASE {0}_gone RENAME TO {0}", "ALTER DATABASE {0} CONNECTION LIMIT -1"),
        ),
        (("ALTER DATABASE {0} CONNECTION LIMIT 0",), ("ALTER DATABASE {0} CONNECTION LIMIT -1",)),
        (("ALTER ROLE {0} NOLOGIN",), ("ALTER ROLE {0} LOGIN",)),
    ],
    ids=["read only", "renamed", "full", "no log-ins"],
)
def test_a_read_only_database_is_unavailable(
    postgres_server: Any, tmp_path: Path, outage: tuple[str, ...], recovery: tuple[str, ...]
) -> None:
    url = postgres_server.create_database()
    name = url.rpartition("/")[2]

    async def switch(*statements: str) -> None:
        connection = await asyncpg.connect(postgres_server.url("postgres"))
        for statement in statements:
            await connection.execute(statement.format(name))
            await connection.execute(
                f"SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname LIKE '{name}%'"
            )
        await connection.close()

    asyncio.run(switch("CREATE ROLE {0} LOGIN", "ALTER DATABASE {0} OWNER TO {0}"))
    with client(tmp_path, database=configured(url.replace("//ferrotype@", f"//{name}@"))) as api:
        image = api.image(caller=OWNER)

        def change() -> Reply:
            return api.patch(image["self"], [{"op": "replace", "path": "/name", "value": "x"}], caller=OWNER)

        asyncio.run(switch(*outage))
        refused = [change() for _ in range(12)]  # more than there are connections that may have been cut
        assert {each.status for each in refused} == {503}
        assert all(each.headers["retry-after"] for each in refused)
        asyncio.run(switch(*recovery))
        for _ in range(12):
            if (changed := change()).status == 200:
                break
        assert changed.status == 200
