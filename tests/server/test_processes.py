"""The supervisor and its workers, as an operator sees them: processes, signals, ports, exit codes."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sample_app
from sample_app import TIMEOUT, Client, eventually


class Service:
    """``sample_app`` as a program."""

    def __init__(self, folder: Path, workers: int = 1, grace: float = 10.0, port: int = 0):
        self.folder = folder
        (folder / "greeting").write_text("hello")
        self.log = folder / "log"
        self.process = subprocess.Popen(
            [sys.executable, sample_app.__file__, str(folder), str(workers), str(grace)],
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
            env={**os.environ, "SAMPLE_PORT": str(port)},
        )
        self.port = 0

    def wait_for(self, text: str, times: int = 1) -> None:
        eventually(lambda: self.log.read_text().count(text) >= times, lambda: self.log.read_text())

    def ready(self, workers: int = 1) -> "Service":
        self.wait_for("is ready", workers)
        self.port = int(self.log.read_text().split("listening on http://127.0.0.1:")[1].split()[0])
        return self

    def get(self, target: str) -> bytes:
        with Client(self.port) as client:
            return client.get(target).body

    def started(self) -> list[int]:
        return [int(line) for line in (self.folder / "started").read_text().split()]

    def stopped(self) -> set[int]:
        file = self.folder / "stopped"
        return {int(line) for line in file.read_text().split()} if file.exists() else set()

    def refuses_connections(self) -> bool:
        try:
            Client(self.port).socket.close()
        except (ConnectionRefusedError, ConnectionResetError):
            return True
        return False

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if (self.folder / "started").exists():
            for pid in self.started():
                if is_alive(pid):
                    os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Return whether one of our workers still runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        command = Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z" and "sample_app" in command


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    with contextlib.ExitStack() as stack:

        def start(**options: object) -> Service:
            found = Service(tmp_path, **options)  # type: ignore[arg-type]
            stack.callback(found.end)
            return found

        yield start


def test_one_worker_serves_and_ends_with_code_0(service: Callable[..., Service]) -> None:
    running = service().ready()
    assert running.get("/hello") == b"hello"
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(TIMEOUT) == 0
    assert running.stopped() == set(running.started())
    assert "Traceback" not in running.log.read_text()


def test_sigterm_lets_an_upload_and_a_download_finish_and_refuses_new_connections(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    data = random.Random(4).randbytes(12 << 20)
    (tmp_path / "data").write_bytes(data)
    running = service(workers=2, grace=600.0).ready(2)
    results: dict[str, bytes] = {}
    going, go_on = threading.Barrier(3), threading.Event()

    def download() -> None:
        with Client(running.port, receive_buffer=65536) as client:
            client.send(b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n")
            got = client.read(100_000)
            going.wait(TIMEOUT)
            go_on.wait()
            results["download"] = got + client.rest()

    def upload() -> None:
        with Client(running.port) as client:
            client.send(b"PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 3100000\r\n\r\n" + bytes(100_000))
            going.wait(TIMEOUT)
            go_on.wait()
            for _ in range(30):
                client.send(bytes(100_000))
            response = client.response()
            results["upload"] = response.body
            results["connection"] = response.headers["connection"].encode()

    threads = [threading.Thread(target=download), threading.Thread(target=upload)]
    for thread in threads:
        thread.start()
    try:
        idle = Client(running.port)
        assert idle.get("/hello").status == 200
        going.wait(TIMEOUT)
        running.process.send_signal(signal.SIGTERM)
        running.wait_for("stopping")
        eventually(running.refuses_connections)
        assert idle.is_closed()
        for _ in range(10):
            assert running.refuses_connections()
            time.sleep(0.05)
        assert running.process.poll() is None
    finally:
        go_on.set()
        for thread in threads:
            thread.join(TIMEOUT)
    assert results["download"].split(b"\r\n\r\n", 1)[1] == data
    assert len(results["upload"]) == 64
    assert results["connection"] == b"close"
    assert running.process.wait(TIMEOUT) == 0
    assert running.stopped() == set(running.started())


def test_requests_that_exceed_the_grace_period_are_cancelled_and_rolled_back_before_the_application_stops(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    running = service(grace=0.5).ready()
    with Client(running.port) as client:
        client.send(b"GET /slow?until=never HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((tmp_path / "slow").exists)
        running.process.send_signal(signal.SIGTERM)
        response = client.response()
        assert response.status == 503
        assert response.headers["connection"] == "close"
    assert running.process.wait(TIMEOUT) == 0
    undone, stopped = (tmp_path / "rolled-back").stat(), (tmp_path / "stopped").stat()
    assert undone.st_mtime_ns <= stopped.st_mtime_ns


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_does_not_wait(
    service: Callable[..., Service], tmp_path: Path, second: signal.Signals
) -> None:
    running = service(grace=600.0).ready()
    with Client(running.port) as client:
        client.send(b"GET /slow?until=never HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((tmp_path / "slow").exists)
        running.process.send_signal(signal.SIGINT)
        running.wait_for("stopping")
        time.sleep(0.3)
        assert running.process.poll() is None
        running.process.send_signal(second)
        assert running.process.wait(TIMEOUT) == 0
    assert (tmp_path / "rolled-back").exists()


def test_a_group_signal_counts_once(service: Callable[..., Service], tmp_path: Path) -> None:
    running = service(grace=600.0).ready()
    with Client(running.port) as client:
        client.send(b"GET /slow?until=stopping HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((tmp_path / "slow").exists)
        for pid in (running.process.pid, *running.started()):  # what a terminal or systemd does
            os.kill(pid, signal.SIGTERM)
        eventually(running.refuses_connections)
        time.sleep(0.3)  # A second stop would cancel it meanwhile.
        (tmp_path / "stopping").touch()
        assert client.response().body == b"slow"
    assert running.process.wait(TIMEOUT) == 0


def test_a_killed_worker_is_replaced(service: Callable[..., Service]) -> None:
    running = service(workers=2).ready(2)
    time.sleep(1.1)  # a shorter life would delay its successor
    victim = running.started()[0]
    os.kill(victim, signal.SIGKILL)
    running.wait_for("is ready", 3)
    alive = [pid for pid in running.started() if is_alive(pid)]
    assert len(alive) == 2
    assert victim not in alive
    assert f"worker {victim} ended by SIGKILL" in running.log.read_text()
    assert {running.get("/hello") for _ in range(10)} == {b"hello"}


def test_a_worker_that_dies_at_once_is_restarted_with_back_off(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    running = service().ready()
    (tmp_path / "refuse-to-start").touch()
    os.kill(running.started()[0], signal.SIGKILL)
    running.wait_for("the service cannot start: the database refuses connections", 1)
    running.wait_for("starting another one in 2 s")
    assert running.process.poll() is None
    (tmp_path / "refuse-to-start").unlink()
    running.wait_for("is ready", 2)
    assert running.get("/hello") == b"hello"


def test_a_service_that_still_starts_ends_at_once(service: Callable[..., Service], tmp_path: Path) -> None:
    (tmp_path / "start-slowly").touch()
    running = service(grace=600.0)
    eventually((tmp_path / "started").exists)
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(TIMEOUT) == 0


def test_a_service_that_cannot_start_logs_the_reason_and_exits(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    (tmp_path / "refuse-to-start").touch()
    running = service(workers=4)
    assert running.process.wait(TIMEOUT) == 1
    log = running.log.read_text()
    assert log.count("the service cannot start: the database refuses connections") == 1
    assert "ended with code 1" in log and "starting another one" not in log
    assert "Traceback" not in log


def test_a_port_in_use_is_reported_in_one_sentence(service: Callable[..., Service]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = service(port=port)
        assert running.process.wait(TIMEOUT) == 1
    sentence = f"cannot listen on 127.0.0.1, port {port}: another process uses the port; stop it or choose another"
    assert sentence in running.log.read_text()
    assert running.log.read_text().count("\n") == 1


def test_workers_end_when_their_supervisor_is_killed(service: Callable[..., Service]) -> None:
    running = service(workers=3).ready(3)
    workers = running.started()
    running.process.kill()
    eventually(lambda: not any(is_alive(pid) for pid in workers))
    assert running.stopped() == set(workers)
    assert running.refuses_connections()


def test_sighup_reloads_the_configuration_and_an_invalid_one_changes_nothing(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    running = service(workers=2).ready(2)
    workers = running.started()
    kept = Client(running.port)
    assert kept.get("/hello").body == b"hello"

    (tmp_path / "greeting").write_text("bad")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("configuration not reloaded")
    assert "greeting must not be bad" in running.log.read_text()
    assert kept.get("/hello").body == b"hello"

    (tmp_path / "greeting").write_text("good day")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("configuration reloaded")
    eventually(lambda: {running.get("/hello") for _ in range(10)} == {b"good day"})
    assert kept.get("/hello").body == b"good day"
    assert running.started() == workers

    os.kill(workers[0], signal.SIGKILL)  # its successor starts with what is valid now
    running.wait_for("is ready", 3)
    eventually(lambda: {running.get("/hello") for _ in range(10)} == {b"good day"})
