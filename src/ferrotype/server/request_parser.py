"""Parse the bytes of a connection into requests, with limits on everything that comes before a body's bytes."""

import re
from typing import Protocol

import httptools

from ferrotype.server.limits import Limits
from ferrotype.server.request_head import (
    Headers,
    RequestError,
    RequestHead,
    read_head,
    request_line,
)

UNKNOWN_METHOD = re.compile(rb"[A-Za-z][A-Za-z-]{0,31} /")
ALLOW = ((b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),)
NOT_HTTP = "This is not an HTTP/1.1 request"
REQUEST_LINE = re.compile(rb"[!-~]+ [!-~]+ HTTP/1\.[01]\r\n")
NOT_REQUEST_LINE = "The request line must be a method, a target and HTTP/1.1 or HTTP/1.0, with one space between."
#: ends a head, and a chunked body with its trailers
END = b"\r\n\r\n"
CR_LF = b"\r\n"
#: it, or its end that was left for the next data
REST_OF_END = re.compile(rb"[\r\n]{1,4}")


class RequestHandler(Protocol):
    """Receives the events of the parser. A RequestError raised in a callback ends the parsing."""

    def on_request(self, head: RequestHead) -> None:
        """A head is complete."""

    def on_body(self, data: bytes) -> None:
        """Some bytes of the body came."""

    def on_request_end(self) -> None:
        """The body is complete; also called for a request without one."""


class RequestParser:
    """The parser of one connection. ``feed`` raises RequestError; after that, nothing may be fed any more."""

    def __init__(self, limits: Limits, handler: RequestHandler):
        self._limits = limits
        self._handler = handler
        self._parser = httptools.HttpRequestParser(self)
        #: of the request that is being parsed, as far as it is known
        self.method = "GET"
        self._version = "1.1"
        self._url = b""
        self._headers: Headers = []
        #: True from the end of one request's body to the end of the next one's head
        self._in_head = True
        #: True from the first byte of a head to its end
        self._head_begun = False
        #: True from the end of a request line to the end of its head
        self._line_ended = False
        #: the request line so far, when it comes in pieces
        self._line = b""
        #: bytes of the body that are still to come; None when it is chunked
        self._body_missing: int | None = 0
        #: no request may follow the current one
        self._is_last = False
        #: the last request was read to its end; further bytes mean nothing
        self._finished = False
        #: bytes of the head: its complete lines, and everything that was fed since the last complete head
        self._header_bytes = self._partial_head_bytes = 0
        #: chunk extensions and trailers since the last byte of a body
        self._overhead_bytes = 0
        #: counters that show what a call of the parser has found
        self._heads = self._body_bytes = 0

    @property
    def has_partial_head(self) -> bool:
        """Whether a head has begun, blank lines before it included, and is not complete."""
        return self._in_head and (self._head_begun or self._partial_head_bytes > 0)

    def feed(self, data: bytes) -> None:
        """Parse the next bytes; call the handler for what is complete. What follows the last request is ignored."""
        start, size = 0, len(data)
        while start < size and not self._finished:
            stop = self._boundary(data, start)
            self._feed_piece(data[start:stop])
            start = stop

    def _boundary(self, data: bytes, start: int) -> int:
        """Return how far to parse: not beyond the end of a request, so that the line of the next one is seen whole.

        The parser itself takes any number of spaces in that line, and does not tell where it is.
        """
        if not self._in_head and self._body_missing is not None:
            return min(start + self._body_missing, len(data))
        if not start and data[0] in CR_LF and (rest := REST_OF_END.match(data)):
            return rest.end()
        end = data.find(END, start)
        return len(data) if end < 0 else end + len(END)

    def _feed_piece(self, data: bytes) -> None:
        in_head, heads, body_bytes = self._in_head, self._heads, self._body_bytes
        if in_head and not self._line_ended:
            if not self._head_begun and REQUEST_LINE.match(data):
                self._line_ended = True
            else:
                data = self._read_line(data)
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            at_the_start = in_head and self._heads == heads and not self._partial_head_bytes
            raise error_for(error, data if at_the_start else b"") from None
        if self._heads != heads:
            self._line_ended, self._overhead_bytes = False, 0
        elif in_head:
            self._count_partial_head(len(data))
        else:
            self._count_overhead(len(data), self._body_bytes != body_bytes)

    def _read_line(self, data: bytes) -> bytes:
        """Check a line that comes in pieces, or is not usual; return ``data`` with its target percent-encoded."""
        data, line, self._line_ended = request_line(data, self._head_begun)
        if self._line_ended:
            if not REQUEST_LINE.fullmatch(self._line + line):
                raise RequestError(400, NOT_REQUEST_LINE)
            self._line = b""
        else:
            self._line += line
        return data

    def resume_after_body(self) -> None:
        """Go on behind a body whose end was read past this parser."""
        self._parser = httptools.HttpRequestParser(self)
        self.on_message_complete()

    def close(self) -> None:
        """Break the reference cycle with httptools. Nothing may be fed any more."""
        del self._parser

    def _parse(self, data: bytes) -> None:
        rest: bytes | None = data
        while rest is not None:
            try:
                self._parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = self._head_without_upgrade() + rest[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
            else:
                rest = None

    def _head_without_upgrade(self) -> bytes:
        """Return the head that was just read, without its Upgrade header, so that it is an ordinary request.

        RFC 9110 section 7.8 lets a server ignore Upgrade; httptools cannot.
        """
        lines = [b"%s %s HTTP/%s\r\n" % (self.method.encode(), self._url, self._version.encode())]
        lines += [b"%s: %s\r\n" % header for header in self._headers if header[0] != b"upgrade"]
        return b"".join([*lines, b"\r\n"])

    def _count_partial_head(self, size: int) -> None:
        self._partial_head_bytes += size
        if self._partial_head_bytes > self._limits.head_bytes:
            raise RequestError(431, f"The request head is larger than {self._limits.head_bytes} bytes.")

    def _count_overhead(self, size: int, had_body: bool) -> None:
        self._overhead_bytes = 0 if had_body else self._overhead_bytes + size
        if self._overhead_bytes > self._limits.head_bytes:
            raise RequestError(
                400, f"The chunk extensions or trailers are larger than {self._limits.head_bytes} bytes."
            )

    # Callbacks of httptools. What they raise ends the parsing.

    def on_message_begin(self) -> None:
        self.method = "GET"
        self._url = b""
        self._headers = []
        self._head_begun = True
        self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > self._limits.line_bytes:
            raise RequestError(414, f"The request target is longer than {self._limits.line_bytes} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # A trailer: the request was validated without it (RFC 9110 section 6.5.1).
        self._header_bytes += len(name) + len(value) + 4
        if self._header_bytes > self._limits.head_bytes:
            raise RequestError(431, f"The request head is larger than {self._limits.head_bytes} bytes.")
        self._headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        parser = self._parser
        self.method = parser.get_method().decode("ascii")
        self._version, persistent = parser.get_http_version(), parser.should_keep_alive()
        head = read_head(self.method, self._version, self._url, self._headers, persistent, self._limits)
        if parser.should_upgrade():
            return  # The same head follows without Upgrade. CONNECT, which could not be fed again, was refused.
        self._in_head = self._head_begun = False
        self._partial_head_bytes = 0
        self._heads += 1
        self._body_missing = head.length
        self._is_last = not head.keep_alive
        self._handler.on_request(head)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_missing is not None:
            self._body_missing -= len(body)
        self._handler.on_body(body)

    def on_message_complete(self) -> None:
        if self._in_head:
            return  # Only a head with Upgrade was read; it follows again.
        self._in_head = True
        self._finished = self._is_last
        self._handler.on_request_end()


def error_for(error: httptools.HttpParserError, start: bytes) -> Exception:
    """Return what to raise for an error of httptools. ``start``: the data, if they began with the head."""
    if error.__context__ is not None:
        return error.__context__ if isinstance(error.__context__, Exception) else error
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        if UNKNOWN_METHOD.match(start):
            return RequestError(405, "The method is not supported.", ALLOW)
        return RequestError(400, NOT_HTTP)
    return RequestError(400, f"{NOT_HTTP}: {error}")
