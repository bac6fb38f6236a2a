"""The command line: parse, call one function, print. The exit code says the result."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ferrotype import __version__, logs
from ferrotype.config.files import sources
from ferrotype.config.model import Config, ConfigError
from ferrotype.config.options import MOST_WORKERS
from ferrotype.config.read import loopback, read
from ferrotype.model.errors import FerrotypeError

_FILES = click.option(
    "--config-file", "files", multiple=True, type=click.Path(path_type=Path), metavar="F", help="Read this file."
)
_DIRS = click.option(
    "--config-dir", "dirs", multiple=True, type=click.Path(path_type=Path), metavar="D", help="Read *.conf in it."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ferrotype")
def main() -> None:
    """An OpenStack Image service: the Image API v2 on one machine or on many."""


def _read(files: Sequence[Path], dirs: Sequence[Path], overrides: Mapping[str, Any] | None = None) -> Config:
    """Return the configuration, or end the command with everything that is impossible in it."""
    found_files, found_dirs = sources(files, dirs, os.environ)
    try:
        return read(found_files, found_dirs, overrides or {})
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"configuration: {problem}", err=True)
        sys.exit(2)


@main.command()
@_FILES
@_DIRS
@click.option("--host", help="Address to listen on; 127.0.0.1 without authentication.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 9292.")
@click.option("--workers", type=click.IntRange(1, MOST_WORKERS), help="Processes that answer requests.")
@click.option(
    "--allow-unauthenticated-listen",
    is_flag=True,
    help="Listen beyond this machine although nobody is asked who they are: whoever reaches the port can"
    " read, change and delete every image.",
)
def serve(
    files: tuple[Path, ...],
    dirs: tuple[Path, ...],
    host: str | None,
    port: int | None,
    workers: int | None,
    allow_unauthenticated_listen: bool,
) -> None:
    """Serve images in the foreground. SIGTERM ends it gracefully, SIGHUP reads the configuration again."""
    overrides = {
        "bind_host": host,
        "bind_port": port,
        "workers": workers,
        "allow_open": allow_unauthenticated_listen or None,
    }
    config = _read(files, dirs, overrides)
    with _failing_clearly():
        logs.start(config.logging)
    from ferrotype import app
    from ferrotype import serve as supervisor
    from ferrotype.db import schema

    for remark in config.remarks:
        logging.getLogger("ferrotype.config").warning("%s", remark)
    with _failing_clearly(config):
        schema.check(config.database)
    at_home = not files and not dirs and not os.environ.get("FERROTYPE_CONFIG_FILE")

    def reload_config(running: Config) -> tuple[Config, tuple[str, ...]]:
        config, waiting = app.following(running, read(*sources(files, dirs, os.environ), overrides))
        logs.follow(config.logging)  # of the supervisor, and of the workers that it starts from now on
        return config, waiting

    sys.exit(supervisor.serve(config, reload_config, app.build, lambda url: _say_hello(config, url, at_home)))


def _say_hello(config: Config, url: str, at_home: bool) -> None:
    """Tell where the service listens, where its data lie, who may call, and what to try.

    Whoever would have read it may be gone, or have no room left: the service serves all the same.
    """
    data = ", ".join(str(entry.options.get("datadir", entry.id)) for entry in config.stores.entries)
    hello = (
        f"Ferrotype {__version__} listens on {url}; images lie in {data}, records in {_where(config)}."
        f"{_open(config)}\n"
    )
    if at_home:
        hello += (
            "Try:\n"
            f"  curl {url}/v2/images\n"
            f"  openstack --os-auth-type none --os-endpoint {url} image create --file disk.qcow2"
            " --disk-format qcow2 --container-format bare first\n"
            f"  glance --os-image-url {url} --os-auth-token any image-list\n"
        )
    try:
        # Python's own stream would keep what it cannot write, and fail with it again later.
        os.write(1, hello.encode(errors="backslashreplace"))
    except OSError as error:
        logging.getLogger("ferrotype").warning("standard output takes no greeting: %s", error.strerror)


def _open(config: Config) -> str:
    if config.auth.strategy != "none":
        return ""
    who = (
        "so only this machine can reach it"
        if loopback(config.server.bind_host)
        else "whoever reaches it may do anything"
    )
    return f" Nobody is asked who they are, {who}."


def _where(config: Config) -> str:
    from ferrotype.config.database import masked

    return str(config.database.path) if config.database.path else masked(config.database.url)


@main.group()
def db() -> None:
    """The database and its schema."""


@db.command("sync")
@_FILES
@_DIRS
def db_sync(files: tuple[Path, ...], dirs: tuple[Path, ...]) -> None:
    """Bring the database to the schema of this version."""
    from ferrotype.db import schema

    config = _read(files, dirs)
    with _failing_clearly(config):
        click.echo(schema.sync(config.database))


@db.command("version")
@_FILES
@_DIRS
@_JSON
def db_version(files: tuple[Path, ...], dirs: tuple[Path, ...], as_json: bool) -> None:
    """Print the schema that the database has and the one that this version needs; 1 when they differ."""
    from ferrotype.db import schema

    config = _read(files, dirs)
    with _failing_clearly(config):
        found = schema.version(config.database)
    if as_json:
        click.echo(json.dumps({"database": found, "needed": schema.HEAD}))
    else:
        click.echo(f"database: {found or 'empty'}\nneeded:   {schema.HEAD}")
    sys.exit(0 if found == schema.HEAD else 1)


@contextmanager
def _failing_clearly(config: Config | None = None) -> Iterator[None]:
    """Turn an error of ours into one line and exit code 1; one of a server says which one ``config`` names."""
    try:
        yield
    except (FerrotypeError, OSError) as error:
        from ferrotype.db.engine import DatabaseUnavailable  # Not where every command would have to import it.

        remote = config is not None and config.database.path is None and isinstance(error, DatabaseUnavailable)
        where = f" (as [database] connection says: {_where(config)})" if config and remote else ""
        click.echo(f"{error}{where}", err=True)
        sys.exit(1)


@main.group()
def token() -> None:
    """Tokens of programs, where there is no Keystone."""


@token.command("new")
@_FILES
@_DIRS
@click.argument("name")
@click.option("--project", default="default", show_default=True, help="Project that the program works in.")
@click.option("--role", "roles", multiple=True, required=True, help="A role that it has there.")
def token_new(
    files: tuple[Path, ...], dirs: tuple[Path, ...], name: str, project: str, roles: tuple[str, ...]
) -> None:
    """Make a token for the program NAME and print it, this once: the file keeps only its hash."""
    from ferrotype.identity import accounts, tokens

    found = _read(files, dirs).accounts
    if found is None or found.tokens is None:
        click.echo("[identity] tokens_file must name a file, and auth_strategy must be http_basic.", err=True)
        sys.exit(2)
    fresh = tokens.new()
    with _failing_clearly():
        accounts.add(found.tokens, [name, tokens.hashed(fresh), project, ",".join(roles)])
    click.echo(fresh)


@main.group()
def config() -> None:
    """The configuration."""


@config.command("check")
@_FILES
@_DIRS
@_JSON
def config_check(files: tuple[Path, ...], dirs: tuple[Path, ...], as_json: bool) -> None:
    """Say what a configuration would do, and what in it is unknown, obsolete or impossible (then 1)."""
    from ferrotype import app
    from ferrotype.config.check import report

    found = report(*sources(files, dirs, os.environ), app.obstacles)
    click.echo(json.dumps(found.to_dict(), indent=2) if as_json else "\n".join(found.lines()))
    sys.exit(0 if found.ok else 1)


@main.command()
@_FILES
@_DIRS
@_JSON
@click.option("--repair", is_flag=True, help="Mend what can be mended: remove left-over files, correct counters.")
@click.option(
    "--remove-unknown",
    is_flag=True,
    help="With --repair: remove also what lies in the stores for images that the database does not know, or knows to"
    " have no data. Where it is the wrong database, or an old copy of the right one, that is data nobody else has.",
)
def check(files: tuple[Path, ...], dirs: tuple[Path, ...], as_json: bool, repair: bool, remove_unknown: bool) -> None:
    """Compare the ledger with the stores, both ways, and the quota counters with the ledger; 1 on differences."""
    from ferrotype import app
    from ferrotype.db import schema

    if remove_unknown and not repair:
        raise click.UsageError("--remove-unknown says what --repair may do; give both.")
    config = _read(files, dirs)
    with _failing_clearly(config):
        schema.ready(config.database)
        differences = asyncio.run(app.check(config, repair, remove_unknown))
    if as_json:
        click.echo(json.dumps([each.to_dict() for each in differences], indent=2))
    else:
        for each in differences:
            click.echo(each.sentence())
        click.echo(f"{len(differences)} differences")
    sys.exit(1 if any(not each.repaired for each in differences) else 0)


@main.command()
@_FILES
@_DIRS
@click.argument("count", type=click.IntRange(1))
def seed(files: tuple[Path, ...], dirs: tuple[Path, ...], count: int) -> None:
    """Write COUNT images without data, with 10 properties and 3 tags each, to measure with."""
    from ferrotype import app
    from ferrotype.db import schema

    config = _read(files, dirs)
    with _failing_clearly(config):
        schema.ready(config.database)
        click.echo(asyncio.run(app.seed(config, count)))
