"""The command line: one module per command group. Each parses options, calls one function and prints the result."""

import click

from ferrotype import __version__
from ferrotype.cli.check import check
from ferrotype.cli.completion import completion
from ferrotype.cli.config import config
from ferrotype.cli.db import db
from ferrotype.cli.image import image
from ferrotype.cli.seed import seed
from ferrotype.cli.serve import serve
from ferrotype.cli.store import store
from ferrotype.cli.token import token
from ferrotype.cli.user import user


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ferrotype")
def main() -> None:
    """Ferrotype: an OpenStack Image service (Image API v2)."""


for _command in (check, completion, config, db, image, seed, serve, store, token, user):
    main.add_command(_command)
