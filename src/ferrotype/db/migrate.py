"""Changing an older schema with Alembic. Imported only when there is something to change."""

import asyncio
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from ferrotype.config.database import Database as DatabaseConfig


def upgrade(config: DatabaseConfig, revision: str = "head") -> None:
    """Run the migrations that the database has not seen yet."""
    alembic = AlembicConfig()
    alembic.set_main_option("script_location", str(Path(__file__).with_name("migrations")))

    def run(connection: Any) -> None:
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, revision)

    if config.kind == "sqlite":
        engine = create_engine(f"sqlite:///{config.path}")
        with engine.begin() as connection:
            run(connection)
        engine.dispose()
        return

    async def run_async() -> None:
        url = config.url.replace("postgresql://", "postgresql+asyncpg://", 1)
        engine = create_async_engine(url)
        async with engine.begin() as connection:
            await connection.run_sync(run)
        await engine.dispose()

    asyncio.run(run_async())
