"""``ferrotype seed``: create images for benchmarks."""

import asyncio
from pathlib import Path

import click

from ferrotype.cli.common import config_dirs, config_files, errors_exit, read_config


@click.command()
@config_files
@config_dirs
@click.argument("count", type=click.IntRange(1))
def seed(files: tuple[Path, ...], dirs: tuple[Path, ...], count: int) -> None:
    """Create COUNT images for benchmarks: no data, 10 properties and 3 tags each."""
    from ferrotype import app
    from ferrotype.db import schema

    config = read_config(files, dirs)
    with errors_exit(config):
        schema.ready(config.database)
        click.echo(asyncio.run(app.seed(config, count)))
