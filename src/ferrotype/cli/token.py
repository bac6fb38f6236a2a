"""``ferrotype token``: API tokens, where there is no Keystone."""

import sys
from pathlib import Path

import click

from ferrotype.cli.common import config_dirs, config_files, errors_exit, read_config


@click.group()
def token() -> None:
    """API tokens, where there is no Keystone."""


@token.command("new")
@config_files
@config_dirs
@click.argument("name")
@click.option("--project", default="default", show_default=True, help="Project that the token is for.")
@click.option("--role", "roles", multiple=True, required=True, help="A role in the project.")
def token_new(
    files: tuple[Path, ...], dirs: tuple[Path, ...], name: str, project: str, roles: tuple[str, ...]
) -> None:
    """Make an API token called NAME and print it once: the file keeps only its hash."""
    from ferrotype.identity import accounts, tokens

    found = read_config(files, dirs).accounts
    if found is None or found.tokens is None:
        click.echo("[identity] tokens_file must name a file, and auth_strategy must be http_basic.", err=True)
        sys.exit(2)
    fresh = tokens.new()
    with errors_exit():
        accounts.add_token(found.tokens, [name, tokens.hashed(fresh), project, ",".join(roles)])
    click.echo(fresh)
