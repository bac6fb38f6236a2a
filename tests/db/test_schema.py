"""The tables and the migrations say the same; a new database gets them, an old one is brought to them."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from ferrotype.config.database import Database
from ferrotype.db import engine, migrate, schema
from ferrotype.db.backends.connect import connect
from ferrotype.db.backends.postgresql import administering


def configured(url: str) -> Database:
    kind = url.partition(":")[0]
    return Database(url=url, kind=kind, path=Path(url.removeprefix("sqlite:///")) if kind == "sqlite" else None)


def described(config: Database) -> list[tuple[str, ...]]:
    """Every column and index of the database, as the database itself tells it."""
    if config.kind == "sqlite":
        connection = sqlite3.connect(str(config.path))
        found = []
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in sorted(tables):
            for row in connection.execute(f"PRAGMA table_xinfo({table})"):
                found.append((table, *(str(each) for each in row[1:])))
        indexes = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
        found += [(row[0], " ".join(row[1].split())) for row in connection.execute(indexes)]
        connection.close()
        return found

    async def ask() -> list[tuple[str, ...]]:
        connection = await asyncpg.connect(config.url)
        columns = await connection.fetch(
            "SELECT table_name, column_name, data_type, is_nullable, collation_name, generation_expression"
            " FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"
        )
        indexes = await connection.fetch(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
        )
        await connection.close()
        return [tuple(str(each) for each in row) for row in (*columns, *indexes)]

    return asyncio.run(ask())


def test_migrations_make_the_same_schema_as_the_tables(database_url: str, tmp_path, request) -> None:
    made = configured(database_url)
    assert "empty" in schema.sync(made)
    by_tables = described(made)

    if made.kind == "sqlite":
        migrated = configured(f"sqlite:///{tmp_path}/migrated.sqlite")
    else:
        migrated = configured(request.getfixturevalue("postgres_server").create_database())
    migrate.upgrade(migrated)
    by_migrations = described(migrated)

    assert by_tables == by_migrations
    assert schema.version(migrated) == schema.HEAD


def test_a_current_schema_is_not_changed(database_url: str) -> None:
    config = configured(database_url)
    assert schema.version(config) is None
    schema.sync(config)
    assert "nothing to do" in schema.sync(config)
    assert schema.version(config) == schema.HEAD


def test_another_schema_version_stops_the_start_with_a_remedy(postgres_server) -> None:
    config = configured(postgres_server.create_database())
    with pytest.raises(schema.WrongSchema, match="ferrotype db sync"):
        schema.check(config)
    schema.sync(config)
    schema.check(config)


def test_an_unreachable_database_is_named(tmp_path) -> None:
    config = Database(url="postgresql://nobody@127.0.0.1:1/none", kind="postgresql")
    with pytest.raises(engine.DatabaseUnavailable, match="PostgreSQL"):
        schema.version(config)


def tell(config: Database, *statements: str) -> None:
    """Change a database as its administrator."""
    if config.kind == "sqlite":
        with closing(sqlite3.connect(str(config.path))) as connection, connection:
            for statement in statements:
                connection.execute(statement)
        return

    async def each() -> None:
        connection = await asyncpg.connect(config.url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(each())


@pytest.mark.parametrize("of_another", ["0099", "2024_1_expand01"])  # of a newer version, of another program
def test_an_unknown_schema_is_named_and_not_changed(database_url: str, of_another: str) -> None:
    config = configured(database_url)
    schema.sync(config)
    tell(config, f"UPDATE alembic_version SET version_num = '{of_another}'")
    for begin in (schema.sync, schema.check):
        with pytest.raises(schema.WrongSchema, match=f"has schema {of_another}, which this version does not know"):
            begin(config)
    assert schema.version(config) == of_another


def test_known_revisions_are_the_existing_ones() -> None:
    folder = Path(migrate.__file__).parent / "migrations" / "versions"
    assert list(schema.REVISIONS) == sorted(path.name[1:5] for path in folder.glob("v*.py"))


def test_an_impossible_sqlite_path_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no database, and longer than the head of one " * 9)
    for path in (tmp_path / "file" / "t.sqlite", tmp_path / "file", tmp_path, Path("/proc/none/t.sqlite")):
        config = Database(url=f"sqlite:///{path}", kind="sqlite", path=path)
        for begin in (schema.sync, schema.check, lambda config: asyncio.run(connect(config))):
            with pytest.raises(engine.DatabaseUnavailable, match=str(path)):
                begin(config)


def test_an_error_after_connecting_to_postgresql_is_reported(postgres_server) -> None:
    config = configured(postgres_server.create_database())
    schema.sync(config)
    tell(config, "ALTER TABLE alembic_version RENAME COLUMN version_num TO number")
    with pytest.raises(engine.DatabaseUnavailable, match="version_num"):
        schema.version(config)


def test_schema_changes_use_the_servers_timeouts(postgres_server) -> None:
    config = configured(postgres_server.create_database())
    schema.sync(config)

    async def ask() -> tuple[list[str], list[str]]:
        names = ("lock_timeout", "idle_in_transaction_session_timeout")
        async with administering(config) as connection:
            alone = [await connection.fetchval(f"SHOW {name}") for name in names]
        db = await connect(config)
        serving = [(await db.row(engine.Statement(text(f"SHOW {name}"))))[0] for name in names]
        await db.close()
        return alone, serving

    assert asyncio.run(ask()) == (["0", "0"], ["5s", "10s"])
