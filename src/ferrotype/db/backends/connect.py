"""The configured database, opened by the one driver that it needs."""

from ferrotype.config.database import Database as DatabaseConfig
from ferrotype.db.engine import Database


async def connect(config: DatabaseConfig) -> Database:
    """Return the configured database, open. Call it after the process has forked."""
    if config.kind == "sqlite":
        from ferrotype.db.backends.sqlite import SQLite

        return SQLite(config)
    from ferrotype.db.backends.postgresql import PostgreSQL

    return await PostgreSQL.connect(config)
