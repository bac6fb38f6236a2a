"""What every back end of a database must do alike, and what must not be outside the back ends."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import String, bindparam, select, update

import ferrotype
from ferrotype.config.database import Database as DatabaseConfig
from ferrotype.db import directory_ids, schema
from ferrotype.db.backends.connect import BACKENDS, connect
from ferrotype.db.engine import Database, ExactString, Statement, UpdateReturning, any_of, upsert
from ferrotype.db.tables import metadata, usage

PRODUCT = Path(ferrotype.__file__).parent
_ALL = Statement(select(usage.c.project, usage.c.stored).order_by(usage.c.project))


def configured(url: str) -> DatabaseConfig:
    kind = url.partition(":")[0]
    return DatabaseConfig(url=url, kind=kind, path=Path(url.removeprefix("sqlite:///")) if kind == "sqlite" else None)


@pytest.fixture
def db(database_url: str) -> Iterator[tuple[Any, Database]]:
    """A way to run something, and a database with the tables."""
    schema.sync(configured(database_url))
    with asyncio.Runner() as runner:
        database = runner.run(connect(configured(database_url)))
        yield runner.run, database
        runner.run(database.close())


def test_an_upsert_ignores_or_updates_a_row_that_exists(db: Any) -> None:
    run, database = db
    ignore, replace = Statement(upsert(usage)), Statement(upsert(usage, update=("stored",)))

    async def work() -> list[list[tuple[Any, ...]]]:
        seen = []
        for statement, project, stored in [(ignore, "a", 1), (ignore, "a", 2), (replace, "a", 3), (replace, "b", 4)]:
            async with database.begin() as tx:
                await tx.run(statement, project=project, stored=stored)
            seen.append([tuple(row) for row in await database.rows(_ALL)])
        return seen

    assert run(work()) == [[("a", 1)], [("a", 1)], [("a", 3)], [("a", 3), ("b", 4)]]


def test_an_update_returns_the_row_as_it_is_afterwards_or_nothing(db: Any) -> None:
    run, database = db
    change = update(usage).where(usage.c.stored == bindparam("expected")).values(stored=usage.c.stored + 1)
    add_one = UpdateReturning(change, usage.c.project == bindparam("of"), (usage.c.stored, usage.c.project))

    async def work() -> list[Any]:
        async with database.begin() as tx:
            for project in ("a", "b"):
                await tx.run(Statement(upsert(usage)), project=project, stored=1)
            rows = [
                await tx.update_returning(add_one, of=project, expected=expected)
                for project, expected in [("a", 1), ("a", 1), ("c", 1)]
            ]
        return [row and tuple(row) for row in rows] + [tuple(row) for row in await database.rows(_ALL)]

    assert run(work()) == [(2, "a"), None, None, ("a", 2), ("b", 1)]


@pytest.mark.parametrize("count", [0, 1, 70_000])  # More than any database takes as single bound values.
def test_a_list_of_any_length_is_one_bound_value(db: Any, count: int) -> None:
    run, database = db
    listed = Statement(select(usage.c.project).where(any_of(usage.c.project, "projects")))

    async def work() -> list[str]:
        async with database.begin() as tx:
            await tx.run(Statement(upsert(usage)), project="p0", stored=1)
        return [row[0] for row in await database.rows(listed, projects=[f"p{n}" for n in range(count)])]

    assert run(work()) == ["p0"][:count]


@pytest.mark.parametrize("kind", sorted(BACKENDS))
def test_no_update_outside_the_back_ends_has_returning(kind: str) -> None:
    statements = []
    for path in sorted((PRODUCT / "db").glob("*.py")):
        for value in vars(import_module(f"ferrotype.db.{path.stem}")).values():
            several = value if isinstance(value, tuple) else (value,)
            statements += [each for each in several if isinstance(each, Statement)]
    sql = [statement.compiled(kind)[0] for statement in statements]
    updates = [each for each in sql if "UPDATE" in each.partition(" ")[0]]
    assert len(sql) > 40 and len(updates) > 10
    assert [each for each in updates if "RETURNING" in each] == []


def test_no_kind_of_database_is_named_outside_the_back_ends() -> None:
    elsewhere = ("db/backends/", "config/", "testing/")
    named = re.compile(r"""["'](sqlite|postgresql)["']|ON CONFLICT|import (sqlite3|asyncpg)""")
    found = [
        f"{path.relative_to(PRODUCT)}: {match[0]}"
        for path in sorted(PRODUCT.rglob("*.py"))
        if not str(path.relative_to(PRODUCT)).startswith(elsewhere)
        for match in named.finditer(path.read_text())
    ]
    assert found == []


def test_sqlite_does_without_the_driver_of_postgresql(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from ferrotype import app\n"
        "from ferrotype.config.database import Database\n"
        "from ferrotype.db import schema\n"
        f"schema.check(Database(url='', kind='sqlite', path=Path({str(tmp_path / 't.sqlite')!r})))\n"
        "print({'asyncpg', 'alembic'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "set()"


def test_every_key_fits_into_an_index_of_every_database() -> None:
    for table in metadata.tables.values():
        for key in (table.primary_key, *table.indexes):
            columns = list(key.columns)
            assert columns, key
            strings = [column.type for column in columns if isinstance(column.type, String)]
            assert all(isinstance(each, ExactString) and each.length for each in strings), (table.name, key)
            # PostgreSQL takes 2704 bytes. A character has up to 4, a number 8.
            assert sum(4 * (each.length or 0) for each in strings) + 8 * len(columns) < 2704, (table.name, key)


def test_the_id_of_a_directory_is_kept_however_long_its_path_is(db: Any) -> None:
    run, database = db
    paths = ["/a", "/" + "a" * 4095, "/" + "a" * 4094 + "b"]

    async def work() -> dict[str, str]:
        async with database.begin() as tx:
            for path in paths:
                await directory_ids.record(tx, "fast", path, None, "old")
            await directory_ids.record(tx, "fast", paths[1], "old", "new")
            # Only by a node that knows what is recorded.
            await directory_ids.record(tx, "fast", paths[0], None, "other")
            await directory_ids.record(tx, "fast", paths[2], "new", "other")
        return await directory_ids.of_store(database, "fast")

    assert run(work()) == {paths[0]: "old", paths[1]: "new", paths[2]: "old"}


# IMG-LIST-41
def test_strings_are_compared_byte_by_byte(db: Any) -> None:
    run, database = db
    words = ["", " ", "A", "B", "a", "a ", "b", "\u00e4", "\uff5e", "\U0001f600"]

    async def work() -> list[str]:
        async with database.begin() as tx:
            for word in reversed(words):
                await tx.run(Statement(upsert(usage)), project=word, stored=0)
        return [row[0] for row in await database.rows(_ALL)]

    assert run(work()) == words


def test_of_two_processes_only_one_creates_the_schema(database_url: str) -> None:
    config = configured(database_url)
    assert "empty" in schema.sync(config)
    backend = BACKENDS[config.kind]()
    backend.create_schema(config, ["this is no SQL"])  # as a process that was slower
    assert backend.schema_version(config) == schema.HEAD
