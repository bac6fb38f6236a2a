"""Changing an older schema with Alembic. Imported only when there is something to change."""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig

from ferrotype.config.database import Database as DatabaseConfig
from ferrotype.db.backends.connect import backend


def upgrade(config: DatabaseConfig, revision: str = "head") -> None:
    """Run the migrations that the database has not seen yet."""
    alembic = AlembicConfig()
    alembic.set_main_option("script_location", str(Path(__file__).with_name("migrations")))

    def run(connection: Any) -> None:
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, revision)

    backend(config.kind).migrate(config, run)
