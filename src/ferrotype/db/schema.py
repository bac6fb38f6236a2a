"""Bring a database to the schema of this version, and tell which one it has.

A new database is created from the tables and stamped; Alembic is imported only to migrate an older one.
"""

from typing import Any

from sqlalchemy.schema import CreateIndex, CreateTable

from ferrotype.config.database import Database as DatabaseConfig
from ferrotype.db.backends.connect import backend
from ferrotype.db.tables import metadata
from ferrotype.model.errors import FerrotypeError

#: The revisions in ``migrations/versions``, oldest first.
REVISIONS = ("0001",)
#: The revision that the tables of this version have.
HEAD = REVISIONS[-1]

_STAMP = (
    "CREATE TABLE alembic_version"
    " (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))",
    f"INSERT INTO alembic_version (version_num) VALUES ('{HEAD}')",  # noqa: S608 - a constant of ours
)


class WrongSchema(FerrotypeError):
    """The database has another schema than this version needs."""


def statements(kind: str) -> list[str]:
    """Return the statements that create the tables and indexes in an empty database, always in the same order."""
    dialect = backend(kind).dialect()
    created: list[Any] = [CreateTable(table) for table in metadata.sorted_tables]
    for table in metadata.sorted_tables:
        created += [CreateIndex(index) for index in sorted(table.indexes, key=lambda index: str(index.name))]
    return [str(each.compile(dialect=dialect)) for each in created]


def version(config: DatabaseConfig) -> str | None:
    """Return the schema's revision, or None for a database that has none yet."""
    return backend(config.kind).schema_version(config)


def sync(config: DatabaseConfig) -> str:
    """Bring the database to this version's schema and say in one sentence what was done."""
    found = version(config)
    if found == HEAD:
        return f"The database has schema {HEAD}; nothing to do."
    if found is None:
        backend(config.kind).create_schema(config, (*statements(config.kind), *_STAMP))
        return f"The database was empty; it has schema {HEAD} now."
    _check_known(found)
    from ferrotype.db.migrate import upgrade  # Alembic costs most of a second: only when it is needed.

    upgrade(config)
    return f"The database had schema {found}; it has schema {HEAD} now."


def check(config: DatabaseConfig) -> None:
    """Make sure that the service can use this database; an embedded one is brought up to date."""
    if backend(config.kind).EMBEDDED:
        sync(config)
    else:
        ready(config)


def ready(config: DatabaseConfig) -> None:
    """Raise WrongSchema unless the database has this version's schema. Nothing is changed."""
    found = version(config)
    if found is None:
        raise WrongSchema("The database is empty. Run: ferrotype db sync")
    _check_known(found)
    if found != HEAD:
        raise WrongSchema(f"The database has schema {found}, this version needs {HEAD}. Run: ferrotype db sync")


def _check_known(found: str) -> None:
    if found not in REVISIONS:
        raise WrongSchema(
            f"The database has schema {found}, which this version does not know (it needs {HEAD})."
            " A newer version or another program created it: run that, or configure another database."
        )
