"""Validate the head of a request. A head that two HTTP implementations could read differently is refused: such heads
are what request smuggling is made of."""

import re
from urllib.parse import unquote

import httptools
from msgspec import Struct

from ferrotype.model.errors import FerrotypeError
from ferrotype.server.limits import Limits

HOST_CHARACTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~%!$&'()*+,;=:[]-"
#: digits of a Content-Length, leading zeros included
MAX_LENGTH_DIGITS = 64
NOT_ASCII = re.compile(rb"[\x80-\xff]")
ABSOLUTE_TARGET = re.compile(rb"(https?)://([^/?#@]*)([/?#].*)?", re.IGNORECASE | re.DOTALL)
DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}

Headers = list[tuple[bytes, bytes]]


class RequestError(FerrotypeError):
    """The request is malformed or too large. The answer is ``status`` with ``text``, and the connection closes."""

    def __init__(self, status: int, text: str, headers: tuple[tuple[bytes, bytes], ...] = ()):
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers


class RequestHead(Struct):
    """A head that passed every check."""

    method: str
    #: 1.0 or 1.1
    version: str
    #: decoded
    path: str
    raw_path: bytes
    query: bytes
    #: names in lower case
    headers: Headers
    #: bytes of the body that follows, 0 when there is none; None when it is chunked
    length: int | None
    #: the client waits for 100 Continue before it sends the body
    expects_continue: bool
    #: the client may send another request on the connection
    keep_alive: bool


def read_head(
    method: str, version: str, url: bytes, headers: Headers, persistent: bool, limits: Limits
) -> RequestHead:
    """Return the checked head; raise RequestError when it is malformed, ambiguous or too large.

    ``persistent``: what the Connection header asks for. HTTP/1.0 connections always close after the response.

    The parser has refused bare line feeds, folded lines, whitespace before a colon and control characters. RFC 9112,
    sections 3.2 and 6.
    """
    if method == "CONNECT":
        raise RequestError(400, "This server is not a proxy.")
    if len(headers) > limits.head_lines:
        raise RequestError(431, f"The request head has more than {limits.head_lines} headers.")
    host: bytes | None = None
    length: int | None = None
    chunked = expects_continue = False
    for name, value in headers:
        if len(name) + len(value) > limits.line_bytes:
            raise RequestError(431, f"A request header is longer than {limits.line_bytes} bytes.")
        if name == b"host":
            if host is not None or value.translate(None, HOST_CHARACTERS):
                raise RequestError(400, "A request must have exactly one valid Host header.")
            host = value
        elif name == b"content-length":
            if length is not None or not value.isdigit() or len(value) > MAX_LENGTH_DIGITS:
                raise RequestError(400, f"Content-Length must be one number of at most {MAX_LENGTH_DIGITS} digits.")
            length = int(value)
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked" or version == "1.0" or chunked:
                raise RequestError(400, "The only supported Transfer-Encoding is a single 'chunked'.")
            chunked = True
        elif name == b"expect" and value.lower() == b"100-continue":
            expects_continue = version == "1.1"
    if host is None and version == "1.1":
        raise RequestError(400, "A request must have exactly one valid Host header.")
    if chunked and length is not None:
        raise RequestError(400, "Content-Length and Transfer-Encoding exclude each other.")
    size = None if chunked else length or 0
    if not url.startswith(b"/"):
        check_authority(url, host)
    path, raw_path, query = split_target(url)
    expects_continue = expects_continue and size != 0
    return RequestHead(
        method, version, path, raw_path, query, headers, size, expects_continue, persistent and version == "1.1"
    )


def split_target(url: bytes) -> tuple[str, bytes, bytes]:
    """Return the decoded path, the path as it was sent, and the query; raise RequestError for an invalid target."""
    try:
        parsed = httptools.parse_url(url)
        raw_path = parsed.path or b"/"
        path = raw_path.decode("ascii")
    except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
        raise RequestError(400, "The request target is not valid.") from None
    return unquote(path) if "%" in path else path, raw_path, parsed.query or b""


def check_authority(url: bytes, host: bytes | None) -> None:
    """Raise RequestError unless an absolute target names the same server as Host (RFC 9112 section 3.2.2)."""
    target = ABSOLUTE_TARGET.fullmatch(url)
    if target is None:
        raise RequestError(400, "The request target is not valid.")
    port = DEFAULT_PORTS[target[1].lower()]
    if host is not None and target[2].lower().removesuffix(port) != host.lower().removesuffix(port):
        raise RequestError(400, "The Host header and the request target must name the same server.")


def request_line(data: bytes, line_begun: bool) -> tuple[bytes, bytes, bool]:
    """Return ``data`` with the UTF-8 of its request line percent-encoded, that line, and whether it ends in ``data``.

    HTTP libraries encode the target, people who type a URL do not. ``line_begun``: the line began in earlier data;
    otherwise blank lines may come before it.
    """
    start = 0 if line_begun else len(data) - len(data.lstrip(b"\r\n"))
    end = data.find(b"\n", start) + 1
    line = data[start:end] if end else data[start:]
    if not line.isascii():
        encoded = NOT_ASCII.sub(lambda found: b"%%%02X" % found[0][0], line)
        data = data[:start] + encoded + data[start + len(line) :]
        line = encoded
    return data, line, end > 0
