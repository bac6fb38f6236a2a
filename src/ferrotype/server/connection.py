"""One HTTP/1.1 connection: an asyncio protocol that bounds the time and the memory that a client can take.

    head       limited in size and time; ambiguous ones are refused (``request_head``)
    body       the client may not be idle while the application waits for it; an unread one is discarded within limits
    response   the client may not be idle while data wait to be sent
    pipeline   requests are answered one after another; reading is paused while some wait

Parsing is in ``request_parser``, one request and its response in ``exchange``.
"""

import asyncio
import logging
import socket
from collections import deque
from typing import Any

from ferrotype.config.server import Networks
from ferrotype.server.admission import DRAINED, IDLE, SENDING, Admission
from ferrotype.server.exchange import Exchange, error_app
from ferrotype.server.limits import Limits
from ferrotype.server.request_head import RequestError, RequestHead
from ferrotype.server.request_parser import RequestParser
from ferrotype.server.writer import Writer
from ferrotype.web.transfers import TRANSFERS

log = logging.getLogger("ferrotype.server.connection")

#: ``send`` raises when the client is gone: ASGI 2.4
ASGI = {"version": "3.0", "spec_version": "2.4"}
HEALTH_CHECK = "/healthcheck"
TOO_MANY_CONNECTIONS = RequestError(
    503, "The service has too many connections at present; please repeat the request.", ((b"retry-after", b"5"),)
)
#: of a request that was refused before its head was complete
UNKNOWN_REQUEST = {"type": "http", "path": ""}


class HTTPServer:
    """What the connections of a worker share: the application, the limits, and what is open and running."""

    def __init__(self, app: Any, limits: Limits, proxies: Networks = ()):
        self.app = app
        self.limits = limits
        self.admission: Admission[Connection] = Admission(limits, proxies)
        self.connections = self.admission.connections
        self.tasks: set[asyncio.Task[None]] = set()

    def connection(self) -> "Connection":
        """Return the protocol of a new connection: a factory for ``loop.create_server``."""
        return Connection(self)


class Connection(asyncio.Protocol):
    """The protocol of one connection."""

    def __init__(self, server: HTTPServer):
        self.limits = server.limits
        self.client: tuple[str, int] | None = None
        self.writer: Writer
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._socket: socket.socket
        self._address: tuple[str, int] | None = None
        self._parser = RequestParser(server.limits, self)
        #: whose request was parsed last, and whose response is due; the others wait in ``_pipeline``
        self._latest: Exchange | None = None
        self._running: Exchange | None = None
        self._pipeline: deque[Exchange] = deque()
        self._read_paused = False
        #: there are too many connections, and requests on this one are refused
        self._is_refused = False
        #: nothing that follows can be understood, or means anything
        self._ignore_input = False
        self._keep_alive_timer: asyncio.TimerHandle | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        #: while the rest of a body is discarded: its limits of time, without progress and in all
        self._drain_idle_timer: asyncio.TimerHandle | None = None
        self._drain_timer: asyncio.TimerHandle | None = None

    # Begin and end

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._socket = transport.get_extra_info("socket")
        self.writer = Writer(transport, self.limits.send_idle, self.abort)
        self.client = address_of(self._socket.getpeername)
        self._address = address_of(self._socket.getsockname)
        self._is_refused = not self._server.admission.admit(self)
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.admission.remove(self)
        for exchange in (self._running, *self._pipeline):
            if exchange is not None and not exchange.response_complete:
                exchange.on_disconnect()
        for timer in (self._keep_alive_timer, self._head_timer):
            if timer is not None:
                timer.cancel()
        self._end_drain()
        self.writer.on_connection_lost()
        # Reference cycles with these would have to wait for the garbage collector.
        self._pipeline.clear()
        self._running = self._latest = None
        self._parser.close()

    def eof_received(self) -> bool:
        """Keep the connection for a client that has sent a whole request: it may end its side and wait."""
        if self._latest is not None and not self._latest.response_complete and self._latest.body.complete:
            self._latest.keep_alive = False
            return True
        self.writer.watch()  # The transport closes by itself, as soon as the client has taken what waits for it.
        return False

    def shutdown(self) -> None:
        """Close an idle connection now, another one after the response to the latest request."""
        if self._drain_timer is not None:
            return  # Closing now could cost the client the response.
        if self._latest is None or self._latest.response_complete:
            self._close()
        else:
            self._latest.keep_alive = False

    def abort(self, reason: str, level: int = logging.INFO) -> None:
        """Reset the connection; what waits to be sent is lost."""
        log.log(level, "connection aborted: client=%s reason=%s", self.client, reason)
        if self._running is not None and not self._running.response_complete:
            self._running.on_disconnect()
        self._transport.abort()

    def eviction_rank(self) -> int | None:
        """Return how readily the connection can be closed to make room for others; None while it is in use."""
        if self._drain_timer is not None:
            return DRAINED
        if self._is_idle():
            return None if self._transport.get_write_buffer_size() else IDLE
        return SENDING if self._running is not None and self._running.waits_for_document else None

    def evict(self) -> None:
        """Close now, to make room for others."""
        self.abort("too many connections", logging.DEBUG)

    def is_closing(self) -> bool:
        """Return whether the connection closes or is closed."""
        return self._transport.is_closing()

    def _close(self) -> None:
        """Close as soon as the client has taken what waits for it; abort if it does not take it."""
        self._transport.close()
        self.writer.watch()

    # Receiving

    def data_received(self, data: bytes) -> None:
        """Parse what came; refuse what cannot be parsed."""
        self._stop_keep_alive_timer()
        if self._ignore_input:
            self._note_drained()
            return
        try:
            self._parser.feed(data)
        except RequestError as error:
            self._refuse(error)
        except Exception:
            log.exception("request parsing failed: client=%s", self.client)
            self._refuse(RequestError(400, "The request could not be read."))
        else:
            self._start_head_timer()

    def on_request(self, head: RequestHead) -> None:
        """The parser has read a head."""
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        if not self._is_idle() and len(self._pipeline) >= self.limits.pipelined:
            raise RequestError(400, f"More than {self.limits.pipelined} requests were pipelined.")
        scope = {
            "type": "http",
            "asgi": ASGI,
            "http_version": head.version,
            "server": self._address,
            "client": self.client,
            "scheme": "http",
            "method": head.method,
            "root_path": "",
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            "headers": head.headers,
            TRANSFERS: self._server.admission,
        }
        if self._is_refused and not head.path.startswith(HEALTH_CHECK):
            app, keep_alive = error_app(TOO_MANY_CONNECTIONS), False
        else:
            app, keep_alive = self._server.app, head.keep_alive
        self._enqueue(Exchange(self, app, scope, head.length, head.expects_continue, keep_alive))

    def on_body(self, data: bytes) -> None:
        """The parser has read some of the body of the latest request."""
        exchange = self._latest
        if exchange is not None and not exchange.response_complete:
            exchange.body.on_data(data)
        else:
            self._note_drained()

    def on_request_end(self) -> None:
        """The parser has read the end of the latest request."""
        if self._latest is not None:
            self._latest.body.on_end()
        if self._is_idle() and self._drain_timer is not None:
            self._end_drain()
            self._wait_for_request()

    def on_body_bypassed(self) -> None:
        """The rest of the body was read past the parser."""
        self._parser.resume_after_body()
        self.resume_reading()

    def pause_reading(self) -> None:
        """Receive nothing for the time being."""
        if not self._read_paused:
            self._read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Receive again, unless pipelined requests wait: more of them would only make the queue longer."""
        if self._read_paused and not self._pipeline:
            self._read_paused = False
            self._transport.resume_reading()

    def duplicate_socket(self) -> socket.socket:
        """Return another descriptor of the socket; the caller closes it."""
        return self._socket.dup()

    def _wait_for_request(self) -> None:
        self._stop_keep_alive_timer()
        self._keep_alive_timer = self._loop.call_later(self.limits.keep_alive, self._close)

    def _stop_keep_alive_timer(self) -> None:
        if self._keep_alive_timer is not None:
            self._keep_alive_timer.cancel()
            self._keep_alive_timer = None

    def _start_head_timer(self) -> None:
        if self._head_timer is None and self._parser.has_partial_head:
            self._head_timer = self._loop.call_later(self.limits.head_seconds, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._is_idle():  # Otherwise the connection is in use, whatever the client sends meanwhile.
            self._refuse(RequestError(408, "The request head took too long."))

    def _drain(self) -> None:
        """Discard what comes of the body, and close when nothing comes any more or it takes too long (RUL-72)."""
        self._drain_timer = self._loop.call_later(self.limits.drain_seconds, self._close)
        self._drain_idle_timer = self._loop.call_later(self.limits.drain_idle, self._close)

    def _note_drained(self) -> None:
        """Some bytes were discarded."""
        if self._drain_idle_timer is not None:
            self._drain_idle_timer.cancel()
            self._drain_idle_timer = self._loop.call_later(self.limits.drain_idle, self._close)

    def _end_drain(self) -> None:
        for timer in (self._drain_idle_timer, self._drain_timer):
            if timer is not None:
                timer.cancel()
        self._drain_idle_timer = self._drain_timer = None

    # Responding

    def _is_idle(self) -> bool:
        return self._latest is None or self._latest.response_complete

    def _enqueue(self, exchange: Exchange) -> None:
        """Run an exchange when those before it are complete."""
        idle = self._is_idle()
        self._latest = exchange
        if idle:
            self._start(exchange)
        else:
            self.pause_reading()
            self._pipeline.append(exchange)

    def _start(self, exchange: Exchange) -> None:
        self._running = exchange
        task = self._loop.create_task(exchange.run())
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    def on_response_complete(self, exchange: Exchange) -> None:
        """Go on after a response: with the next request, or towards the end of the connection."""
        if not exchange.keep_alive and not exchange.lingers:
            self._close()
        elif self._transport.is_closing():
            self.writer.watch()
        elif self._pipeline:
            self._start(self._pipeline.popleft())
            self.resume_reading()
        else:
            self.resume_reading()
            if exchange.lingers:
                self._linger()
            elif not exchange.body.complete:
                self._drain()
            else:
                self._wait_for_request()
                self._start_head_timer()

    def _linger(self) -> None:
        """End our side and read on for a while: closing now could be a reset and cost the client the response.

        RFC 9112 section 9.6.
        """
        self._stop_keep_alive_timer()
        self._ignore_input = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._drain()

    def _refuse(self, error: RequestError) -> None:
        """Answer the latest request with an error when its turn comes, then close. Nothing more is parsed."""
        self._ignore_input = True
        if self._transport.is_closing():
            return
        broken = None if self._latest is None or self._latest.body.complete else self._latest
        if broken is not None and broken.response_complete:
            self._close()
            return
        scope = {**UNKNOWN_REQUEST, "method": self._parser.method}
        answer = Exchange(self, error_app(error), scope, 0, expects_continue=False, keep_alive=False)
        answer.body.on_end()
        answer.lingers = True
        if broken is None:
            self._enqueue(answer)
            return
        broken.on_disconnect()
        self._latest = answer
        if broken is not self._running:
            self._pipeline[-1] = answer
        elif broken.response_started:
            self._close()
        else:
            self._start(answer)

    def pause_writing(self) -> None:
        self.writer.on_pause()

    def resume_writing(self) -> None:
        self.writer.on_resume()


def address_of(name: Any) -> tuple[str, int] | None:
    """Return host and port as ``getpeername`` or ``getsockname`` tell them; None when the client is gone already."""
    try:
        host, port, *_ = name()
    except OSError:
        return None
    return host, port
