"""The body of one request, on its way from the parser to the application.

A large body of known length bypasses the parser: see ``body_reader``.
"""

import asyncio
import logging
import socket
from typing import Protocol

from ferrotype.server.body_reader import BodyReader
from ferrotype.server.limits import Limits
from ferrotype.server.sockets import set_result
from ferrotype.server.writer import Writer

#: bytes: a body of which at least so much is missing is read past the parser
LARGE_BODY = 256 << 10
#: bytes that may wait for the application before reading from the client is paused
HIGH_WATER = 64 << 10

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class BodyConnection(Protocol):
    """What the body needs of its connection."""

    limits: Limits
    writer: Writer

    def pause_reading(self) -> None:
        """Receive nothing for the time being."""

    def resume_reading(self) -> None:
        """Receive again."""

    def is_closing(self) -> bool:
        """Return whether the connection closes or is closed."""

    def duplicate_socket(self) -> socket.socket:
        """Return another descriptor of the socket; the caller closes it."""

    def abort(self, reason: str, level: int) -> None:
        """Reset the connection and log why. The running exchange is notified and stops its body."""

    def on_body_bypassed(self) -> None:
        """The rest of the body was read past the parser."""


class RequestBody:
    """A body of ``length`` bytes; None when it is chunked. ``expects_continue``: it comes after 100 Continue only."""

    __slots__ = (
        "_buffered", "_chunks", "_connection", "_expects_continue", "_length", "_news", "_reader", "_received",
        "_stopped", "_waiter", "complete",
    )  # fmt: skip

    def __init__(self, connection: BodyConnection, length: int | None, expects_continue: bool):
        self._connection = connection
        self._length = length
        self._expects_continue = expects_continue
        #: the last byte was received
        self.complete = False
        #: received, and not yet given to the application
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._received = 0
        #: no more is given to the application
        self._stopped = False
        #: something changed since the last ``receive``
        self._news = False
        self._waiter: asyncio.Future[None] | None = None
        self._reader: BodyReader | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether the application waits for more of the body, or is about to."""
        return not self.complete and (self._waiter is not None or self._reader is not None)

    @property
    def can_be_drained(self) -> bool:
        """Whether the rest is known to be so short that reading it is better than closing the connection."""
        if self._expects_continue or self._length is None or self._reader is not None:
            return False
        return self._length - self._received <= self._connection.limits.drain_bytes

    def on_data(self, data: bytes) -> None:
        """The parser has read some of the body."""
        self._received += len(data)
        self._buffered += len(data)
        self._chunks.append(data)
        if self._buffered > HIGH_WATER:
            self._connection.pause_reading()
        self._notify()

    def on_end(self) -> None:
        """The end of the body was read."""
        self.complete = True
        self._notify()

    async def receive(self) -> bytes | None:
        """Return what has come since the last call, after waiting for it; ``complete`` tells whether that was all.

        Return None when the client is gone or was idle for too long, and when the response is complete. After the
        whole body this is waited for.
        """
        if self._stopped:
            return None
        if self._expects_continue and not self._connection.is_closing():
            self._expects_continue = False
            self._connection.writer.write(CONTINUE)
        reader = self._direct_reader()
        body = await (self._receive_parsed() if reader is None else self._receive_directly(reader))
        return None if self._stopped else body

    def refuse_continue(self) -> None:
        """Send no 100 Continue any more: the response begins."""
        self._expects_continue = False

    def stop(self) -> None:
        """Let ``receive`` return None, now and later."""
        self._stopped = True
        self._chunks.clear()
        self._notify()
        if self._reader is not None:
            self._reader.cancel()

    def close(self) -> None:
        """Close what was opened. ``receive`` must not be waiting."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    async def _receive_parsed(self) -> bytes:
        if self._reader is None:
            self._connection.resume_reading()
        if not self._news:
            await self._wait_for_news()
        self._news = False
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        return body

    async def _wait_for_news(self) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = None if self.complete else loop.call_later(self._connection.limits.body_idle, self._on_idle)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _notify(self) -> None:
        self._news = True
        if self._waiter is not None:
            set_result(self._waiter, None)

    def _on_idle(self) -> None:
        self._connection.abort("timeout: the client stopped sending the request body", logging.INFO)

    def _direct_reader(self) -> BodyReader | None:
        """Return what reads the rest of the body from the socket; None as long as the parser has some of it."""
        missing = 0 if self._length is None else self._length - self._received
        if self._reader is None and missing >= LARGE_BODY and not self._connection.is_closing():
            self._connection.pause_reading()
            self._reader = BodyReader(self._connection.duplicate_socket(), missing, self._connection.limits.body_idle)
        return None if self._chunks else self._reader

    async def _receive_directly(self, reader: BodyReader) -> bytes:
        try:
            body = await reader.read()
        except ConnectionError as error:
            if not self._stopped:
                level = logging.INFO if isinstance(error, ConnectionAbortedError) else logging.DEBUG
                self._connection.abort(str(error), level)
            return b""
        self._received += len(body)
        if not reader.missing:
            self.close()
            self._connection.on_body_bypassed()
            self._news = False
        return body
