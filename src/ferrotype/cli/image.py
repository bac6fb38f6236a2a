"""``ferrotype image``: work on single images that has no API."""

import asyncio
from pathlib import Path

import click

from ferrotype.cli.common import config_dirs, config_files, errors_exit, read_config


@click.group()
def image() -> None:
    """Restore deleted images."""


@image.command("restore")
@config_files
@config_dirs
@click.argument("image_id", metavar="ID")
def image_restore(files: tuple[Path, ...], dirs: tuple[Path, ...], image_id: str) -> None:
    """Undo the deletion of the image ID, as long as delayed_delete keeps its data.

    Reads the data and compares it with the image's digest, charges the owner's quota, and makes the image active
    again with its properties, tags, members and locations. The service may run meanwhile.
    """
    from ferrotype import app
    from ferrotype.db import schema

    config = read_config(files, dirs)
    with errors_exit(config):
        schema.ready(config.database)
        restored = asyncio.run(app.restore(config, image_id))
    for sentence in restored.unreadable:
        click.echo(f"warning: a copy cannot be read: {sentence}", err=True)
    click.echo(f"image {image_id} is active again: {restored.image.size} bytes")
