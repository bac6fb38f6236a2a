"""Bringing a database to the schema of this version, and telling which one it has.

A new database is made from the tables themselves and stamped; Alembic is imported only when an older one has
to be changed.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.schema import CreateIndex, CreateTable

from ferrotype.config.database import Database as DatabaseConfig
from ferrotype.db.engine import DatabaseUnavailable, dialect
from ferrotype.db.tables import metadata
from ferrotype.model.errors import FerrotypeError

#: The revisions in ``migrations/versions``, oldest first.
REVISIONS = ("0001",)
#: What the tables of this version are.
HEAD = REVISIONS[-1]

_STAMP = (
    "CREATE TABLE alembic_version"
    " (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))",
    f"INSERT INTO alembic_version (version_num) VALUES ('{HEAD}')",  # noqa: S608 - a constant of ours
)
_VERSION = "SELECT version_num FROM alembic_version"


class WrongSchema(FerrotypeError):
    """The database has another schema than this version needs."""


def statements(kind: str) -> list[str]:
    """Return the statements that make the tables and indexes in an empty database."""
    spoken = dialect(kind)
    made: list[Any] = [CreateTable(table) for table in metadata.sorted_tables]
    made += [CreateIndex(index) for table in metadata.sorted_tables for index in sorted_indexes(table)]
    return [str(each.compile(dialect=spoken)) for each in made]


def sorted_indexes(table: Any) -> list[Any]:
    """Return a table's indexes by name: the same order wherever they are made."""
    return sorted(table.indexes, key=lambda index: str(index.name))


def version(config: DatabaseConfig) -> str | None:
    """Return the schema's revision, or None for a database that has none yet."""
    return asyncio.run(_version_postgresql(config)) if config.kind == "postgresql" else _version_sqlite(config)


def sync(config: DatabaseConfig) -> str:
    """Bring the database to this version's schema and say in one sentence what was done."""
    found = version(config)
    if found == HEAD:
        return f"The database has schema {HEAD}; nothing to do."
    if found is None:
        if config.kind == "postgresql":
            asyncio.run(_create_postgresql(config))
        else:
            _create_sqlite(config)
        return f"The database was empty; it has schema {HEAD} now."
    _known(found)
    from ferrotype.db.migrate import upgrade  # Alembic costs most of a second: only when it is needed.

    upgrade(config)
    return f"The database had schema {found}; it has schema {HEAD} now."


def check(config: DatabaseConfig) -> None:
    """Make sure that the service can work on this database; the embedded one is brought up to date."""
    if config.kind == "sqlite":
        sync(config)
    else:
        ready(config)


def ready(config: DatabaseConfig) -> None:
    """Make sure that the database has this version's schema, and leave it as it is."""
    found = version(config)
    if found is None:
        raise WrongSchema("The database is empty. Run: ferrotype db sync")
    _known(found)
    if found != HEAD:
        raise WrongSchema(f"The database has schema {found}, this version needs {HEAD}. Run: ferrotype db sync")


def _known(found: str) -> None:
    if found not in REVISIONS:
        raise WrongSchema(
            f"The database has schema {found}, which this version does not know (its own is {HEAD})."
            " A newer version made it, or another program: run that, or name another database."
        )


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise DatabaseUnavailable(f"SQLite: {path}: {error}") from error


def _version_sqlite(config: DatabaseConfig) -> str | None:
    path = config.path or Path()
    with _sqlite_errors(path):
        if not path.exists():
            return None
        with closing(sqlite3.connect(path, timeout=config.busy_timeout)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
                return None
            row = connection.execute(_VERSION).fetchone()
            return str(row[0]) if row else None


def _create_sqlite(config: DatabaseConfig) -> None:
    path = config.path or Path()
    with _sqlite_errors(path):
        _make_folder(path.parent)
        with closing(sqlite3.connect(path, timeout=config.busy_timeout, isolation_level=None)) as connection:
            path.chmod(0o640)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("BEGIN EXCLUSIVE")
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
                connection.execute("ROLLBACK")  # Another process was quicker.
                return
            for statement in (*statements("sqlite"), *_STAMP):
                connection.execute(statement)
            connection.execute("COMMIT")


def _make_folder(folder: Path) -> None:
    """Make a folder and what is missing above it, durably: SQLite flushes the names in it, not its own."""
    if folder.exists():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True, mode=0o750)
    above = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(above)
    finally:
        os.close(above)


@asynccontextmanager
async def _postgresql(config: DatabaseConfig) -> AsyncIterator[Any]:
    """A connection for as long as the block takes. It may wait for locks for as long as the server lets it."""
    import asyncpg

    try:
        connection = await asyncpg.connect(config.url, timeout=10)
        try:
            yield connection
        finally:
            await connection.close()
    except (OSError, OverflowError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseUnavailable(f"PostgreSQL: {type(error).__name__}: {error}") from error


async def _version_postgresql(config: DatabaseConfig) -> str | None:
    async with _postgresql(config) as connection:
        if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
            return None
        return await connection.fetchval(_VERSION)  # type: ignore[no-any-return]


async def _create_postgresql(config: DatabaseConfig) -> None:
    async with _postgresql(config) as connection, connection.transaction():
        # Two nodes may be told to sync at once: the second waits and then finds it done.
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('ferrotype schema'))")
        if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
            for statement in (*statements("postgresql"), *_STAMP):
                await connection.execute(statement)
