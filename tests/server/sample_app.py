"""A small ASGI application, a server for it in a thread, and a client that can send anything.

Run as a program, it is served by ``ferrotype.server``: see ``test_processes.py``.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import json
import logging
import os
import queue
import re
import socket
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import uvloop

from ferrotype.model.errors import BlobDamaged
from ferrotype.server import serve
from ferrotype.server.connection import HTTPServer
from ferrotype.server.limits import Limits
from ferrotype.stores.driver import LocalFile
from ferrotype.web.http import SENDFILE

#: seconds after which a test fails that waits for something; long enough for a slow machine
TIMEOUT = 60.0
#: limits that no test reaches by accident
LONG_TIMEOUTS = Limits(
    head_seconds=3600, keep_alive=3600, body_idle=3600, send_idle=3600, drain_idle=3600, drain_seconds=3600
)


def eventually(happens: Callable[[], object], say: Callable[[], str] = lambda: "") -> None:
    """Wait until something happens."""
    end = time.monotonic() + TIMEOUT
    while not happens():
        assert time.monotonic() < end, say()
        time.sleep(0.02)


class SampleApp:
    """An ASGI application with a handler for each path. Handlers report on ``seen`` what happened."""

    def __init__(self, folder: Path, greeting: str = "hello"):
        self.folder = folder
        self.greeting = greeting
        self.threads = ThreadPoolExecutor(8)
        self.seen: queue.Queue[tuple[Any, ...]] = queue.Queue()
        #: bytes of bodies, and pieces that they came in, of all uploads
        self.taken = self.pieces = 0

    async def start(self) -> None:
        (self.folder / "started").open("a").write(f"{os.getpid()}\n")
        if (self.folder / "refuse-to-start").exists():
            raise OSError("the database refuses connections")
        if (self.folder / "start-slowly").exists():
            await asyncio.sleep(3600)

    async def stop(self) -> None:
        (self.folder / "stopped").open("a").write(f"{os.getpid()}\n")

    def reload(self, config: Any) -> None:
        self.greeting = config.greeting

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
        handler = getattr(self, scope["path"].strip("/").replace("-", "_") or "hello")
        await handler(scope, receive, send, query)

    async def hello(self, scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
        await answer(send, 200, self.greeting.encode())

    async def healthcheck(self, scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
        await answer(send, 200, b"OK")

    async def pid(self, scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
        await answer(send, 200, str(os.getpid()).encode())

    async def scope(self, scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        found = {"method": scope["method"], "path": scope["path"], "body": body.decode("latin-1")}
        found["query"] = scope["query_string"].decode()
        found["headers"] = [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]]
        await answer(send, 200, json.dumps(found).encode())

    async def upload(self, scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
        digest, size = hashlib.sha256(), 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.seen.put(("cut", size))
                return
            digest.update(message["body"])
            size += len(message["body"])
            self.taken += len(message["body"])
            self.pieces += 1
            if not message["more_body"]:
                break
        self.seen.put(("whole", size))
        await answer(send, 200, digest.hexdigest().encode())

    async def refuse(self, scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
        await answer(send, 409, b"no")

    async def refuse_late(self, scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
        """Refuse the request after ``after`` bytes of the body."""
        wanted = int(query["after"])
        while wanted > 0:
            wanted -= len((await receive())["body"])
        await answer(send, 409, b"no more")

    async def header(self, scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
        await answer(send, 200, b"", [(b"x-echo", query["v"].encode("latin-1"))])

    async def slow(self, scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
        """Wait for the file ``until`` to appear; when cancelled, take a second to roll back."""
        (self.folder / "slow").touch()
        try:
            while not (self.folder / query["until"]).exists():  # noqa: ASYNC110  said by another process, or thread
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            await asyncio.sleep(1.0)
            (self.folder / "rolled-back").touch()
            raise
        await answer(send, 200, b"slow")

    async def stream(self, scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
        head = [(b"content-length", b"%d" % (1 << 40))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        try:
            while True:
                await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
        except BaseException as error:
            self.seen.put((type(error).__name__,))
            raise

    async def in_pieces(self, scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
        """A body of ``count`` pieces of ``size`` bytes, and a Content-Length of ``more`` bytes more."""
        size, count = int(query["size"]), int(query["count"])
        head = [(b"content-length", b"%d" % (size * count + int(query.get("more", 0))))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        try:
            for number in range(count):
                body = bytes([number % 256]) * size
                await send({"type": "http.response.body", "body": body, "more_body": number + 1 < count})
                self.seen.put(("piece", number))
        except Exception as error:
            self.seen.put((type(error).__name__,))
            raise

    async def status(self, scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
        """A response without a body."""
        status = int(query["status"])
        headers = [] if status in (204, 304) else [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body"})

    async def start_and_fail(self, scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
        """Fail after ``sent`` bytes of a body of 100,000."""
        head = [(b"content-length", b"100000")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        if sent := int(query["sent"]):
            await send({"type": "http.response.body", "body": bytes(sent), "more_body": True})
        raise OSError("the store does not answer")

    async def listen(self, scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
        """Read the body, and wait for what comes after it."""
        while (await receive())["more_body"]:
            pass
        self.seen.put(("read",))
        self.seen.put(((await receive())["type"],))

    async def answer_and_read(self, scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
        """Answer half, ask for the body, and answer the rest."""
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"ha", "more_body": True})
        body = (await receive())["body"]
        await send({"type": "http.response.body", "body": b"lf"})
        self.seen.put(("body", body))

    async def file(self, scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
        """A range of the file ``data``, with a Content-Length of ``more`` bytes more."""
        headers = dict(scope["headers"])
        fd = os.open(self.folder / "data", os.O_RDONLY)
        file = LocalFile(fd, os.fstat(fd).st_size, self.threads)
        try:
            size = file.size
            first, last = 0, size - 1
            if asked := re.fullmatch(rb"bytes=(\d+)-(\d+)", headers.get(b"range", b"")):
                first, last = int(asked[1]), int(asked[2])
            count = last + 1 - first + int(query.get("more", 0))
            head = [(b"content-length", str(count).encode())]
            await send({"type": "http.response.start", "status": 206, "headers": head})
            await send({"type": SENDFILE, "file": file, "offset": first, "count": count})
            self.seen.put(("sent", count))
        except (ConnectionResetError, BlobDamaged, asyncio.CancelledError) as error:
            self.seen.put((type(error).__name__,))
            raise
        finally:
            file.close()


async def answer(send: Any, status: int, body: bytes, headers: Any = ()) -> None:
    head = [(b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


class Loop(uvloop.Loop):
    """A loop whose long timers expire when the test says so, not before."""

    LONG = 100.0

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0
        self.waits: list[tuple[float, asyncio.TimerHandle, Callable[..., Any], tuple[Any, ...]]] = []

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        timer = super().call_later(delay, callback, *args, context=context)
        if delay >= self.LONG:
            self.waits.append((self.passed + delay, timer, callback, args))
        return timer

    def pass_time(self, seconds: float) -> None:
        self.passed += seconds
        waits, self.waits = self.waits, []
        for end, timer, callback, args in waits:
            if timer.cancelled():
                continue
            if end > self.passed:
                self.waits.append((end, timer, callback, args))
                continue
            timer.cancel()
            callback(*args)


@dataclass
class Running:
    """A server in a thread."""

    port: int
    app: SampleApp
    state: HTTPServer
    loop: Loop

    def saw(self) -> tuple[Any, ...]:
        return self.app.seen.get(timeout=TIMEOUT)

    def ask(self, question: Callable[[], Any]) -> Any:
        """Return the answer that the loop gives between two of its steps."""

        async def asked() -> Any:
            return question()

        return asyncio.run_coroutine_threadsafe(asked(), self.loop).result(TIMEOUT)

    def pass_time(self, seconds: float) -> None:
        """Let limits of ``Loop.LONG`` and more be so much nearer."""
        self.ask(lambda: self.loop.pass_time(seconds))

    def goes_by(self, seconds: float, happens: Callable[[], object]) -> None:
        """Let this time pass, and as long again until something happens.

        Once is not enough where the last that a client's kernel took was counted late: then it has as long once more.
        """

        def once_more() -> object:
            self.pass_time(seconds)
            return happens()

        eventually(once_more)

    def has_taken(self, size: int) -> None:
        """Wait until the uploads have so many bytes altogether, and wait for the next."""
        eventually(lambda: self.app.taken == size)

    def go(self, name: str) -> None:
        """Let ``slow`` requests answer that wait for this file."""
        (self.app.folder / name).touch()

    def connection(self, client: "Client") -> Any:
        """Return the server's side of it, when it has accepted it."""
        ours = client.socket.getsockname()
        found: list[Any] = []

        def is_there() -> bool:
            found[:] = self.ask(lambda: [one for one in self.state.connections if one.client == ours])
            return bool(found)

        eventually(is_there)
        return found[0]

    def has_read(self, client: "Client") -> None:
        """Wait until the server has read all that the client has sent, and its end."""
        theirs = self.connection(client)._socket
        eventually(lambda: not waiting(client.socket, termios.TIOCOUTQ))  # all of it is with the other side's kernel
        eventually(lambda: theirs.fileno() < 0 or not self.ask(lambda: waiting(theirs, termios.FIONREAD)))
        for _ in range(3):  # the end shows in no figure, but in the next turn of the loop
            self.ask(lambda: None)

    def client(self, **options: Any) -> "Client":
        return Client(self.port, **options)

    def is_idle(self) -> bool:
        """Say whether every connection and request is gone, after a while at the latest."""
        eventually(lambda: not self.state.connections and not self.state.tasks)
        return True


def waiting(end: socket.socket, which: int) -> int:
    """Return how many bytes the kernel holds, to be read or acknowledged."""
    return int.from_bytes(fcntl.ioctl(end.fileno(), which, bytes(4)), sys.byteorder)


@contextlib.contextmanager
def running(folder: Path, limits: Limits = LONG_TIMEOUTS, send_buffer: int = 0) -> Iterator[Running]:
    """Run a server for a SampleApp while the block runs."""
    app = SampleApp(folder)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
    if send_buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    ready = threading.Event()
    box: dict[str, Any] = {}

    async def main() -> None:
        box["server"] = server = HTTPServer(app, limits)
        box["loop"] = loop = asyncio.get_running_loop()
        box["stop"] = stop = asyncio.Event()
        accepting = await loop.create_server(server.connection, sock=listener)
        ready.set()
        await stop.wait()
        accepting.close()
        for connection in list(server.connections):
            connection.abort("the test is over")
        for task in list(server.tasks):
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)

    thread = threading.Thread(target=lambda: uvloop.run(main(), loop_factory=Loop))
    thread.start()
    assert ready.wait(TIMEOUT)
    try:
        yield Running(listener.getsockname()[1], app, box["server"], box["loop"])
    finally:
        box["loop"].call_soon_threadsafe(box["stop"].set)
        thread.join(TIMEOUT)
        assert not thread.is_alive()


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """A socket on which anything can be sent."""

    def __init__(self, port: int, receive_buffer: int = 0, timeout: float = TIMEOUT):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        self.buffer = b""

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def get(self, target: str, headers: str = "") -> Response:
        self.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode())
        return self.response()

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def read(self, size: int) -> bytes:
        parts, missing = [self.buffer], size - len(self.buffer)
        while missing > 0:
            more = self.socket.recv(1 << 18)
            if not more:
                raise EOFError(parts[0][:200])
            parts.append(more)
            missing -= len(more)
        data = b"".join(parts)
        self.buffer = data[size:]
        return data[:size]

    def head(self) -> Response:
        while b"\r\n\r\n" not in self.buffer:
            more = self.socket.recv(1 << 18)
            if not more:
                raise EOFError(self.buffer)
            self.buffer += more
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return Response(int(first.split(" ")[1]), headers, b"")

    def response(self) -> Response:
        response = self.head()
        while response.status == 100:
            response = self.head()
        return replace(response, body=self.read(int(response.headers["content-length"])))

    def rest(self) -> bytes:
        """Return everything up to the end of the connection, however it ends."""
        parts, self.buffer = [self.buffer], b""
        with contextlib.suppress(ConnectionResetError):
            while more := self.socket.recv(1 << 18):
                parts.append(more)
        return b"".join(parts)

    def is_closed(self) -> bool:
        """Say whether the server ends the connection, and sends nothing before."""
        try:
            return self.buffer + self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False


def main(folder: Path, workers: int, grace: float) -> int:
    """Serve a SampleApp; its greeting is read from the file ``greeting``."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")

    def read_config() -> Any:
        greeting = (folder / "greeting").read_text().strip()
        if greeting == "bad":
            raise ValueError("greeting must not be bad")
        server = SimpleNamespace(
            bind_host="127.0.0.1", bind_port=int(os.environ.get("SAMPLE_PORT", "0")), workers=workers, backlog=100,
            graceful_timeout=grace, keep_alive=3600.0, trusted_proxies=(),
        )  # fmt: skip
        return SimpleNamespace(server=server, greeting=greeting)

    async def build(config: Any) -> SampleApp:
        return SampleApp(folder, config.greeting)

    return serve(read_config(), lambda _: (read_config(), ()), build, lambda _: None)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
