"""``ferrotype store``: which store holds which image."""

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ferrotype.cli.common import config_dirs, config_files, errors_exit, json_output, read_config

if TYPE_CHECKING:
    from ferrotype.admin.attribution import Attributed


@click.group()
def store() -> None:
    """Which store holds which image."""


@store.command("attribute")
@config_files
@config_dirs
@json_output
@click.option("--dry-run", is_flag=True, help="Change nothing; print what would be changed.")
@click.option("--after", default="", metavar="ID", help="Continue an interrupted run: only images after this ID.")
def store_attribute(
    files: tuple[Path, ...], dirs: tuple[Path, ...], as_json: bool, dry_run: bool, after: str
) -> None:
    """Record in each location the store that holds it.

    After a store was renamed, or one store became several, the service finds the store of older locations by their
    URLs, each time they are read. This command makes it permanent, and takes credentials out of old URLs of object
    stores. Prints image, store and URL of each location that changes; "?" is a store that is not configured, and then
    the command exits with 1. With --json each is a line of JSON. The service may run meanwhile; running the command
    again does no harm.
    """
    from ferrotype import app
    from ferrotype.db import schema

    config = read_config(files, dirs)
    found: list[Attributed] = []

    def report(each: "Attributed") -> None:
        found.append(each)
        if as_json:
            line = {name: getattr(each, name) for name in ("image", "store", "url", "rewritten", "changed")}
            click.echo(json.dumps(line))
        else:
            click.echo(f"{each.image}  {each.store or '?'}  {each.url}" + _note(each))

    with errors_exit(config):
        schema.ready(config.database)
        try:
            asyncio.run(app.attribute(config, dry_run, after, report))
        except KeyboardInterrupt:
            if found:
                click.echo(f"interrupted; continue with --after {found[-1].image}", err=True)
            raise
    unknown = sum(each.store is None for each in found)
    if not as_json:
        changed = sum(each.changed for each in found)
        what = "would be changed" if dry_run else "changed"
        click.echo(f"{changed} locations {what}, {unknown} in stores that are not configured")
    sys.exit(1 if unknown else 0)


def _note(each: "Attributed") -> str:
    if each.rewritten:
        return "  (without credentials)"
    return "" if each.changed or each.store is None else "  (changed by another process; run the command again)"
