"""``ferrotype serve``: run the service in the foreground."""

import logging
import os
import sys
from functools import partial
from pathlib import Path

import click

from ferrotype import __version__, logs
from ferrotype.cli.common import config_dirs, config_files, database_name, errors_exit, read_config
from ferrotype.config import Config
from ferrotype.config.files import sources
from ferrotype.config.read import read
from ferrotype.config.server import MAX_WORKERS, is_loopback


@click.command()
@config_files
@config_dirs
@click.option("--host", help="Address to listen on. Default: bind_host; 127.0.0.1 without authentication.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port to listen on. Default: bind_port, which is 9292 unless set."
)
@click.option("--workers", type=click.IntRange(1, MAX_WORKERS), help="Number of worker processes.")
@click.option(
    "--allow-unauthenticated-listen",
    is_flag=True,
    help="Listen on other than loopback addresses although authentication is disabled: any client that can connect"
    " can read, change and delete every image.",
)
def serve(
    files: tuple[Path, ...],
    dirs: tuple[Path, ...],
    host: str | None,
    port: int | None,
    workers: int | None,
    allow_unauthenticated_listen: bool,
) -> None:
    """Run the service in the foreground. SIGTERM stops it gracefully, SIGHUP reloads the configuration."""
    overrides = {
        "bind_host": host,
        "bind_port": port,
        "workers": workers,
        "allow_unauthenticated_listen": allow_unauthenticated_listen or None,
    }
    config = read_config(files, dirs, overrides)
    with errors_exit():
        logs.start(config.logging)
    from ferrotype import app, server
    from ferrotype.db import schema
    from ferrotype.offload import Totals
    from ferrotype.service.watched_files import Snapshot

    for warning in config.warnings:
        logging.getLogger("ferrotype.config").warning("%s", warning)
    with errors_exit(config):
        schema.check(config.database)
    unconfigured = not files and not dirs and not os.environ.get("FERROTYPE_CONFIG_FILE")

    def reload_config(running: Config) -> tuple[Config, tuple[str, ...]]:
        config, needs_restart = app.reloadable_changes(running, read(*sources(files, dirs, os.environ), overrides))
        logs.apply(config.logging)  # for the supervisor, and for the workers that it starts from now on
        return config, needs_restart

    build = partial(app.build, snapshot=Snapshot(), totals=Totals())
    sys.exit(server.serve(config, reload_config, build, lambda url: _print_banner(config, url, unconfigured)))


def _print_banner(config: Config, url: str, examples: bool) -> None:
    """Print the URL, the places of the data, whether authentication is disabled, and example commands.

    A closed or full standard output is only logged: it must not keep the service from running.
    """
    data = ", ".join(entry.place for entry in config.stores.entries)
    banner = (
        f"Ferrotype {__version__} listens on {url}; image data: {data}; database: {database_name(config)}."
        f"{_access(config)}\n"
    )
    if examples:
        banner += (
            "Try:\n"
            f"  curl {url}/v2/images\n"
            f"  openstack --os-auth-type none --os-endpoint {url} image create --file disk.qcow2"
            " --disk-format qcow2 --container-format bare first\n"
            f"  glance --os-image-url {url} --os-auth-token any image-list\n"
        )
    try:
        # sys.stdout would buffer what it cannot write, and fail again at exit.
        os.write(1, banner.encode(errors="backslashreplace"))
    except OSError as error:
        logging.getLogger("ferrotype").warning("banner could not be written to standard output: %s", error.strerror)


def _access(config: Config) -> str:
    if config.auth.strategy != "none":
        return ""
    clients = (
        "only this machine can connect"
        if is_loopback(config.server.bind_host)
        else "any client that can connect has full access"
    )
    return f" Authentication is disabled; {clients}."
