"""The head of a request: whatever two readers could understand in two ways is refused."""

import re
from urllib.parse import unquote

import httptools

HOST = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~%!$&'()*+,;=:[]-"
#: Digits of a Content-Length, zeros before it included.
LONGEST_LENGTH = 64
NOT_ASCII = re.compile(rb"[\x80-\xff]")

Headers = list[tuple[bytes, bytes]]


class Refused(Exception):
    """The request cannot be read any further: the answer is ``status``, and the connection ends."""

    def __init__(self, status: int, text: str, headers: tuple[tuple[bytes, bytes], ...] = ()):
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers


def body_length(method: str, version: str, headers: Headers, most: int, longest: int) -> int | None:
    """Return the length of the body that follows, None for a chunked one. Raise ``Refused`` if it can be doubted,
    and for more than ``most`` headers or one that is longer than ``longest``.

    The parser has refused bare line feeds, folded lines, blanks before a colon, control characters, a second
    Content-Length and every Content-Length that is not a number of digits.
    """
    if version not in ("1.1", "1.0"):
        raise Refused(400, "Only HTTP/1.0 and HTTP/1.1 are spoken here.")
    if method == "CONNECT":
        raise Refused(400, "This is not a proxy.")
    if len(headers) > most:
        raise Refused(431, "The request head has too many lines.")
    host: bytes | None = None
    length: int | None = 0
    for name, value in headers:
        if len(name) + len(value) > longest:
            raise Refused(431, "A line of the request head is too long.")
        if name == b"host":
            if host is not None or value.translate(None, HOST):
                raise Refused(400, "A request needs exactly one valid Host header.")
            host = value
        elif name == b"content-length":
            if len(value) > LONGEST_LENGTH:
                raise Refused(400, f"Content-Length must have at most {LONGEST_LENGTH} digits.")
            length = int(value)
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked" or version == "1.0" or length is None:
                raise Refused(400, "The only Transfer-Encoding understood is chunked, once.")
            length = None
    if host is None and version == "1.1":
        raise Refused(400, "A request needs exactly one valid Host header.")
    return length


def expects_continue(version: str, headers: Headers) -> bool:
    """Say whether the client waits with its body until it is asked for it."""
    return version == "1.1" and any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)


def with_ascii_target(data: bytes, begun: bool) -> tuple[bytes, bool]:
    """Return data of a request's first line, of which a piece has been read when it is ``begun``, and whether the
    line ends in them. UTF-8 in it is encoded, as libraries do and people do not.
    """
    start = 0 if begun else len(data) - len(data.lstrip(b"\r\n"))
    end = data.find(b"\n", start)
    line = data[start:end] if end >= 0 else data[start:]
    if not line.isascii():
        data = data[:start] + NOT_ASCII.sub(lambda found: b"%%%02X" % found[0][0], line) + data[start + len(line) :]
    return data, end >= 0


def target(url: bytes) -> tuple[str, bytes, bytes]:
    """Return path, path as it was sent, and query. Raise ``Refused`` if there is none."""
    try:
        parsed = httptools.parse_url(url)
        sent = parsed.path or b"/"
        path = sent.decode("ascii")
    except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
        raise Refused(400, "The request target is not valid.") from None
    return unquote(path) if "%" in path else path, sent, parsed.query or b""
