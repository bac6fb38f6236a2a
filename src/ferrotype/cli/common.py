"""Shared by the commands: common options, reading the configuration, and exit codes of errors."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ferrotype.config import Config, ConfigError
from ferrotype.config.files import sources
from ferrotype.config.read import read
from ferrotype.model.errors import FerrotypeError

config_files = click.option(
    "--config-file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="F",
    help="Configuration file; may be repeated.",
)
config_dirs = click.option(
    "--config-dir",
    "dirs",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="D",
    help="Directory of configuration files (*.conf); may be repeated.",
)
json_output = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def read_config(files: Sequence[Path], dirs: Sequence[Path], overrides: Mapping[str, Any] | None = None) -> Config:
    """Return the configuration; on errors print every one of them and exit with 2."""
    found_files, found_dirs = sources(files, dirs, os.environ)
    try:
        return read(found_files, found_dirs, overrides or {})
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"configuration: {problem}", err=True)
        sys.exit(2)


@contextmanager
def errors_exit(config: Config | None = None) -> Iterator[None]:
    """Print an expected error as one line and exit with 1; with ``config`` the line names an unavailable database."""
    try:
        yield
    except (FerrotypeError, OSError) as error:
        from ferrotype.db.engine import (
            DatabaseUnavailable,
        )  # Imported here so that not every command imports SQLAlchemy.

        remote = config is not None and config.database.path is None and isinstance(error, DatabaseUnavailable)
        where = f" ([database] connection = {database_name(config)})" if config and remote else ""
        click.echo(f"{error}{where}", err=True)
        sys.exit(1)


def database_name(config: Config) -> str:
    from ferrotype.config.database import masked

    return str(config.database.path) if config.database.path else masked(config.database.url)
