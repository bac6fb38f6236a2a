"""Write the head of a response; nothing in a header can add a line of its own (response splitting)."""

import re
import time
from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

from ferrotype.model.errors import FerrotypeError

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
HEADER_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+: [\t\x20-\x7e\x80-\xff]*\r\n")
WITHOUT_BODY = frozenset({204, 304})


class ResponseError(FerrotypeError):
    """The application answered something that cannot be sent."""


class ResponseHead(NamedTuple):
    """A head as it goes over the wire."""

    data: bytes
    #: its Content-Length, 0 for a response that has no body
    length: int
    keep_alive: bool


def write_head(status: int, headers: Iterable[tuple[bytes, bytes]], keep_alive: bool) -> ResponseHead:
    """Return the head with a Date header, and ``Connection: close`` unless the connection stays open.

    Raise ResponseError for a header that is malformed, and where there is not exactly one Content-Length (none for
    204 and 304).
    """
    lines = [STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, date_line(int(time.time()))]
    length: int | None = None
    says_close = False
    for name, value in headers:
        name = name.lower()
        if name == b"content-length":
            if length is not None or not value.isdigit():
                raise ResponseError("a response must have exactly one Content-Length")
            length = int(value)
        elif name == b"connection":
            says_close = b"close" in value.lower()
        elif name == b"transfer-encoding":
            raise ResponseError("responses are sent with Content-Length, not with Transfer-Encoding")
        line = b"%s: %s\r\n" % (name, value)
        if not HEADER_LINE.fullmatch(line):
            raise ResponseError(f"a response header is not valid: {name!r}")
        lines.append(line)
    if length is None and status not in WITHOUT_BODY:
        raise ResponseError("a response must have exactly one Content-Length")
    keep_alive = keep_alive and not says_close
    if not keep_alive and not says_close:
        lines.append(b"connection: close\r\n")
    lines.append(b"\r\n")
    return ResponseHead(b"".join(lines), length or 0 if status not in WITHOUT_BODY else 0, keep_alive)


@lru_cache(maxsize=1)
def date_line(second: int) -> bytes:
    """Return the Date header for a time in whole seconds since the epoch."""
    return f"date: {formatdate(second, usegmt=True)}\r\n".encode()
