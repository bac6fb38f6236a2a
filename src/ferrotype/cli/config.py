"""``ferrotype config``: validate a configuration."""

import json
import os
import sys
from pathlib import Path

import click

from ferrotype.cli.common import config_dirs, config_files, json_output
from ferrotype.config.files import sources


@click.group()
def config() -> None:
    """Validate the configuration."""


@config.command("check")
@config_files
@config_dirs
@json_output
def config_check(files: tuple[Path, ...], dirs: tuple[Path, ...], as_json: bool) -> None:
    """Validate a configuration without starting the service.

    Prints the effective settings and lists unknown, removed and invalid options; exits with 1 if the service would
    not start.
    """
    from ferrotype import app
    from ferrotype.config.check import report

    found = report(*sources(files, dirs, os.environ), app.startup_errors)
    click.echo(json.dumps(found.to_dict(), indent=2) if as_json else "\n".join(found.lines()))
    sys.exit(0 if found.ok else 1)
