"""``tintype serve`` as a process of its own, on a free port, to be asked over sockets and killed."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class Served:
    """A running service. ``url`` has no slash at its end; ``log`` is the file with everything it said."""

    def __init__(self, arguments: Sequence[str], port: int, log: Path, environment: Mapping[str, str]):
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.log = log
        self._arguments, self._environment = arguments, environment
        self.process: subprocess.Popen[bytes] | None = None

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

    def start(self, patience: float = 30) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "tintype", "serve", "--port", str(self.port), *self._arguments]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=dict(self._environment))
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"the service ended with {self.process.returncode}:\n{self.log.read_text()}")
            try:
                with urllib.request.urlopen(f"{self.url}/healthcheck", timeout=2):  # noqa: S310 - our own URL
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise RuntimeError(f"the service does not answer:\n{self.log.read_text()}")

    def kill_all(self) -> None:
        """End supervisor and workers as a power cut would: at once, all of them."""
        workers = self.workers()
        os.kill(self.pid, signal.SIGKILL)
        for worker in workers:
            try:
                os.kill(worker, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self.process:
            self.process.wait(10)

    def stop(self, patience: float = 30) -> int:
        """Ask it to end and return its exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(directory: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    """Run ``tintype serve`` with its data home in ``directory`` and end it afterwards."""
    directory.mkdir(parents=True, exist_ok=True)
    env = os.environ | {"XDG_DATA_HOME": str(directory), "HOME": str(directory)} | dict(environment or {})
    service = Served(arguments, free_port(), directory / "serve.log", env)
    service.start()
    try:
        yield service
    finally:
        service.stop()
