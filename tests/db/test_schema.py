"""The tables and the migrations say the same; a new database gets them, an old one is brought to them."""

import asyncio
import sqlite3

import pytest

from tintype.config.model import Database
from tintype.db import engine, migrate, schema


def configured(url: str) -> Database:
    from pathlib import Path

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
        connection = await schema._connect(config)
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


def test_a_database_that_is_up_to_date_is_left_alone(database_url: str) -> None:
    config = configured(database_url)
    assert schema.version(config) is None
    schema.sync(config)
    assert "nothing to do" in schema.sync(config)
    assert schema.version(config) == schema.HEAD


def test_a_postgresql_of_another_version_stops_the_start_with_what_to_do(postgres_server) -> None:
    config = configured(postgres_server.create_database())
    with pytest.raises(schema.WrongSchema, match="tintype db sync"):
        schema.check(config)
    schema.sync(config)
    schema.check(config)


def test_a_database_that_cannot_be_reached_is_named(tmp_path) -> None:
    config = Database(url="postgresql://nobody@127.0.0.1:1/none", kind="postgresql")
    with pytest.raises(engine.DatabaseUnavailable, match="PostgreSQL"):
        schema.version(config)
