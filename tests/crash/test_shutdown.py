"""Starting, ending and changing one's mind: what ``tintype serve`` does when it is told to."""

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
from crash_wire import PATCH, Running, Upload, eventually, running, write_options

from tintype.serve import QUICK_DEATH
from tintype.testing.process import free_port, served

MIB = 1024 * 1024
#: How long transfers need when the service is told to end.
LONG = 4.0


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except ConnectionRefusedError:
        return True
    return False


class Download(threading.Thread):
    """A download at its own pace."""

    def __init__(self, run: Running, image: str, size: int, seconds: float):
        super().__init__(daemon=True)
        self.size, self.seconds, self.data = size, seconds, b""
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self.socket.settimeout(20)
        self.socket.connect(("127.0.0.1", run.port))
        self.socket.sendall(f"GET /v2/images/{image}/file HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def run(self) -> None:
        answer = http.client.HTTPResponse(self.socket)
        answer.begin()
        pieces = 40
        for _ in range(pieces):
            self.data += answer.read(self.size // pieces)
            time.sleep(self.seconds / pieces)
        self.data += answer.read()
        self.socket.close()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_sigterm_lets_transfers_finish_and_takes_no_new_ones(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    url = None if database == "sqlite" else request.getfixturevalue("postgresql_url")
    data = random.Random(3).randbytes(24 * MIB)
    with running(tmp_path, url, "--workers", "2") as run:
        image = run.create()
        assert run.upload(image, data) == 204
        waiting = http.client.HTTPConnection("127.0.0.1", run.port)
        waiting.request("GET", "/v2/images")
        assert waiting.getresponse().read()
        uploads = [Upload(run, run.create(), data[: n * MIB + n], LONG, chunked=n % 2 == 1) for n in range(1, 5)]
        downloads = [Download(run, image, len(data), LONG) for _ in range(2)]
        for thread in [*uploads, *downloads]:
            thread.start()
        time.sleep(LONG / 8)
        began = time.monotonic()
        run.service.process.send_signal(signal.SIGTERM)
        eventually(lambda: refused(run.port), 2)
        while any(upload.is_alive() for upload in uploads):
            assert refused(run.port)
            time.sleep(0.05)
        for thread in [*uploads, *downloads]:
            thread.join(20)
        assert time.monotonic() - began > LONG / 2
        assert [upload.status for upload in uploads] == [204] * 4
        assert all(download.data == data for download in downloads)
        assert run.service.process.wait(5) == 0
        assert waiting.sock.recv(1) == b""  # who was only waiting was told that nothing follows
        waiting.close()
        assert "Traceback" not in run.service.log.read_text()
        run.service.start()
        for upload in uploads:
            assert run.show(upload.image)["status"] == "active"
            assert run.data(upload.image) == upload.data
        run.at_rest()


def test_an_upload_that_does_not_finish_in_time_is_taken_back(tmp_path: Path) -> None:
    with running(tmp_path, options="graceful_shutdown_timeout = 1") as run:
        quick, slow = (Upload(run, run.create(), bytes(2 * MIB), seconds) for seconds in (0.8, 20))
        slow.start()
        quick.start()
        assert quick.connected.wait(5)
        time.sleep(0.2)
        began = time.monotonic()
        assert run.service.stop() == 0
        assert 0.9 < time.monotonic() - began < 5
        quick.join(5)
        slow.join(5)
        assert (quick.status, slow.status) in ((204, 503), (204, None))
        assert len(run.files()) == 1
        run.service.start()
        assert run.show(slow.image)["status"] == "queued"
        assert run.show(quick.image)["status"] == "active"
        run.at_rest()
        assert run.upload(slow.image, slow.data) == 204


def test_sighup_takes_a_changed_limit_over_and_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    with running(tmp_path, options="image_tag_quota = 2") as run:
        image, url = run.create(), f"sqlite:///{tmp_path}/base/t.sqlite"
        workers = run.service.workers()

        def tagged(count: int) -> int:
            change = [{"op": "replace", "path": "/tags", "value": [f"t{n}" for n in range(count)]}]
            return run.ask("PATCH", f"/v2/images/{image}", json.dumps(change).encode(), PATCH)[0]

        assert (tagged(2), tagged(3)) == (200, 413)
        write_options(run.options, url, run.folder, "image_tag_quota = many")
        run.service.process.send_signal(signal.SIGHUP)
        eventually(lambda: "was not reloaded" in run.service.log.read_text(), 5)
        assert (tagged(2), tagged(3)) == (200, 413)
        write_options(run.options, url, run.folder, "image_tag_quota = 3")
        run.service.process.send_signal(signal.SIGHUP)
        eventually(lambda: tagged(3) == 200, 5)
        assert tagged(4) == 413
        assert run.service.workers() == workers


def test_another_worker_takes_the_place_of_one_that_was_killed(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        time.sleep(QUICK_DEATH + 0.1)
        image, (victim,) = run.create(), run.service.workers()
        os.kill(victim, signal.SIGKILL)
        assert run.show(image)["status"] == "queued"
        assert victim not in run.service.workers()


def test_without_options_it_says_where_it_is_and_three_things_to_try(tmp_path: Path) -> None:
    with served(tmp_path) as service:
        lines = service.log.read_text().splitlines()
        home = tmp_path / "tintype"
        assert f"listens on {service.url}; images lie in {home}/images, records in {home}/" in lines[0]
        start = lines.index("Try:")
        assert start == 1
        commands = [line.split()[0] for line in lines[2:5]]
        assert commands == ["curl", "openstack", "glance"]
        assert all(service.url in line and line.startswith("  ") for line in lines[2:5])
        assert not lines[5].startswith(" ")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--host", "0.0.0.0"), 2, "bind_host .*everybody who reaches 0.0.0.0.*allow_unauthenticated_listen = true"),
        (("--host", "192.0.2.1"), 2, "bind_host .*everybody who reaches 192.0.2.1"),
    ],
)
def test_it_does_not_listen_beyond_this_machine_without_authentication(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = serve(tmp_path, *arguments)
    assert done.returncode == code
    assert re.search(said, done.stderr)
    assert not (tmp_path / "tintype").exists()


def test_it_listens_beyond_this_machine_when_told_so_in_so_many_words(tmp_path: Path) -> None:
    with served(tmp_path, "--host", "0.0.0.0", "--allow-unauthenticated-listen") as service:
        connection = http.client.HTTPConnection("127.0.0.1", service.port)
        connection.request("GET", "/v2/images", headers={"Host": "images.example.org"})
        assert connection.getresponse().status == 200
        connection.close()


def serve(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tintype", "serve", "--port", str(free_port()), *arguments],
        env=os.environ | {"XDG_DATA_HOME": str(home), "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_the_first_answer_comes_within_two_seconds(tmp_path: Path) -> None:
    found = [first_answer(tmp_path / str(number)) for number in range(3)]  # the first may have to compile
    for took, worked in found:
        print(f"first 200 after {took:.2f} s, of which {worked:.2f} s at work")
    # Where others keep the processors busy, only the work that it takes can be judged.
    assert min(took for took, _ in found) < 2.0 or min(worked for _, worked in found) < 1.5


def first_answer(home: Path) -> tuple[float, float]:
    """Start a service in an empty home; return the seconds until it answers a list, and those of processor time."""
    began = time.monotonic()
    with served(home) as service:
        connection = http.client.HTTPConnection("127.0.0.1", service.port)
        connection.request("GET", "/v2/images")
        assert connection.getresponse().status == 200
        took = time.monotonic() - began
        connection.close()
        ticks = [stat(pid)[11:13] for pid in (service.pid, *service.workers())]
    return took, sum(int(each) for pair in ticks for each in pair) / os.sysconf("SC_CLK_TCK")


def stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
