"""One request and its response, as an ASGI application sees them.

``receive``: a body that did not arrive whole ends with ``http.disconnect``, never with ``more_body`` false.
``send``: waits until the transport's buffer has space again; raises ConnectionResetError once the client is gone, and
ResponseError for what cannot be sent. A body that ends short of its Content-Length aborts the connection.
In place of ``http.response.body``, ``{"type": SENDFILE, "file", "offset", "count", "pace"}`` sends a part of a file
as the rest of the body: see ``file_sender``. When the file fails, a StoreError is raised, ``file.sent`` says how many
bytes were sent, and those that are missing may come in other events.
"""

import asyncio
import logging
from collections.abc import Iterable, MutableMapping
from typing import Any, Protocol

from ferrotype.model.errors import StoreError
from ferrotype.server.file_sender import FileSender, SendableFile
from ferrotype.server.request_body import BodyConnection, RequestBody
from ferrotype.server.request_head import RequestError
from ferrotype.server.response_head import ResponseError, write_head
from ferrotype.streams.pace import Pace
from ferrotype.web.http import SENDFILE, ResponseAborted
from ferrotype.web.transfers import TRANSFERRING

log = logging.getLogger("ferrotype.server.exchange")

Message = MutableMapping[str, Any]


class ExchangeConnection(BodyConnection, Protocol):
    """What an exchange needs of its connection."""

    def on_response_complete(self, exchange: "Exchange") -> None:
        """The response has been written."""


class Exchange:
    """One request and its response. ``length`` is the request body's; None when it is chunked."""

    __slots__ = (
        "_app", "_connection", "_head", "_is_head_request", "_scope", "_sender", "_unsent", "body", "disconnected",
        "keep_alive", "lingers", "response_complete", "response_started",
    )  # fmt: skip

    def __init__(
        self,
        connection: ExchangeConnection,
        app: Any,
        scope: dict[str, Any],
        length: int | None,
        expects_continue: bool,
        keep_alive: bool,
    ):
        self._connection = connection
        self._app = app
        self._scope = scope
        self._is_head_request = scope["method"] == "HEAD"
        self.body = RequestBody(connection, length, expects_continue)
        self.keep_alive = keep_alive
        #: after the response, the connection reads on for a while before it closes
        self.lingers = False
        #: the client is gone, or cannot be understood any more
        self.disconnected = False
        #: given by the application; sent together with the first bytes of the body
        self._head = b""
        #: the head was sent
        self.response_started = False
        self.response_complete = False
        #: bytes of the Content-Length that are still to be sent
        self._unsent = 0
        self._sender: FileSender | None = None

    @property
    def waits_for_document(self) -> bool:
        """Whether the client has yet to send some of a body that is not image data."""
        return self.body.is_awaited and TRANSFERRING not in self._scope

    async def run(self) -> None:
        """Run the application; answer for it when it fails. Never raises."""
        try:
            await self._app(self._scope, self.receive, self.send)
        except asyncio.CancelledError:
            await self._fail(503, "The service is shutting down.")
        except ResponseAborted:  # The application has logged why.
            await self._fail(503, "The response could not be completed. Please retry.")
        except Exception:
            if self.disconnected:
                log.debug("request ended because the client disconnected", exc_info=True)
            else:
                log.exception("request failed: %s %s", self._scope["method"], self._scope["path"])
                await self._fail(500, "Internal server error.")
        else:
            if not self.response_complete and not self.disconnected:
                log.error("incomplete response: %s %s", self._scope["method"], self._scope["path"])
                await self._fail(500, "Internal server error.")
        finally:
            self.body.close()

    async def _fail(self, status: int, text: str) -> None:
        """Answer with an error, or abort the connection if the response has begun, so that the client notices."""
        if self.disconnected or self.response_complete:
            return
        if self.response_started:
            self._abort("the response could not be completed")
            return
        self.keep_alive = False
        self._head = b""
        try:
            await error_app(RequestError(status, text))(self._scope, self.receive, self.send)
        except ConnectionResetError:
            log.debug("the client disconnected before the error response: status=%d", status)

    def on_disconnect(self) -> None:
        """The rest of the request will not come, and the client does not read the response."""
        self.disconnected = True
        self.body.stop()
        if self._sender is not None:
            self._sender.cancel()

    def _abort(self, reason: str, level: int = logging.DEBUG) -> None:
        if not self.disconnected:
            self.on_disconnect()
            self._connection.abort(reason, level)

    async def receive(self) -> Message:
        """Return the next ASGI event; after the whole body, wait for the end of the exchange."""
        data = await self.body.receive()
        if data is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": data, "more_body": not self.body.complete}

    async def send(self, message: Message) -> None:
        """Send the next ASGI event."""
        self._raise_if_gone()
        kind = message["type"]
        if self.response_complete:
            raise ResponseError(f"{kind} came after the end of the response")
        if kind == "http.response.start" and not self._head:
            self._start(message["status"], message["headers"])
        elif kind == "http.response.body" and self._head:
            await self._send_body(message.get("body", b""), message.get("more_body", False))
        elif kind == SENDFILE and self._head:
            await self._send_file(message["file"], message["offset"], message["count"], message.get("pace"))
        else:
            raise ResponseError(f"{kind} was not expected now")

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        head = write_head(status, headers, self.keep_alive and (self.body.complete or self.body.can_be_drained))
        self._head = head.data
        self._unsent = 0 if self._is_head_request else head.length
        self.keep_alive = head.keep_alive
        self.body.refuse_continue()

    def _write(self, data: bytes = b"") -> None:
        """Write some of the body, after the head if that was not sent yet."""
        if self.response_started:
            self._connection.writer.write(data)
        else:
            self.response_started = True
            self._connection.writer.write(self._head, data)

    async def _send_body(self, data: bytes, more: bool) -> None:
        if self._is_head_request:
            data = b""
        if len(data) > self._unsent or (not more and len(data) < self._unsent):
            if self.response_started:
                self._abort("the response body is longer or shorter than its Content-Length", logging.ERROR)
            raise ResponseError("the response body is longer or shorter than its Content-Length")
        self._unsent -= len(data)
        self._write(data)
        if self._connection.writer.paused:
            await self._connection.writer.drain()
            self._raise_if_gone()
        if not more:
            self._complete()

    async def _send_file(self, file: SendableFile, offset: int, count: int, pace: Pace | None) -> None:
        """Send a part of a file and complete the response; abort the connection if that cannot be done.

        Raise StoreError when the file fails: the connection goes on, and the rest of the body may follow.
        """
        if not self._is_head_request and count != self._unsent:
            raise ResponseError("a file is the rest of the body: its count must be what is left of Content-Length")
        if not self.response_started:
            self._write()
        if self._unsent:
            await self._connection.writer.flush()  # Otherwise the file could overtake what was written before.
            self._raise_if_gone()
            self._sender = FileSender(self._connection.duplicate_socket(), self._connection.limits.send_idle)
            before = file.sent
            try:
                await self._sender.send(file, offset, count, pace)
            except StoreError:
                raise
            except ConnectionAbortedError as error:
                self._abort(str(error), logging.INFO)
                raise ConnectionResetError(str(error)) from error
            except BaseException as error:
                self._abort(f"the file could not be sent: {error}")
                raise
            finally:
                self._unsent -= file.sent - before
                self._sender.close()
                self._sender = None
        if not self.disconnected:  # A client that has read every byte may be gone already; that is no failure.
            self._complete()

    def _complete(self) -> None:
        self.response_complete = True
        if not self.body.complete and not self.keep_alive:
            self.lingers = True  # Closing while the client sends would be a reset, and could cost it the response.
        self.body.stop()
        self._connection.on_response_complete(self)

    def _raise_if_gone(self) -> None:
        if self._connection.is_closing():  # The client has ended its side in the middle of the request's body.
            self.on_disconnect()
        if self.disconnected:
            raise ConnectionResetError("the client disconnected")


def error_app(error: RequestError) -> Any:
    """Return an ASGI application that answers every request with ``error``."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        text = error.text.encode("ascii", "replace")
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(text)).encode()),
            (b"x-content-type-options", b"nosniff"),
            *error.headers,
        ]
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    return app
