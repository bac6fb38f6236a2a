"""Starting, reloading and stopping ``ferrotype serve``."""

import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from crash_wire import PATCH, Running, Upload, eventually, grow_up, running, write_options

from ferrotype.testing.process import free_port, served

MIB = 1024 * 1024


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
    except ConnectionRefusedError:
        return True
    return False


class Download(threading.Thread):
    """A download that stops after its first piece and goes on once ``go`` is set."""

    def __init__(self, run: Running, image: str, size: int, go: threading.Event):
        super().__init__(daemon=True)
        self.size, self.go, self.data = size, go, b""
        self.begun = threading.Event()
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self.socket.settimeout(120)
        self.socket.connect(("127.0.0.1", run.port))
        self.socket.sendall(f"GET /v2/images/{image}/file HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def run(self) -> None:
        answer = http.client.HTTPResponse(self.socket)
        answer.begin()
        self.data += answer.read(self.size // 40)
        self.begun.set()
        self.go.wait()
        self.data += answer.read()
        self.socket.close()


def test_sigterm_drains_transfers_and_accepts_no_new_connections(tmp_path: Path, database_url: str) -> None:
    data = random.Random(3).randbytes(24 * MIB)
    go = threading.Event()
    with running(tmp_path, database_url, "--workers", "2", options="graceful_shutdown_timeout = 600") as run:
        image = run.create()
        assert run.upload(image, data) == 204
        waiting = http.client.HTTPConnection("127.0.0.1", run.port, timeout=60)
        waiting.request("GET", "/v2/images")
        assert waiting.getresponse().read()
        uploads = [Upload(run, run.create(), data[: n * MIB + n], chunked=n % 2 == 1, go=go) for n in range(1, 5)]
        downloads = [Download(run, image, len(data), go) for _ in range(2)]
        transfers = [*uploads, *downloads]
        for thread in transfers:
            thread.start()
        eventually(lambda: all(run.show(upload.image)["status"] == "saving" for upload in uploads))
        assert all(download.begun.wait(60) for download in downloads)
        run.service.process.send_signal(signal.SIGTERM)
        eventually(lambda: refused(run.port))
        assert all(thread.is_alive() for thread in transfers)
        assert run.service.process.poll() is None
        go.set()
        while any(upload.is_alive() for upload in uploads):
            assert refused(run.port)
            time.sleep(0.05)
        for thread in transfers:
            thread.join(60)
        assert [upload.status for upload in uploads] == [204] * 4
        assert all(download.data == data for download in downloads)
        assert run.service.process.wait(60) == 0
        assert waiting.sock.recv(1) == b""  # an idle connection is closed
        waiting.close()
        assert "Traceback" not in run.service.log.read_text()
        run.service.start()
        for upload in uploads:
            assert run.show(upload.image)["status"] == "active"
            assert run.data(upload.image) == upload.data
        run.at_rest()


def test_upload_exceeding_the_graceful_timeout_is_rolled_back(tmp_path: Path) -> None:
    # A busy machine may need more than the first second even for the upload that only has to end.
    assert any(ended_while_two_upload(tmp_path / str(grace), grace) for grace in (1, 5, 25))


def ended_while_two_upload(home: Path, grace: int) -> bool:
    """End a service during an upload that goes on and one that does not; say whether the first was in time."""
    with running(home, options=f"graceful_shutdown_timeout = {grace}") as run:
        quick, slow = (Upload(run, run.create(), bytes(2 * MIB), go=threading.Event()) for _ in range(2))
        for upload in (slow, quick):
            upload.start()
        eventually(lambda: all(run.show(upload.image)["status"] == "saving" for upload in (slow, quick)))
        began = time.monotonic()
        run.service.process.send_signal(signal.SIGTERM)
        eventually(lambda: refused(run.port))
        quick.go.set()
        assert run.service.process.wait(60 + grace) == 0
        assert time.monotonic() - began >= 0.9 * grace
        slow.go.set()
        for upload in (slow, quick):
            upload.join(60)
        assert slow.status in (503, None)
        in_time = quick.status == 204
        assert len(run.files()) == in_time
        run.service.start()
        assert run.show(slow.image)["status"] == "queued"
        assert run.show(quick.image)["status"] == ("active" if in_time else "queued")
        run.at_rest()
        assert run.upload(slow.image, slow.data) == 204
        return in_time


def test_sighup_applies_a_changed_limit_and_ignores_an_invalid_file(tmp_path: Path) -> None:
    with running(tmp_path, options="image_tag_quota = 2") as run:
        image, url = run.create(), f"sqlite:///{tmp_path}/base/t.sqlite"
        workers = run.service.workers()

        def tagged(count: int) -> int:
            change = [{"op": "replace", "path": "/tags", "value": [f"t{n}" for n in range(count)]}]
            return run.ask("PATCH", f"/v2/images/{image}", json.dumps(change).encode(), PATCH)[0]

        assert (tagged(2), tagged(3)) == (200, 413)
        write_options(run.options, url, run.folder, "image_tag_quota = many")
        run.service.process.send_signal(signal.SIGHUP)
        eventually(lambda: "configuration not reloaded" in run.service.log.read_text())
        assert (tagged(2), tagged(3)) == (200, 413)
        write_options(run.options, url, run.folder, "image_tag_quota = 3")
        run.service.process.send_signal(signal.SIGHUP)
        eventually(lambda: tagged(3) == 200)
        assert tagged(4) == 413
        assert run.service.workers() == workers


def test_killed_worker_is_replaced(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        grow_up(run)
        image, (victim,) = run.create(), run.service.workers()
        os.kill(victim, signal.SIGKILL)
        assert run.show(image)["status"] == "queued"
        assert victim not in run.service.workers()


def test_banner_without_options_shows_the_url_and_three_commands(tmp_path: Path) -> None:
    with served(tmp_path) as service:
        lines = service.log.read_text().splitlines()
        home = tmp_path / "ferrotype"
        assert f"listens on {service.url}; image data: {home}/images; database: {home}/" in lines[0]
        start = lines.index("Try:")
        assert start == 1
        commands = [line.split()[0] for line in lines[2:5]]
        assert commands == ["curl", "openstack", "glance"]
        assert all(service.url in line and line.startswith("  ") for line in lines[2:5])
        assert not lines[5].startswith(" ")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ("--host", "0.0.0.0"),
            2,
            "bind_host exposes an unauthenticated service on 0.0.0.0.*allow_unauthenticated_listen = true",
        ),
        (("--host", "192.0.2.1"), 2, "bind_host exposes an unauthenticated service on 192.0.2.1"),
    ],
)
def test_serve_without_authentication_refuses_other_than_loopback_addresses(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = serve(tmp_path, *arguments)
    assert done.returncode == code
    assert re.search(said, done.stderr)
    assert not (tmp_path / "ferrotype").exists()


def test_serve_without_authentication_listens_anywhere_with_allow_unauthenticated_listen(tmp_path: Path) -> None:
    with served(tmp_path, "--host", "0.0.0.0", "--allow-unauthenticated-listen") as service:
        connection = http.client.HTTPConnection("127.0.0.1", service.port)
        connection.request("GET", "/v2/images", headers={"Host": "images.example.org"})
        assert connection.getresponse().status == 200
        connection.close()


def serve(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ferrotype", "serve", "--port", str(free_port()), *arguments],
        env=os.environ | {"XDG_DATA_HOME": str(home), "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_time_to_first_response_is_mostly_library_imports(tmp_path: Path) -> None:
    found = [(first_answer(tmp_path / str(number)), loading()) for number in range(3)]  # the first may compile
    for took, loaded in found:
        print(f"first 200 after {took:.2f} s, where the libraries take {loaded:.2f} s")
    assert min(took / loaded for took, loaded in found) < 3


def loading() -> float:
    """Return the seconds until an interpreter has loaded what any service of this kind would load."""
    began = time.monotonic()
    libraries = "import asyncio, click, httptools, msgspec, oslo_config.cfg, sqlalchemy, uvloop"
    subprocess.run([sys.executable, "-c", libraries], check=True)
    return time.monotonic() - began


def first_answer(home: Path) -> float:
    """Start a service in an empty home; return the seconds until it answers a list."""
    began = time.monotonic()
    with served(home) as service:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        connection.request("GET", "/v2/images")
        assert connection.getresponse().status == 200
        took = time.monotonic() - began
        connection.close()
    return took
