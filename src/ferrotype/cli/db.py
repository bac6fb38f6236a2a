"""``ferrotype db``: the database and its schema."""

import json
import sys
from pathlib import Path

import click

from ferrotype.cli.common import config_dirs, config_files, errors_exit, json_output, read_config


@click.group()
def db() -> None:
    """The database and its schema."""


@db.command("sync")
@config_files
@config_dirs
def db_sync(files: tuple[Path, ...], dirs: tuple[Path, ...]) -> None:
    """Bring the database to the schema of this version."""
    from ferrotype.db import schema

    config = read_config(files, dirs)
    with errors_exit(config):
        click.echo(schema.sync(config.database))


@db.command("version")
@config_files
@config_dirs
@json_output
def db_version(files: tuple[Path, ...], dirs: tuple[Path, ...], as_json: bool) -> None:
    """Print the schema that the database has and the one that this version needs; 1 when they differ."""
    from ferrotype.db import schema

    config = read_config(files, dirs)
    with errors_exit(config):
        found = schema.version(config.database)
    if as_json:
        click.echo(json.dumps({"database": found, "needed": schema.HEAD}))
    else:
        click.echo(f"database: {found or 'empty'}\nneeded:   {schema.HEAD}")
    sys.exit(0 if found == schema.HEAD else 1)
