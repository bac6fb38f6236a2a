"""The temporary PostgreSQL server."""

import asyncio
import os
from pathlib import Path

import asyncpg
import pytest
from needs import need

from ferrotype.testing.postgres import Server, postgres


def ask(url: str, statement: str) -> str:
    """Return the one value that a statement answers."""

    async def answer() -> str:
        connection = await asyncpg.connect(url)
        try:
            return str(await connection.fetchval(statement))
        finally:
            await connection.close()

    return asyncio.run(answer())


def test_server_and_its_data_are_removed_at_the_end_of_the_block() -> None:
    need("postgresql")
    with postgres() as server:
        assert ask(server.create_database(), "SELECT 40 + 2") == "42"
    assert not server.directory.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def test_durable_server_syncs_to_disk() -> None:
    need("postgresql")
    with postgres(durable=True) as server:
        settings = ("fsync", "synchronous_commit", "full_page_writes")
        assert [ask(server.url("postgres"), f"SHOW {name}") for name in settings] == ["on"] * 3


def test_databases_are_created_empty_and_can_be_dropped(postgres_server: Server) -> None:
    first, second = postgres_server.create_database(), postgres_server.create_database()
    ask(first, "CREATE TABLE t (n int)")
    assert ask(second, "SELECT count(*) FROM pg_tables WHERE tablename = 't'") == "0"
    postgres_server.drop_database(first)
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        ask(first, "SELECT 1")
    postgres_server.drop_database(second)


def test_database_compares_text_by_bytes(postgresql_url: str) -> None:
    assert ask(postgresql_url, "SELECT 'Z' < 'a'") == "True"


def test_database_url_fixture_covers_each_kind(database_url: str, tmp_path: Path) -> None:
    kind, _, rest = database_url.partition("://")
    assert kind in ("sqlite", "postgresql")
    if kind == "sqlite":
        assert rest == f"/{tmp_path}/t.sqlite"
    else:
        assert ask(database_url, "SELECT 1") == "1"
