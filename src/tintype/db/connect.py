"""The configured database, opened by the one driver that it needs."""

from tintype.config.model import Database as DatabaseConfig
from tintype.db.engine import Database


async def connect(config: DatabaseConfig) -> Database:
    """Return the configured database, open. Call it after the process has forked."""
    if config.kind == "sqlite":
        from tintype.db.sqlite import SQLite

        return SQLite(config)
    from tintype.db.postgresql import PostgreSQL

    return await PostgreSQL.connect(config)
