"""``ferrotype user``: roles of users, where there is no Keystone."""

import sys
from pathlib import Path

import click

from ferrotype.cli.common import config_dirs, config_files, errors_exit, read_config
from ferrotype.config.accounts import Accounts


@click.group()
def user() -> None:
    """Roles of users, where there is no Keystone."""


@user.command("grant")
@config_files
@config_dirs
@click.argument("name")
@click.option("--project", default="default", show_default=True, help="Project that the roles are for.")
@click.option("--role", "roles", multiple=True, required=True, help="A role in the project.")
def user_grant(
    files: tuple[Path, ...], dirs: tuple[Path, ...], name: str, project: str, roles: tuple[str, ...]
) -> None:
    """Give the user NAME roles in a project."""
    from ferrotype.identity import accounts

    found = _accounts(files, dirs)
    with errors_exit():
        accounts.grant(found.roles, name, project, [role.lower() for role in roles])
        if name not in accounts.read_users(_text(found.users)):
            click.echo(f"{found.users} has no user '{name}' yet: htpasswd -B -C 10 {found.users} {name}", err=True)


@user.command("revoke")
@config_files
@config_dirs
@click.argument("name")
@click.option("--project", help="Only roles in this project.")
@click.option("--role", "roles", multiple=True, help="Only this role.")
def user_revoke(
    files: tuple[Path, ...], dirs: tuple[Path, ...], name: str, project: str | None, roles: tuple[str, ...]
) -> None:
    """Take roles from the user NAME: all, or those of a project, or single ones."""
    from ferrotype.identity import accounts

    found = _accounts(files, dirs)
    with errors_exit():
        accounts.revoke(found.roles, name, project, [role.lower() for role in roles])


@user.command("list")
@config_files
@config_dirs
def user_list(files: tuple[Path, ...], dirs: tuple[Path, ...]) -> None:
    """List users with their projects and roles, implied roles too."""
    from ferrotype.identity import accounts

    found = _accounts(files, dirs)
    with errors_exit():
        names = accounts.read_users(_text(found.users))
        roles = accounts.read_roles(_text(found.roles))
    for (name, project), held in roles.items():
        known = "" if name in names else "  (no password)"
        click.echo(f"{name}  {accounts.project_name(project)}  {','.join(held)}{known}")
    for name in names.keys() - {name for name, _ in roles}:
        click.echo(f"{name}  -  -")


def _accounts(files: tuple[Path, ...], dirs: tuple[Path, ...]) -> Accounts:
    found = read_config(files, dirs).accounts
    if found is None:
        click.echo("There are users only where auth_strategy is http_basic.", err=True)
        sys.exit(2)
    return found


def _text(file: Path) -> str:
    return file.read_text("utf-8-sig") if file.exists() else ""
