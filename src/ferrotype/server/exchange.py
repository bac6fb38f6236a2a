"""One request and its response, as the application sees them: ``receive``, ``send`` and sendfile.

A body that did not arrive whole is ``http.disconnect``, never an end. ``send`` raises ConnectionResetError once
the client is gone. Large bodies of known length and files go past the transport, by a descriptor of our own.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from ferrotype.offload import shielded
from ferrotype.server.request_head import Refused
from ferrotype.stores.driver import LocalFile
from ferrotype.web.http import SENDFILE, ResponseAborted

if TYPE_CHECKING:
    from ferrotype.server.connection import Protocol

log = logging.getLogger("ferrotype.server.exchange")

SENDFILE_SLICE = 4 << 20
#: What must be missing of a body for it to be read past the parser, and what is read of it at once.
LARGE_BODY = 256 << 10
BODY_SLICE = 2 << 20
#: What should have come before a read is worth its while, and the seconds after which less will do. A client that is
#: as quick as we are would otherwise have us read its packets one by one, and everybody else wait.
BODY_READ, BODY_PATIENCE = 512 << 10, 0.5


@dataclass(frozen=True)
class Limits:
    """What one connection may take. Sizes are bytes, times are seconds."""

    head_bytes: int = 64 << 10
    #: the request target, or one header
    line_bytes: int = 16 << 10
    head_lines: int = 256
    #: from the first byte of a head to its end
    head_seconds: float = 20.0
    #: without a byte of the body that the application waits for
    body_idle: float = 60.0
    #: without the client taking a byte of what waits for it
    send_idle: float = 60.0
    #: what is read of a body that nobody wants, so that the client can see the answer
    drain_bytes: int = 1 << 20
    drain_seconds: float = 2.0
    #: requests that wait while the one before them is answered
    pipelined: int = 256


class ShortFile(Exception):
    """The file ended before the bytes that the response had promised; the connection was cut."""


class Exchange(RequestResponseCycle):
    """One request and its response."""

    protocol: "Protocol"
    #: of the body; None when it is chunked
    length: int | None
    #: of the body, received and not yet asked for
    chunks: list[bytes]
    buffered = 0
    received = 0
    #: the end of the response is not the end of the connection: see ``Protocol.linger``
    lingers = False
    waiter: asyncio.Future[None] | None = None
    #: the connection while its body is read past the parser, by a descriptor of our own
    source: socket.socket | None = None
    #: the last read took all there was
    read_up = False

    def lost(self) -> None:
        """The rest of the request will not come, and nobody reads the response."""
        self.disconnected = True
        self.message_event.set()
        if self.waiter is not None:
            wake(self.waiter)

    async def run_asgi(self, app: Any) -> None:
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            await self.fail(503, "The service is shutting down.")
        except ResponseAborted:
            self.cut()
        except Exception:
            if self.disconnected:
                log.debug("the application ended because its client had gone", exc_info=True)
            else:
                log.exception("%s %s failed", self.scope["method"], self.scope["path"])
                await self.fail(500, "Internal server error.")
        else:
            if not self.response_complete and not self.disconnected:
                log.error("%s %s was not answered to the end", self.scope["method"], self.scope["path"])
                await self.fail(500, "Internal server error.")
        finally:
            self.close_source()
            self.on_response = nothing

    async def fail(self, status: int, text: str) -> None:
        """Say what happened, or cut the connection if it is too late for that, so that the client knows."""
        if self.disconnected or self.response_complete:
            return
        if self.response_started:
            self.cut()
            return
        self.keep_alive = False
        try:
            await refusing(Refused(status, text))(self.scope, self.receive, self.send)
        except ConnectionResetError:
            log.debug("nobody was left to be told: %s", text)

    def cut(self) -> None:
        self.lost()
        self.transport.abort()

    async def receive(self) -> Any:
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        body = b""
        if not self.disconnected and not self.response_complete:
            source = self.direct_source()
            if source is not None and not self.chunks:
                body = await self.read(source)
            else:
                await self.message()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        if self.chunks:
            body = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
            self.chunks.clear()
            self.buffered = 0
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def message(self) -> None:
        """Wait for what the parser has to say."""
        if self.more_body and self.source is None:
            self.flow.resume_reading()
        if self.more_body and not self.message_event.is_set():
            with self.body_must_come():
                await self.message_event.wait()
        else:
            await self.message_event.wait()
        self.message_event.clear()

    @contextmanager
    def body_must_come(self) -> Iterator[None]:
        """Cut the client off if we are still waiting when it may not be idle any longer."""
        reason = "nothing of the request's body came for too long"
        timer = self.protocol.loop.call_later(self.protocol.limits.body_idle, self.protocol.cut_off, reason)
        try:
            yield
        finally:
            timer.cancel()

    async def send(self, message: Any) -> None:
        if self.disconnected:
            raise ConnectionResetError("the client went away")
        if not self.response_started:
            if self.more_body and not self.drainable():
                self.keep_alive = False
            try:
                await RequestResponseCycle.send(self, message)
            except RuntimeError:  # a header that must not be sent: nothing was, so another answer can be
                self.response_started = False
                self.chunked_encoding = None
                self.expected_content_length = 0
                raise
        else:
            if message["type"] == SENDFILE:
                await self.send_file(message["file"], message["offset"], message["count"])
                if self.disconnected:
                    return  # the kernel has every byte, and a client that has read them all may leave at once
                message = {"type": "http.response.body"}
            if (self.more_body or self.lingers) and not message.get("more_body"):
                if not self.keep_alive:
                    # uvicorn would close the connection now, in the face of a client that is still sending.
                    self.lingers = self.keep_alive = True
                self.chunks.clear()
            await RequestResponseCycle.send(self, message)
        if self.disconnected and not self.response_complete:
            raise ConnectionResetError("the client went away")

    def drainable(self) -> bool:
        """Say whether the rest of the body is known to be so short that reading it is better than closing."""
        if self.waiting_for_100_continue or self.length is None or self.source is not None:
            return False
        return self.missing() <= self.protocol.limits.drain_bytes

    def own_descriptor(self) -> int:
        """Return a second descriptor of the socket, to be closed by us.

        The loop does not let us wait on the transport's own, and this one cannot become somebody else's connection
        when the transport is closed meanwhile.
        """
        return os.dup(self.transport.get_extra_info("socket").fileno())

    # Large bodies: each byte is copied once, out of the kernel, where transport and parser would copy it twice more

    def missing(self) -> int:
        """Return how many bytes of a body of known length have not come yet."""
        return 0 if self.length is None else self.length - self.received

    def direct_source(self) -> socket.socket | None:
        """Return where the rest of the body is read from, past the parser; None where that does not pay."""
        if self.source is None and self.missing() >= LARGE_BODY:
            if self.transport.is_closing():
                return None
            self.flow.pause_reading()
            self.source = socket.socket(fileno=self.own_descriptor())
        return self.source

    async def read(self, source: socket.socket) -> bytes:
        """Return the next bytes of the body and never one that follows it. With the last the parser goes on."""
        body = None if self.read_up else self.take(source)
        if body is None:
            with self.body_must_come():
                while body is None:
                    await self.worth_reading(source)
                    if self.disconnected:
                        return b""
                    body = self.take(source)
        if not body:
            self.cut()
        self.received += len(body)
        self.read_up = len(body) < BODY_READ
        if not self.missing():
            self.close_source()
            self.protocol.body_was_read()
            self.message_event.clear()
        return body

    def take(self, source: socket.socket) -> bytes | None:
        """Return what has come of the body; None when nothing has, no bytes when nothing more will."""
        try:
            return source.recv(min(self.missing(), BODY_SLICE))
        except BlockingIOError:
            return None
        except (ConnectionError, TimeoutError):
            return b""

    async def worth_reading(self, source: socket.socket) -> None:
        """Wait until there is enough for a read, or a while has passed, or nothing more will come."""
        wake_at(source, min(self.missing(), BODY_READ))
        self.waiter = waiter = self.protocol.loop.create_future()
        self.protocol.loop.add_reader(source, wake, waiter)
        timer = self.protocol.loop.call_later(BODY_PATIENCE, wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self.protocol.loop.remove_reader(source)
            self.waiter = None

    def close_source(self) -> None:
        if self.source is not None:
            wake_at(self.source, 1)
            self.source.close()
            self.source = None

    # Files

    async def send_file(self, file: LocalFile, offset: int, count: int) -> None:
        """Send exactly ``count`` bytes of a file; end the connection if that cannot be done."""
        if self.scope["method"] == "HEAD":
            return
        if count != self.expected_content_length or self.chunked_encoding:
            raise RuntimeError("sendfile needs a Content-Length of exactly its count")
        self.transport.set_write_buffer_limits(high=0)
        await self.flow.drain()  # the head must be with the kernel before anything goes past our buffer
        if self.disconnected or self.transport.is_closing():
            raise self.client_gone()
        self.transport.set_write_buffer_limits()
        out = self.own_descriptor()
        try:
            await self.copy(out, file, offset, count)
        finally:
            os.close(out)
        self.expected_content_length = 0

    async def copy(self, out: int, file: LocalFile, offset: int, count: int) -> None:
        loop = self.protocol.loop
        while count:
            if self.disconnected or self.transport.is_closing():
                raise self.client_gone()
            size = min(count, SENDFILE_SLICE)
            try:
                work = loop.run_in_executor(file.threads, os.sendfile, out, file.fd, offset, size)
                sent = await shielded(work)  # It uses descriptors that are closed after it.
            except BlockingIOError:
                await self.writable(out)
                continue
            except (ConnectionError, TimeoutError):
                raise self.client_gone() from None
            except BaseException:  # the file cannot be read, or we are told to stop
                self.cut()
                raise
            if not sent:
                self.cut()
                raise ShortFile(f"the file ended {count} bytes before the end of the response")
            file.sent += sent
            offset += sent
            count -= sent
            if count and sent < size:
                await self.writable(out)

    async def writable(self, out: int) -> None:
        """Wait until the socket takes more; cut off a client that takes nothing. No thread waits with us."""
        self.waiter = waiter = self.protocol.loop.create_future()
        self.protocol.loop.add_writer(out, wake, waiter)
        try:
            while not waiter.done() and not self.disconnected:
                before = self.protocol.unsent()
                await asyncio.wait([waiter], timeout=self.protocol.limits.send_idle)
                if not waiter.done() and self.protocol.unsent() >= before:
                    self.protocol.cut_off("it took nothing of the file for too long")
        finally:
            self.protocol.loop.remove_writer(out)
            self.waiter = None

    def client_gone(self) -> ConnectionResetError:
        self.cut()
        return ConnectionResetError("the client went away")


def wake_at(connection: socket.socket, amount: int) -> None:
    """Ask the kernel to call a connection readable when so many bytes have come."""
    with suppress(OSError):  # The client may have gone; otherwise it is a wish, and we only wake more often.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, amount)


def wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def nothing() -> None:
    """What an ended exchange calls instead of its connection, so that neither keeps the other alive."""


def refusing(refusal: Refused) -> Callable[..., Any]:
    """Return an application whose only answer is ``refusal``."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        text = refusal.text.encode("ascii", "replace")
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(text)).encode()),
            (b"x-content-type-options", b"nosniff"),
            *refusal.headers,
        ]
        await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    return app
