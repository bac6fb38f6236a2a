"""Servers that a test sends requests to: a scripted HTTP server, one that only counts connections, and a DNS server.

``PUBLIC`` plays a public address, ``INTERNAL`` an internal one: the gate of ``fetcher`` allows the first alone.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from ferrotype.config.filtering import Filtering
from ferrotype.streams.addresses import Gate
from ferrotype.streams.fetch import Fetcher, tls_context

PUBLIC, INTERNAL = "127.0.0.2", "127.0.0.1"
RULES = Filtering(allowed_ports=(), allowed_networks=(ipaddress.IPv4Network(f"{PUBLIC}/32"),))

#: Writes the response to a request, whose head it gets.
Handler = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


class Remote:
    """A server in this process. ``heads`` are the requests that it got."""

    def __init__(self, handler: Handler):
        self.handler = handler
        self.heads: list[str] = []
        self.connections = 0
        self.port = 0
        self.scheme, self.address = "http", PUBLIC
        self._tasks: set[asyncio.Task[None]] = set()

    def url(self, path: str = "/disk", host: str | None = None) -> str:
        return f"{self.scheme}://{host or self.address}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        if task:
            self._tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.heads.append(head)
            await self.handler(head, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            with suppress(ConnectionError, ssl.SSLError):
                writer.close()

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()


@asynccontextmanager
async def remote(
    handler: Handler, address: str = PUBLIC, tls: ssl.SSLContext | None = None, port: int = 0
) -> AsyncIterator[Remote]:
    """Run a server for the time of a block."""
    found = Remote(handler)
    server = await asyncio.start_server(found.serve, address, port, ssl=tls, limit=1 << 20)
    found.port, found.address = server.sockets[0].getsockname()[1], address
    found.scheme = "https" if tls else "http"
    try:
        yield found
    finally:
        found.stop()
        server.close()


@asynccontextmanager
async def tripwire(port: int = 0) -> AsyncIterator[Remote]:
    """Run a server on the internal address, which must see no connection."""

    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")

    async with remote(answer, INTERNAL, port=port) as found:
        yield found
        assert found.connections == 0, "the internal server was connected to"


def respond(text: str, body: bytes = b"") -> Handler:
    """Return a handler that always sends this head, whose lines end with a newline, and this body."""
    head = text.strip().replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n"

    async def answer(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(head + body)

    return answer


class File:
    """A handler that serves a file as a good server does; its attributes change what it does."""

    def __init__(self, data: bytes, etag: str | None = '"v1"', modified: str | None = None, ranges: bool = True):
        self.data, self.etag, self.modified, self.ranges = data, etag, modified, ranges
        #: honours If-Match, If-Range and If-Unmodified-Since
        self.conditional = True
        self.chunked = False
        #: more lines of the head
        self.more = ""
        #: bytes of the response's body after which the connection is reset
        self.cut: int | None = None

    async def __call__(self, head: str, writer: asyncio.StreamWriter) -> None:
        status, first, last = self._part(head)
        body = self.data[first : last + 1] if status in (200, 206) else b""
        lines = [f"HTTP/1.1 {status} Status"]
        lines.append("Transfer-Encoding: chunked" if self.chunked else f"Content-Length: {len(body)}")
        if status == 206:
            lines.append(f"Content-Range: bytes {first}-{last}/{len(self.data)}")
        if status == 416:
            lines.append(f"Content-Range: bytes */{len(self.data)}")
        if self.etag:
            lines.append(f"ETag: {self.etag}")
        if self.modified:
            lines.append(f"Last-Modified: {self.modified}")
        writer.write(("\r\n".join(lines) + f"\r\n{self.more}\r\n").encode("latin-1"))
        if self.cut is not None and len(body) > self.cut:
            writer.write(body[: self.cut])
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.transport.abort()
        elif self.chunked:
            for start in range(0, len(body), 10_000):
                piece = body[start : start + 10_000]
                writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            writer.write(b"0\r\n\r\n")
        else:
            writer.write(body)

    def _part(self, head: str) -> tuple[int, int, int]:
        """Return status, first and last byte of the response."""
        whole = 200, 0, len(self.data) - 1
        headers = {name.lower(): value for name, value in re.findall(r"^([\w-]+): (.*)\r$", head, re.MULTILINE)}
        if self.conditional:
            if headers.get("if-match", self.etag) != self.etag:
                return 412, 0, -1
            if headers.get("if-unmodified-since", self.modified) != self.modified:
                return 412, 0, -1
            if headers.get("if-range", self.etag) != self.etag:
                return whole
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
        if not wanted or not self.ranges:
            return whole
        first, last = int(wanted[1]), min(int(wanted[2] or len(self.data)), len(self.data) - 1)
        return (206, first, last) if first < len(self.data) else (416, 0, -1)


class DNS(asyncio.DatagramProtocol):
    """A DNS server for addresses of IPv4. Each query takes the next of a name's answers; the last one stays."""

    def __init__(self, answers: dict[str, list[list[str]]]):
        self.answers = answers
        self.queries: list[str] = []
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        labels, position = [], 12
        while length := data[position]:
            labels.append(data[position + 1 : position + 1 + length].decode())
            position += length + 1
        question = data[12 : position + 5]
        kind = struct.unpack("!H", question[-4:-2])[0]
        name = ".".join(labels)
        found: list[str] = []
        if kind == 1:
            self.queries.append(name)
            answers = self.answers.get(name, [[]])
            found = answers.pop(0) if len(answers) > 1 else answers[0]
        flags = 0x8180 if name in self.answers else 0x8183
        header = data[:2] + struct.pack("!HHHHH", flags, 1, len(found), 0, 0)
        # A pointer to the name, type A, class IN, TTL 0.
        records = [b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + socket.inet_aton(each) for each in found]
        self.transport.sendto(header + question + b"".join(records), addr)

    async def resolve(self, name: str) -> Sequence[str]:
        """Ask this server as a resolver does; nothing is remembered."""
        query = b"\x12\x34" + struct.pack("!HHHHH", 0x100, 1, 0, 0, 0)
        query += b"".join(bytes([len(each)]) + each.encode() for each in name.rstrip(".").split(".")) + b"\0"
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            await loop.sock_connect(client, self.transport.get_extra_info("sockname"))
            await loop.sock_sendall(client, query + struct.pack("!HH", 1, 1))
            answer = await asyncio.wait_for(loop.sock_recv(client, 4096), 5)
        count = struct.unpack("!H", answer[6:8])[0]
        tail = answer[len(query) + 4 :]
        return [socket.inet_ntoa(tail[16 * number + 12 : 16 * number + 16]) for number in range(count)]


@asynccontextmanager
async def dns(answers: dict[str, list[list[str]]], address: str = INTERNAL, port: int = 0) -> AsyncIterator[DNS]:
    """Run a DNS server for the time of a block."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: DNS(answers), local_addr=(address, port)
    )
    try:
        yield server
    finally:
        transport.close()


async def no_names(name: str) -> Sequence[str]:
    """Resolve nothing: for tests whose URLs have addresses."""
    raise OSError(f"{name} was asked for")


def fetcher(resolve: Any = no_names, rules: Filtering = RULES, **more: Any) -> Fetcher:
    """Return a client that may connect to ``PUBLIC``, on any port."""
    return Fetcher(Gate(rules, resolve), more.pop("tls", None) or tls_context(), **more)
