"""The load: requests over connections that stay open, and whole files over one connection.

Small requests are sent by one event loop that keeps a number of connections busy, each with one request at a
time. That costs this process a tenth of a millisecond a request, so what it reaches is a floor for what
a service can do; CPU a request is what a comparison should look at.
"""

import asyncio
import http.client
import json
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

#: Seconds that a single answer may take.
TIMEOUT = 60.0
#: Failures after which a step is given up.
MOST_FAILURES = 100
#: Bytes that a file is sent and received by.
PIECE = 1 << 20


class Refused(Exception):
    """The service answered something else than what the step needs."""


@dataclass(frozen=True)
class Call:
    """One request, and the statuses that are a success."""

    method: str
    path: str
    body: bytes = b""
    content_type: str = ""
    expected: tuple[int, ...] = (200,)


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


@dataclass
class Tally:
    """What came of a number of requests. ``latencies`` are seconds, one for each that succeeded."""

    latencies: list[float] = field(default_factory=list)
    #: ids of the images that were created
    made: list[str] = field(default_factory=list)
    failed: int = 0
    failure: str = ""

    def fail(self, call: Call, reason: str) -> None:
        """Count a failure; the first one is kept in words."""
        self.failed += 1
        self.failure = self.failure or f"{call.method} {call.path}: {reason}"


class Target:
    """A service by its URL, with the headers that every request to it carries."""

    def __init__(self, url: str, headers: Mapping[str, str]):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not an http or https URL: {url}")
        self.url = url.rstrip("/")
        self.host = parts.hostname
        self.tls = parts.scheme == "https"
        self.port = parts.port or (443 if self.tls else 80)
        self.prefix = parts.path.rstrip("/")
        self._authority = parts.netloc.rpartition("@")[2]
        self._headers = dict(headers)

    def bytes_of(self, call: Call) -> bytes:
        """Return a request as it goes over the wire."""
        lines = [f"{call.method} {self.prefix}{call.path} HTTP/1.1", f"Host: {self._authority}"]
        lines += [f"{name}: {value}" for name, value in self._headers.items()]
        if call.content_type:
            lines.append(f"Content-Type: {call.content_type}")
        if call.body or call.method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(call.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + call.body

    def ask(self, call: Call) -> Answer:
        """Send one request on a connection of its own; raise Refused for an answer that was not expected."""
        connection = self._connection()
        try:
            headers = self._headers | ({"Content-Type": call.content_type} if call.content_type else {})
            connection.request(call.method, self.prefix + call.path, call.body or None, headers)
            response = connection.getresponse()
            answer = Answer(response.status, response.read())
        finally:
            connection.close()
        if answer.status not in call.expected:
            raise Refused(_describe(call, answer))
        return answer

    def send_file(self, path: str, size: int, piece: bytes) -> float:
        """Upload ``size`` bytes made of ``piece`` and return the seconds until the answer."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        view = memoryview(piece)
        pieces = (view[: min(len(view), size - sent)] for sent in range(0, size, len(view)))
        connection = self._connection()
        try:
            began = time.perf_counter()
            connection.request("PUT", self.prefix + path, pieces, self._headers | headers)
            response = connection.getresponse()
            body = response.read()
            took = time.perf_counter() - began
        finally:
            connection.close()
        if response.status != 204:
            raise Refused(_describe(Call("PUT", path), Answer(response.status, body)))
        return took

    def receive_file(self, path: str, size: int) -> float:
        """Download what must be ``size`` bytes and return the seconds until the last one."""
        buffer = bytearray(PIECE)
        connection = self._connection()
        try:
            began = time.perf_counter()
            connection.request("GET", self.prefix + path, headers=self._headers)
            response = connection.getresponse()
            got = 0
            while count := response.readinto(buffer):
                got += count
            took = time.perf_counter() - began
        finally:
            connection.close()
        if response.status != 200 or got != size:
            raise Refused(f"GET {path}: {response.status} with {got} bytes where {size} were uploaded")
        return took

    def _connection(self) -> http.client.HTTPConnection:
        if self.tls:
            return http.client.HTTPSConnection(self.host, self.port, timeout=TIMEOUT)
        return http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)


async def hammer(target: Target, calls: Iterator[Call], connections: int, seconds: float) -> Tally:
    """Send ``calls`` until they end or the time is up; raise Refused when too many of them fail."""
    tally = Tally()
    end = time.perf_counter() + seconds

    async def one_connection() -> None:
        wire = _Wire(target)
        try:
            for call in calls:
                sent = time.perf_counter()
                try:
                    answer = await asyncio.wait_for(wire.exchange(call), TIMEOUT)
                except (OSError, EOFError, ValueError, TimeoutError) as error:
                    tally.fail(call, f"{type(error).__name__}: {error}")
                    wire.close()
                else:
                    if answer.status in call.expected:
                        tally.latencies.append(time.perf_counter() - sent)
                        if answer.status == 201:
                            tally.made.append(json.loads(answer.body)["id"])
                    else:
                        tally.fail(call, _describe(call, answer))
                if tally.failed > MOST_FAILURES:
                    raise Refused(f"too many failures; the first was {tally.failure}")
                if time.perf_counter() >= end:
                    return
        finally:
            wire.close()

    await asyncio.gather(*(one_connection() for _ in range(connections)))
    return tally


class _Wire:
    """One connection, opened when it is needed and again after the service has closed it."""

    def __init__(self, target: Target):
        self._target = target
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, call: Call) -> Answer:
        reused = self._streams is not None
        try:
            return await self._exchange(call)
        except (ConnectionError, EOFError):
            self.close()
            if not reused:
                raise
        return await self._exchange(call)  # An idle connection may be closed at any time: once more on a new one.

    async def _exchange(self, call: Call) -> Answer:
        if self._streams is None:
            context = ssl.create_default_context() if self._target.tls else None
            self._streams = await asyncio.open_connection(
                self._target.host, self._target.port, ssl=context, limit=4 * PIECE
            )
        reader, writer = self._streams
        writer.write(self._target.bytes_of(call))
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        headers = _headers(head)
        length, close = headers.get(b"content-length"), headers.get(b"connection", b"").lower() == b"close"
        if status in (204, 304):
            body = b""
        elif length is not None:
            body = await reader.readexactly(int(length))
        elif headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            body = await _chunked(reader)
        else:
            body, close = await reader.read(), True
        if close:
            self.close()
        return Answer(status, body)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _headers(head: bytes) -> dict[bytes, bytes]:
    headers = {}
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    return headers


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readline()).partition(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while (await reader.readline()).strip():  # trailers
        continue
    return b"".join(parts)


def _describe(call: Call, answer: Answer) -> str:
    text = " ".join(answer.body[:300].decode("utf-8", "replace").split())
    return f"{call.method} {call.path}: {answer.status} {text}"
