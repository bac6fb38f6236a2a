# ruff: noqa: S603  (it runs git and this interpreter, with words of its own)
"""Start a service to measure, of this checkout or another revision, in a temporary directory."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ferrotype.testing.postgres import postgres
from ferrotype.testing.process import served

ROOT = Path(__file__).parents[1]


class CannotStart(Exception):
    """The service to measure could not be started."""


@dataclass(frozen=True)
class Started:
    """A service that runs. ``revision`` says what it was made from; ``database_pid`` only where it is a server."""

    revision: str
    url: str
    pid: int
    database_pid: int | None


@contextmanager
def started(revision: str | None, database: str, workers: int, images: int) -> Iterator[Started]:
    """Run a service of ``revision`` (None: of this checkout as it is) with ``images`` seeded ones."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ferrotype-bench-")))
        source = ROOT if revision is None else stack.enter_context(_worktree(revision, folder / "tree"))
        url, database_pid = f"sqlite:///{folder / 'bench.sqlite'}", None
        if database == "postgresql":
            # Durable: a service that is in use waits for the disk, so a measurement has to.
            server = stack.enter_context(postgres(durable=True))
            url, database_pid = server.create_database(), server.pid
        file = folder / "bench.conf"
        file.write_text(
            "[DEFAULT]\nauth_strategy = none\nbind_host = 127.0.0.1\n"
            f"[database]\nconnection = {url}\n"
            f"[glance_store]\nfilesystem_store_datadir = {folder / 'images'}\n"
        )
        package = package_of(source)
        environment = {"PYTHONPATH": str(source / "src")}
        config = ("--config-file", str(file))
        _command(package, environment, "db", "sync", *config)
        if images:
            _command(package, environment, "seed", *config, str(images))
        words = (*config, "--workers", str(workers))
        try:
            program = (package, "serve")
            service = stack.enter_context(served(folder / "home", *words, environment=environment, program=program))
        except RuntimeError as error:
            raise CannotStart(str(error)) from error
        yield Started(described(source), service.url, service.pid, database_pid)


def package_of(source: Path) -> str:
    """Return the name of the package that a checkout runs: earlier revisions had another one."""
    packages = [main.parent.name for main in (source / "src").glob("*/__main__.py")]
    if len(packages) != 1:
        raise CannotStart(f"{source / 'src'} should have one package with a __main__.py, and has {len(packages)}")
    return packages[0]


def described(source: Path) -> str:
    """Return the commit of a checkout, with a note when files differ from it."""
    try:
        return _git(source, "describe", "--always", "--dirty", "--abbrev=10")
    except CannotStart:
        return "unknown"  # Not a git checkout; what is measured is what lies here.


@contextmanager
def _worktree(revision: str, folder: Path) -> Iterator[Path]:
    _git(ROOT, "worktree", "add", "--quiet", "--detach", str(folder), revision)
    try:
        yield folder
    finally:
        _git(ROOT, "worktree", "remove", "--force", str(folder))


def _git(where: Path, *words: str) -> str:
    return _run(["git", "-C", str(where), *words], os.environ)


def _command(package: str, environment: Mapping[str, str], *words: str) -> None:
    _run([sys.executable, "-m", package, *words], os.environ | dict(environment))


def _run(command: list[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotStart(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout.strip()
