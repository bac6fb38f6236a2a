"""A service with its own configuration, asked over sockets, and what must be true of it whenever it is at rest."""

import asyncio
import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferrotype import app
from ferrotype.config.read import read
from ferrotype.db import schema
from ferrotype.server import MIN_UPTIME
from ferrotype.stores.directories import ID_FILE
from ferrotype.testing.process import Served, served

OCTETS = {"Content-Type": "application/octet-stream"}
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}


@dataclass
class Running:
    """A running service: its processes, its file of options and the folder of its objects."""

    service: Served
    options: Path
    folder: Path

    @property
    def port(self) -> int:
        return self.service.port

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def create(self, **attributes: Any) -> str:
        document = {"disk_format": "raw", "container_format": "bare"} | attributes
        status, body = self.ask("POST", "/v2/images", json.dumps(document).encode())
        assert status == 201, body
        return str(json.loads(body)["id"])

    def show(self, image: str) -> dict[str, Any]:
        status, body = self.ask("GET", f"/v2/images/{image}")
        assert status == 200, (status, body)
        found: dict[str, Any] = json.loads(body)
        return found

    def upload(self, image: str, data: bytes) -> int:
        return self.ask("PUT", f"/v2/images/{image}/file", data, OCTETS)[0]

    def data(self, image: str) -> bytes:
        status, body = self.ask("GET", f"/v2/images/{image}/file")
        assert status == 200, (status, body)
        return body

    def images(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        path = "/v2/images?limit=500"
        while path:
            status, body = self.ask("GET", path)
            assert status == 200, (status, body)
            page = json.loads(body)
            found += page["images"]
            path = page.get("next", "")
        return found

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("*") if path.name != ID_FILE)

    def differences(self) -> list[str]:
        """Return what ``ferrotype check`` prints."""
        found = asyncio.run(app.check(read([self.options], [], {}), repair=False))
        return [each.sentence() for each in found]

    def at_rest(self, within: float = 60.0) -> None:
        """Wait until no image is on its way anywhere and every file belongs to an image; fail after ``within``."""
        end = time.monotonic() + within
        while True:
            images, files = self.images(), self.files()
            stuck = [image["id"] for image in images if image["status"] not in ("queued", "active", "deactivated")]
            active = sum(image["status"] == "active" for image in images)
            if not stuck and len(files) == active and not any(name.endswith(".part") for name in files):
                break
            assert time.monotonic() < end, (stuck, files, active, self.service.log.read_text()[-3000:])
            time.sleep(0.05)
        assert self.differences() == []


@contextmanager
def running(
    directory: Path,
    database_url: str | None = None,
    *arguments: str,
    folder: Path | None = None,
    options: str = "",
    wrapper: tuple[str, ...] = (),
) -> Iterator[Running]:
    """Run ``ferrotype serve`` on a database (SQLite unless named) with one store in ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    folder, file = folder or directory / "data" / "objects", directory / "ferrotype.conf"
    write_options(file, database_url or f"sqlite:///{directory}/base/t.sqlite", folder, options)
    if database_url and not database_url.startswith("sqlite"):
        schema.sync(read([file], [], {}).database)
    with served(directory, "--config-file", str(file), *arguments, wrapper=wrapper) as service:
        yield Running(service, file, folder)


def write_options(file: Path, database_url: str, folder: Path, options: str = "") -> None:
    file.write_text(
        f"[DEFAULT]\n{options}\n[database]\nconnection = {database_url}\n"
        f"[glance_store]\nfilesystem_store_datadir = {folder}\n"
    )


class Upload(threading.Thread):
    """An upload at its own pace, over a raw socket. ``status`` is None when no answer came.

    Where there is ``go``, the second half is sent only after it was set.
    """

    def __init__(
        self,
        run: Running,
        image: str,
        data: bytes,
        seconds: float = 0.0,
        *,
        chunked: bool = False,
        go: threading.Event | None = None,
    ):
        super().__init__(daemon=True)
        self.go = go
        self.image, self.data, self.seconds, self.chunked = image, data, seconds, chunked
        self.port = run.port
        self.status: int | None = None
        self.body = b""
        self.socket = socket.socket()
        self.socket.settimeout(120)
        self.connected, self.half, self.sent = threading.Event(), threading.Event(), threading.Event()

    def run(self) -> None:
        try:
            self.socket.connect(("127.0.0.1", self.port))
            self.connected.set()
            length = "Transfer-Encoding: chunked" if self.chunked else f"Content-Length: {len(self.data)}"
            head = f"PUT /v2/images/{self.image}/file HTTP/1.1\r\nHost: localhost\r\n{length}\r\n"
            self.socket.sendall(head.encode() + b"Content-Type: application/octet-stream\r\n\r\n")
            pieces = 32
            step = -(-len(self.data) // pieces)
            for start in range(0, len(self.data), step):
                if start >= len(self.data) // 2:
                    self.half.set()
                    if self.go:
                        self.go.wait()
                piece = self.data[start : start + step]
                self.socket.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if self.chunked else piece)
                time.sleep(self.seconds / pieces)
            if self.chunked:
                self.socket.sendall(b"0\r\n\r\n")
            self.sent.set()
            answer = http.client.HTTPResponse(self.socket)
            answer.begin()
            self.status, self.body = answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            pass
        finally:
            for event in (self.connected, self.half, self.sent):
                event.set()
            self.socket.close()


def eventually(true: Callable[[], bool], within: float = 60.0, say: Callable[[], object] = lambda: "") -> None:
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, say()
        time.sleep(0.02)


def grow_up(run: Running) -> None:
    """Wait until every worker is so old that its death is no reason to start the next one later."""
    for worker in run.service.workers():
        start = int(Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - start / os.sysconf("SC_CLK_TCK")
        time.sleep(max(0.0, MIN_UPTIME + 0.05 - age))
