"""A proxy between a client and an HTTP server that fails as it is told: cuts, delays, slows, or answers itself.

    with fault_proxy(server.port) as proxy:
        proxy.faults.append(Fault("PUT", "partNumber=2", cut_request=1000))
        ... a client of proxy.port ...
        proxy.requests              # what it was asked

Each connection carries one request. A fault applies to the requests whose method and target match, as often as
``times`` says, the first that matches.
"""

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_PIECE = 64 * 1024


@dataclass
class Fault:
    """What happens to a request. Byte counts are of bodies; ``answer`` is sent instead of asking the server."""

    method: str
    target: str = ""
    times: int = 1_000_000
    #: requests that match and are left alone first
    skip: int = 0
    #: close the connection after so many bytes of the request's or the response's body
    cut_request: int | None = None
    cut_response: int | None = None
    #: change the byte at this offset of the request's body
    flip_request: int | None = None
    #: ask the server, then close the connection instead of passing its answer on
    lose_answer: bool = False
    #: seconds to wait before the server is asked
    delay: float = 0.0
    #: bytes per second of the response
    rate: int = 0
    #: (status, body) of an answer of the proxy's own
    answer: tuple[int, str] | None = None

    def applies(self, method: str, target: str) -> bool:
        """Return whether this request fails, and count it."""
        if self.times <= 0 or method != self.method or not re.search(self.target, target):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


def error_body(code: str) -> str:
    """Return the body of an S3 error."""
    return f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'


@dataclass
class FaultProxy:
    """A running proxy in front of ``target_port`` of this machine."""

    target_port: int
    port: int = 0
    faults: list[Fault] = field(default_factory=list)
    #: ``METHOD target`` of every request
    requests: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The URL of the proxy."""
        return f"http://127.0.0.1:{self.port}"

    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _loop: asyncio.AbstractEventLoop | None = None

    def cut_all(self) -> None:
        """Close every connection that is open now."""
        for each in list(self._writers):
            if self._loop:
                self._loop.call_soon_threadsafe(each.transport.abort)

    async def serve(self, started: threading.Event, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set."""
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await stop.wait()
        server.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            await self._one_request(reader, writer)
        self._writers.discard(writer)
        with suppress(OSError):
            writer.close()

    async def _one_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.decode("latin-1").split(" ", 2)
        self.requests.append(f"{method} {target}")
        fault = next((each for each in self.faults if each.applies(method, target)), Fault(method))
        found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        length = int(found[1]) if found else 0
        if fault.answer:
            await self._answer(reader, writer, fault.answer, length, b"100-continue" in head.lower())
            return
        await asyncio.sleep(fault.delay)
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        try:
            up_writer.write(head[:-2] + b"connection: close\r\n\r\n")
            sending = asyncio.create_task(_copy(reader, up_writer, length, fault))
            receiving = asyncio.create_task(self._pass_on(up_reader, writer, fault))
            await asyncio.wait([sending, receiving], return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and not sending.cancelled() and sending.exception() is None and sending.result():
                await receiving  # The whole request was passed on.
            for each in (sending, receiving):
                each.cancel()
            await asyncio.wait([sending, receiving])
        finally:
            up_writer.close()

    async def _answer(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: tuple[int, str],
        length: int,
        continues: bool,
    ) -> None:
        if continues:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await reader.readexactly(length)
        status, body = answer
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/xml\r\nconnection: close\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        await writer.drain()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault) -> None:
        if fault.lose_answer:
            await reader.read()
            return
        head = b"HTTP/1.1 100"
        while head.startswith(b"HTTP/1.1 100"):
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(head)
        sent = 0
        while piece := await reader.read(min(_PIECE, fault.rate // 10) if fault.rate else _PIECE):
            if fault.cut_response is not None:
                piece = piece[: fault.cut_response - sent]
            writer.write(piece)
            await writer.drain()
            sent += len(piece)
            if fault.cut_response is not None and sent >= fault.cut_response:
                return
            if fault.rate:
                await asyncio.sleep(len(piece) / fault.rate)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int, fault: Fault) -> bool:
    """Pass a body on; return False when the connection is to be cut."""
    cut, flip = fault.cut_request, fault.flip_request
    left = length if cut is None else min(cut, length)
    while left:
        piece = await reader.read(min(_PIECE, left))
        if not piece:
            return False
        at = -1 if flip is None else flip - (length - left)
        if 0 <= at < len(piece):
            piece = piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :]
        writer.write(piece)
        await writer.drain()
        left -= len(piece)
    return cut is None


@contextmanager
def fault_proxy(target_port: int) -> Iterator[FaultProxy]:
    """Run a proxy in a thread of its own."""
    proxy, started = FaultProxy(target_port), threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def run() -> None:
        loop.run_until_complete(proxy.serve(started, stop))
        for each in asyncio.all_tasks(loop):
            each.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    thread = threading.Thread(target=run, name="fault-proxy")
    thread.start()
    started.wait()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
