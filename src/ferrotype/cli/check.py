"""``ferrotype check``: compare the database with the stores."""

import asyncio
import json
import sys
from pathlib import Path

import click

from ferrotype.cli.common import config_dirs, config_files, errors_exit, json_output, read_config


@click.command()
@config_files
@config_dirs
@json_output
@click.option(
    "--repair", is_flag=True, help="Repair what can be repaired safely: delete orphaned objects, correct counters."
)
@click.option(
    "--remove-unknown",
    is_flag=True,
    help="With --repair: also delete objects of images that the database does not know, or knows to have no data."
    " With a wrong or restored database that can delete the only copy of an image.",
)
def check(files: tuple[Path, ...], dirs: tuple[Path, ...], as_json: bool, repair: bool, remove_unknown: bool) -> None:
    """Compare the database with the stores, and the usage counters with the database.

    Prints each difference; exits with 1 if any is left.
    """
    from ferrotype import app
    from ferrotype.db import schema

    if remove_unknown and not repair:
        raise click.UsageError("--remove-unknown extends --repair; specify both.")
    config = read_config(files, dirs)
    with errors_exit(config):
        schema.ready(config.database)
        differences = asyncio.run(app.check(config, repair, remove_unknown))
    if as_json:
        click.echo(json.dumps([each.to_dict() for each in differences], indent=2))
    else:
        for each in differences:
            click.echo(each.sentence())
        click.echo(f"{len(differences)} differences")
    sys.exit(1 if any(not each.repaired for each in differences) else 0)
