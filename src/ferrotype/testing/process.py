"""``ferrotype serve`` as a separate process on a free port, for tests over sockets and with signals."""

import http.client
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

#: The banner or the log line that names the bound port.
_LISTENING = re.compile(rb"listen(?:s|ing) on http://\S+:(\d+)[;\n]")
#: The default program; others must accept the same arguments.
PROGRAM = ("ferrotype", "serve")


class Served:
    """A service to run. ``log`` is the file with its output, ``port`` the port of its last start."""

    def __init__(
        self,
        arguments: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        wrapper: Sequence[str],
        program: Sequence[str] = PROGRAM,
    ):
        self.port = 0
        self.log = log
        #: bytes of the log that earlier starts wrote
        self._log_offset = 0
        self._arguments, self._environment, self._wrapper = arguments, environment, wrapper
        self._program = program
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its URL, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        if self.process is None:
            raise RuntimeError("the service was not started")
        return self.process.pid

    def workers(self) -> list[int]:
        """Return the process ids of the workers."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(child) for child in children]

    def worker_of(self, client: socket.socket) -> int | None:
        """Return the process id of the worker that has accepted this connection; None before one has."""
        port = f"{client.getsockname()[1]:04X}"
        inode = ""
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(f":{self.port:04X}") and fields[2].endswith(f":{port}"):
                inode = fields[9]
        for worker in self.workers():
            if f"socket:[{inode}]" in self.descriptors(worker):
                return worker
        return None

    def descriptors(self, pid: int) -> list[str]:
        """Return the targets of a process's open file descriptors."""
        found = []
        for entry in os.scandir(f"/proc/{pid}/fd"):
            try:
                found.append(str(Path(entry.path).readlink()))
            except FileNotFoundError:  # It was closed meanwhile.
                continue
        return found

    def start(self, timeout: float = 60) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            self._log_offset = log.tell()
            command = [sys.executable, "-m", *self._program, "--port", "0", *self._arguments]
            self.process = subprocess.Popen(  # noqa: S603  every word is ours
                [*self._wrapper, *command], stdout=log, stderr=log, env=dict(self._environment)
            )
        self.wait_until_ready(timeout)

    def wait_until_ready(self, timeout: float = 60) -> None:
        """Wait until one request is answered. There is exactly one, so that tests can count responses."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            if self.process and self.process.poll() is not None:
                raise RuntimeError(f"the service ended with {self.process.returncode}:\n{self.log.read_text()}")
            listening = _LISTENING.search(self.log.read_bytes(), self._log_offset)
            if listening is None:
                time.sleep(0.02)
                continue
            self.port = int(listening[1])
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=left)
            try:
                connection.request("GET", "/healthcheck")
                connection.getresponse().read()
                return
            except (http.client.HTTPException, OSError):
                time.sleep(0.02)
            finally:
                connection.close()
        raise RuntimeError(f"the service does not answer:\n{self.log.read_text()}")

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another ``ferrotype`` command in the same environment, such as ``check``."""
        return subprocess.run(  # noqa: S603  every word is ours
            [sys.executable, "-m", "ferrotype", *words],
            env=dict(self._environment),
            capture_output=True,
            text=True,
            check=False,
        )

    def kill_all(self) -> None:
        """Kill supervisor and workers at once, as a power cut would."""
        workers = self.workers()
        os.kill(self.pid, signal.SIGKILL)
        for worker in workers:
            try:
                os.kill(worker, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self.process:
            self.process.wait(60)

    def stop(self, timeout: float = 60) -> int:
        """Stop it with SIGTERM and return its exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise


def free_port() -> int:
    """Return a port that is free now.

    It is below the ephemeral range, so that no other socket gets it by chance before it is used.
    """
    ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.SystemRandom().randrange(10_000, max(ephemeral, 20_000))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@contextmanager
def served(
    directory: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    wrapper: Sequence[str] = (),
    program: Sequence[str] = PROGRAM,
) -> Iterator[Served]:
    """Run ``ferrotype serve`` with its data directory in ``directory`` and stop it afterwards.

    ``wrapper`` are words in front of the command, such as ``strace -D``: they must not change the process id.
    ``program`` is a module to run in the command's place, and its first words.
    """
    directory.mkdir(parents=True, exist_ok=True)
    env = os.environ | {"XDG_DATA_HOME": str(directory), "HOME": str(directory)} | dict(environment or {})
    service = Served(arguments, directory / "serve.log", env, wrapper, program)
    try:
        service.start()
        yield service
    finally:
        service.stop()
