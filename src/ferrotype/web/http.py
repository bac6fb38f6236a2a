"""Requests and responses as handlers see them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from ferrotype.model.caller import Caller
from ferrotype.model.errors import FerrotypeError, Invalid, OverLimit, StoreError
from ferrotype.service.context import ServiceContext
from ferrotype.service.copies import Download
from ferrotype.stores.driver import LocalFile
from ferrotype.web.clients import client_address

#: The ASGI message that sends a part of a LocalFile as the rest of the body: ``file``, ``offset``, ``count``, and a
#: ``pace`` where the file may be given up for being too slow. After a StoreError, what is missing may follow.
SENDFILE = "ferrotype.sendfile"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: Seconds in which a document in a body must have arrived.
DOCUMENT_SECONDS = 30.0

_encode = msgspec.json.Encoder().encode


class BodyBroken(Invalid):
    """The client disconnected before its request was complete."""


class BodyTooLarge(OverLimit):
    """The document in the body has more than ``limit`` bytes."""

    def __init__(self, limit: int):
        super().__init__(f"The request body must have at most {limit} bytes.")


class BodyTooSlow(Invalid):
    """The document in the body did not arrive in time."""


class ResponseAborted(FerrotypeError):
    """The rest of a response cannot be sent, and the log says why. The server aborts the connection."""


class Request:
    """One request. It keeps ``ctx``, the context that it began with, to its end, whatever is reloaded meanwhile.

    ``params`` are the values of the route's parameters.
    """

    __slots__ = ("_receive", "base", "caller", "ctx", "headers", "id", "method", "params", "scope")

    def __init__(
        self, ctx: ServiceContext, scope: Scope, receive: Receive, headers: Mapping[str, str], request_id: str
    ):
        self.ctx = ctx
        self.scope = scope
        self._receive = receive
        self.headers = headers
        self.id = request_id
        self.method: str = scope["method"]
        self.caller: Caller = Caller()
        self.params: dict[str, str] = {}
        #: scheme, host and path prefix of the URL that the client used
        self.base = ""

    @property
    def client(self) -> str:
        """The address of the client; "" when a trusted proxy does not say which it is."""
        peer = self.scope.get("client")
        forwarded_for = self.headers.get("x-forwarded-for", "")
        return client_address(peer[0] if peer else "", forwarded_for, self.ctx.config.server.trusted_proxies)

    def query(self) -> list[tuple[str, str]]:
        """Return the decoded parameters of the query in order; raise Invalid if it is not UTF-8 or has too many."""
        raw: bytes = self.scope["query_string"]
        if not raw:
            return []
        try:
            return parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=1000)
        except ValueError:
            raise Invalid("The query string must be URL-encoded UTF-8 with at most 1000 parameters.") from None

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives; raise BodyBroken if the client disconnects before its end."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise BodyBroken("The connection was closed before the whole body had arrived.")
            if body := message.get("body", b""):
                yield body
            more = message.get("more_body", False)

    @property
    def may_have_body(self) -> bool:
        """Whether the headers announce a body; a chunked one may still be empty."""
        return self.headers.get("content-length", "0").strip("0") != "" or "transfer-encoding" in self.headers

    async def has_body(self) -> bool:
        """Tell whether the body has at least one byte. Reads no more than the first chunk."""
        if not self.may_have_body:
            return False
        if "transfer-encoding" not in self.headers:
            return True
        async with _document_deadline():
            async for _ in self.stream():
                return True
        return False

    async def body(self, limit: int | None = None) -> bytes:
        """Return the whole body, a document.

        Raise BodyTooLarge beyond ``limit`` bytes (default: ``max_json_body``), at once where more are announced, and
        BodyTooSlow when it has not arrived within ``DOCUMENT_SECONDS``.
        """
        limit = limit or self.ctx.config.server.max_json_body
        if int(self.headers.get("content-length", "0")) > limit:
            raise BodyTooLarge(limit)
        parts, size = [], 0
        async with _document_deadline():
            async for chunk in self.stream():
                size += len(chunk)
                if size > limit:
                    raise BodyTooLarge(limit)
                parts.append(chunk)
        return b"".join(parts)


@asynccontextmanager
async def _document_deadline() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(DOCUMENT_SECONDS):
            yield
    except TimeoutError:
        raise BodyTooSlow(f"The request body must arrive within {DOCUMENT_SECONDS:g} seconds.") from None


class Response:
    """A response: status, complete body, headers with lower-case names."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int = 200, body: bytes = b"", headers: Iterable[tuple[str, str]] = ()):
        self.status = status
        self.body = body
        self.headers: list[tuple[str, str]] = list(headers)


class DataResponse(Response):
    """``count`` bytes of an image's data from ``offset`` on. ``close`` it when they are sent, or cannot be."""

    __slots__ = ("count", "data", "offset", "on_close", "sent")

    def __init__(self, status: int, data: Download, offset: int, count: int, headers: Iterable[tuple[str, str]]):
        super().__init__(status, b"", headers)
        self.data, self.offset, self.count = data, offset, count
        self.on_close: Callable[[], None] | None = None
        #: bytes of data that went to the client
        self.sent = 0

    async def close(self) -> None:
        """Close the data."""
        try:
            await self.data.close()
        finally:
            if self.on_close is not None:
                self.on_close()

    async def send_body(self, send: Send) -> None:
        """Send the data: by sendfile where it is a file, otherwise in chunks.

        Where a copy fails, what is missing comes from another one; StoreError: no copy is left.
        """
        if not self.count:
            await send({"type": "http.response.body", "body": b""})
        while self.sent < self.count:
            file = self.data.file(self.offset + self.sent, self.count - self.sent)
            if file is None:
                await self._send_chunks(send)
                return
            try:
                await self._send_file(send, file)
            except StoreError as error:
                await self.data.open_another(error)

    async def _send_file(self, send: Send, file: LocalFile) -> None:
        before = file.sent
        offset, count = self.offset + self.sent, self.count - self.sent
        try:
            await send(
                {"type": SENDFILE, "file": file, "offset": offset, "count": count, "pace": self.data.file_pace()}
            )
        finally:
            self.sent += file.sent - before

    async def _send_chunks(self, send: Send) -> None:
        async with aclosing(self.data.read(self.offset + self.sent, self.count - self.sent)) as chunks:
            while self.sent < self.count:
                chunk = await anext(chunks)
                more = self.sent + len(chunk) < self.count
                await send({"type": "http.response.body", "body": chunk, "more_body": more})
                self.sent += len(chunk)


def json_response(document: Any, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """Return a response with a JSON document."""
    return Response(status, _encode(document), [("content-type", "application/json"), *headers])


NO_CONTENT = 204
Handler = Callable[[Request], Awaitable[Response]]
