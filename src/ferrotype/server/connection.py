"""HTTP/1.1 on one connection: uvicorn's protocol, with bounds on what a client may take and with sendfile.

    head   size and time are bounded; what could be read in two ways is refused (``heads``)
    body   nobody waits for one that stands still; one that nobody wants is discarded within bounds
    file   after ``http.response.start`` the application may send ``{"type": "ferrotype.sendfile", "file", "offset",
           "count"}``, with a LocalFile: exactly those bytes, and the response ends

What the application sees of it is in ``exchange``. Everything that uvicorn does not promise to keep is listed in
``tests/server/test_guard.py``.
"""

import asyncio
import fcntl
import logging
import re
import termios
from typing import Any, ClassVar, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from ferrotype.server.exchange import Exchange, Limits, ShortFile, refusing
from ferrotype.server.request_head import Refused, body_length, expects_continue, target, with_ascii_target

__all__ = ["Limits", "ShortFile", "protocol_class"]

log = logging.getLogger("ferrotype.server.connection")

UNKNOWN_METHOD = re.compile(rb"[A-Za-z][A-Za-z-]{0,31} /")
NO_REQUEST = "This is not an HTTP/1.1 request"
ALLOW = ((b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),)


def protocol_class(limits: Limits) -> type["Protocol"]:
    """Return the protocol with these limits, for ``uvicorn.Config(http=...)``."""
    return type("BoundedProtocol", (Protocol,), {"limits": limits})


class Protocol(HttpToolsProtocol):
    """One connection. Use ``protocol_class`` to make it."""

    limits: ClassVar[Limits]
    cycle: Exchange

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None):
        super().__init__(config, server_state, app_state, _loop)
        self.access_log = False  # the application logs requests: it knows who asked
        #: whose response is due; ``cycle`` is the latest that was parsed
        self.running: Exchange | None = None
        #: True until a head is complete, and again from the end of its body on
        self.in_head = True
        #: True once the parser has seen the first byte of a request
        self.head_begun = False
        #: False as long as what comes next is certain to belong to the first line of a request
        self.line_read = False
        #: what the complete lines of this head add up to, and what its unfinished pieces do
        self.head_size = self.head_pending = 0
        self.heads = self.received = 0
        #: chunk extensions and trailers since the last byte of a body
        self.framing = 0
        #: True once nothing that follows on this connection means anything
        self.deaf = self.lingering = False
        self.drained = 0
        self.head_timer: asyncio.TimerHandle | None = None
        self.send_timer: asyncio.TimerHandle | None = None
        self.drain_timer: asyncio.TimerHandle | None = None

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.wait_for_request()  # uvicorn starts this clock after the first response only

    def connection_lost(self, exc: Exception | None) -> None:
        for exchange in (self.running, *(waiting for waiting, _ in self.pipeline)):
            if isinstance(exchange, Exchange) and not exchange.response_complete:
                exchange.lost()
        self.pipeline.clear()
        for timer in (self.head_timer, self.send_timer, self.drain_timer, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        self.running = None
        self.cycle = None  # type: ignore[assignment]  # the collector need not untangle us

    def eof_received(self) -> bool:  # type: ignore[override]
        """Say whether the connection stays: whoever has sent a whole request may end their side and wait."""
        if self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body:
            self.cycle.keep_alive = False
            return True
        self.watch_sending()  # the transport closes itself, as soon as the client has taken what waits for it
        return False

    def shutdown(self) -> None:
        """The server is about to end: idle connections go now, the others with their last response."""
        if self.lingering:
            return  # it goes by itself, and going now could cost the client its answer
        if self.cycle is None or self.cycle.response_complete:
            self.hang_up()
        else:
            self.cycle.keep_alive = False

    def wait_for_request(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.hang_up)

    def hang_up(self) -> None:
        """Close as soon as the client has taken what waits for it; a client that does not is cut off."""
        self.transport.close()
        self.watch_sending()

    def cut_off(self, reason: str) -> None:
        log.info("cut off the connection of %s: %s", self.client, reason)
        if self.running is not None and not self.running.response_complete:
            self.running.lost()
        self.transport.abort()

    # Sending: the client must take something now and then

    def pause_writing(self) -> None:
        super().pause_writing()
        self.watch_sending()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.send_timer is not None:
            self.send_timer.cancel()
            self.send_timer = None

    def unsent(self) -> int:
        """Return how many bytes the client has not acknowledged, in our buffer or in the kernel's."""
        queued = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        return self.transport.get_write_buffer_size() + int.from_bytes(queued, "little")

    def watch_sending(self) -> None:
        if self.send_timer is None and self.transport.get_write_buffer_size():
            self.send_timer = self.loop.call_later(self.limits.send_idle, self.judge_sending, self.unsent())

    def judge_sending(self, before: int) -> None:
        self.send_timer = None
        if self.transport.get_write_buffer_size() and self.unsent() >= before:
            self.cut_off("it took nothing of the response for too long")
        else:
            self.watch_sending()

    # Receiving

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self.deaf:
            if self.lingering:
                self.discard(len(data))
            return
        was_in_head, heads, received = self.in_head, self.heads, self.received
        if was_in_head and not self.line_read:
            data, self.line_read = with_ascii_target(data, self.head_begun)
        rest: bytes | None = None
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as stop:
                rest = data[stop.args[0] :]
            while rest is not None:
                rest = self.feed_again(rest)
        except httptools.HttpParserInvalidMethodError:
            at_the_start = was_in_head and self.heads == heads and not self.head_pending
            unknown = at_the_start and UNKNOWN_METHOD.match(data)
            self.refuse(Refused(405, "This method is not known.", ALLOW) if unknown else Refused(400, NO_REQUEST))
            return
        except httptools.HttpParserError as error:
            cause = error.__context__
            if cause is not None and not isinstance(cause, Refused):
                log.error("a request could not be read", exc_info=cause)
            self.refuse(cause if isinstance(cause, Refused) else Refused(400, f"{NO_REQUEST}: {error}"))
            return
        if self.heads != heads or not was_in_head:
            self.line_read = self.head_begun
        if self.heads != heads:
            self.framing = 0
        elif was_in_head:
            self.head_pending += len(data)
            if self.head_pending > self.limits.head_bytes:
                self.refuse(Refused(431, "The request head is too large."))
                return
        elif self.received != received:
            self.framing = 0
        else:
            self.framing += len(data)
            if self.framing > self.limits.head_bytes:
                self.refuse(Refused(400, "The chunk extensions or trailers are too long."))
                return
        if self.in_head and self.head_timer is None and (self.head_begun or self.head_pending):
            self.head_timer = self.loop.call_later(self.limits.head_seconds, self.head_is_late)

    def feed_again(self, rest: bytes) -> bytes | None:
        """Read a head that asks for another protocol again, without the wish; return what follows the next such."""
        lines = [b"%s %s HTTP/1.1\r\n" % (self.scope["method"].encode(), self.url)]
        lines += [b"%s: %s\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        data = b"".join([*lines, b"\r\n", rest])
        self.parser = httptools.HttpRequestParser(self)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            return data[stop.args[0] :]
        return None

    def head_is_late(self) -> None:
        self.head_timer = None
        # While a response is under way the connection is in use, whatever the client sends meanwhile.
        if self.cycle is None or self.cycle.response_complete:
            self.refuse(Refused(408, "The request head took too long."))

    # What the parser calls. A Refused that is raised here ends the parsing.

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},  # by which send() raises when the client is gone
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme or "http",
            "root_path": "",
            "headers": self.headers,
        }  # type: ignore[typeddict-item]
        self.head_begun = True
        self.head_size = 0

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > self.limits.line_bytes:
            raise Refused(414, "The request target is too long.")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_head:
            return  # a trailer: the request was judged without it
        self.head_size += len(name) + len(value) + 4
        if self.head_size > self.limits.head_bytes:
            raise Refused(431, "The request head is too large.")
        self.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        scope, parser = self.scope, self.parser
        scope["method"] = method = parser.get_method().decode("ascii")
        scope["http_version"] = version = parser.get_http_version()
        length = body_length(method, version, self.headers, self.limits.head_lines, self.limits.line_bytes)
        if parser.should_upgrade():
            return  # It is read again without that wish, as HTTP/1.1 whatever it was: so it was judged before.
        scope["path"], scope["raw_path"], scope["query_string"] = target(self.url)
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None
        self.in_head = self.head_begun = False
        self.head_pending = 0
        self.heads += 1

        idle = self.cycle is None or self.cycle.response_complete
        if not idle and len(self.pipeline) >= self.limits.pipelined:
            raise Refused(400, "Too many requests were sent ahead.")
        self.cycle = self.exchange(length, version != "1.0" and parser.should_keep_alive())
        if idle:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def exchange(self, length: int | None, keep_alive: bool) -> Exchange:
        exchange = Exchange(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=length != 0 and expects_continue(self.scope["http_version"], self.headers),
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )
        exchange.protocol = self
        exchange.length = length
        exchange.chunks = []
        return exchange

    def on_body(self, body: bytes) -> None:
        exchange = self.cycle
        size = len(body)
        self.received += size
        if exchange.response_complete:
            self.discard(size)
            if self.transport.is_closing():
                raise Refused(400, "Nobody waits for this body.")
            return
        exchange.received += size
        exchange.buffered += size
        exchange.chunks.append(body)
        if exchange.buffered > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        exchange.message_event.set()

    def body_was_read(self) -> None:
        """Go on behind a body that the parser has not seen the end of."""
        self.parser = httptools.HttpRequestParser(self)
        self.on_message_complete()
        self.flow.resume_reading()

    def on_message_complete(self) -> None:
        if self.in_head:
            return  # only its head was read, and will be again
        self.in_head = True
        exchange = self.cycle
        exchange.more_body = False
        exchange.message_event.set()
        if exchange.response_complete and self.drain_timer is not None:
            self.drain_timer.cancel()
            self.drained = 0
            self.wait_for_request()

    # Answering

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.running = cast(Exchange, cycle)
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self.watch_sending()
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            if not self.pipeline:
                self.flow.resume_reading()  # before, reading would only make the queue longer
            return
        self.flow.resume_reading()
        if self.cycle.lingers:
            self.linger()
        elif self.cycle.more_body:
            self.drain_timer = self.loop.call_later(self.limits.drain_seconds, self.hang_up)
        else:
            self.wait_for_request()
            if self.head_begun and self.head_timer is None:
                self.head_timer = self.loop.call_later(self.limits.head_seconds, self.head_is_late)

    def linger(self) -> None:
        """Say that we are done, and read on for a moment: closing at once could cost the client the answer."""
        self._unset_keepalive_if_required()
        self.deaf = self.lingering = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.drain_timer = self.loop.call_later(self.limits.drain_seconds, self.hang_up)

    def discard(self, size: int) -> None:
        self.drained += size
        if self.drained > self.limits.drain_bytes:
            self.hang_up()

    def refuse(self, refusal: Refused) -> None:
        """Answer when it is this request's turn, and then end the connection. Nothing more is read."""
        self.deaf = True
        if self.transport.is_closing():
            return
        broken = self.cycle if self.cycle is not None and self.cycle.more_body else None
        if broken is not None and broken.response_complete:
            self.hang_up()
            return
        self.scope = {**self.scope} if self.scope else {"type": "http", "http_version": "1.1"}
        self.scope.setdefault("method", "GET")
        self.scope.setdefault("path", "")
        idle = self.cycle is None or self.cycle.response_complete
        answer = self.exchange(0, keep_alive=False)
        answer.more_body = False
        answer.lingers = True
        self.cycle = answer
        if broken is not None:
            broken.lost()
            if broken is self.running:
                if broken.response_started:
                    self.hang_up()
                else:
                    self._start_asgi_task(answer, refusing(refusal))
                return
            self.pipeline.popleft()  # its own place in the queue is the answer's now
        if idle:
            self._start_asgi_task(answer, refusing(refusal))
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((answer, refusing(refusal)))
