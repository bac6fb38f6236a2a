"""The kinds of databases, one row each. Only the module of the one that is used is imported, and its driver."""

from collections.abc import Callable, Mapping

from ferrotype.config.database import Database as DatabaseConfig
from ferrotype.db.engine import Backend, Database


def _sqlite() -> Backend:
    from ferrotype.db.backends import sqlite

    return sqlite


def _postgresql() -> Backend:
    from ferrotype.db.backends import postgresql

    return postgresql


#: ``kind`` of a configured database -> its back end
BACKENDS: Mapping[str, Callable[[], Backend]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
}


def backend(kind: str) -> Backend:
    """Return the back end of one kind of database."""
    return BACKENDS[kind]()


async def connect(config: DatabaseConfig) -> Database:
    """Return the configured database, open. Call it after the process has forked."""
    return await backend(config.kind).connect(config)
