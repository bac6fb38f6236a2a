"""``ferrotype db``: manage the database schema."""

import json
import sys
from pathlib import Path

import click

from ferrotype.cli.common import config_dirs, config_files, errors_exit, json_output, read_config


@click.group()
def db() -> None:
    """Manage the database schema."""


@db.command("sync")
@config_files
@config_dirs
def db_sync(files: tuple[Path, ...], dirs: tuple[Path, ...]) -> None:
    """Create the database schema, or upgrade it to the one of this version."""
    from ferrotype.db import schema

    config = read_config(files, dirs)
    with errors_exit(config):
        click.echo(schema.sync(config.database))


@db.command("version")
@config_files
@config_dirs
@json_output
def db_version(files: tuple[Path, ...], dirs: tuple[Path, ...], as_json: bool) -> None:
    """Print the schema versions that the database has and that the service needs; exits with 1 if they differ."""
    from ferrotype.db import schema

    config = read_config(files, dirs)
    with errors_exit(config):
        found = schema.version(config.database)
    if as_json:
        click.echo(json.dumps({"database": found, "needed": schema.HEAD}))
    else:
        click.echo(f"database: {found or 'empty'}\nneeded:   {schema.HEAD}")
    sys.exit(0 if found == schema.HEAD else 1)
