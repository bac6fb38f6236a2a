"""The command line: one module for each command group. Each parses, calls one function and prints."""

import click

from ferrotype import __version__
from ferrotype.cli.check import check
from ferrotype.cli.completion import completion
from ferrotype.cli.config import config
from ferrotype.cli.db import db
from ferrotype.cli.seed import seed
from ferrotype.cli.serve import serve
from ferrotype.cli.token import token


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ferrotype")
def main() -> None:
    """An OpenStack Image service: the Image API v2 on one machine or on many."""


for _command in (check, completion, config, db, seed, serve, token):
    main.add_command(_command)
