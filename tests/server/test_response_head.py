"""The head of a response: what is written, and what is refused."""

import re
import time
from email.utils import parsedate_to_datetime

import pytest

from ferrotype.server.response_head import ResponseError, write_head


def lines(data: bytes) -> list[bytes]:
    *found, empty, end = data.split(b"\r\n")
    assert (empty, end) == (b"", b"")
    return found


def test_a_head_has_status_date_and_headers_in_order() -> None:
    head = write_head(201, [(b"Content-Length", b"5"), (b"x-a", b"b c"), (b"x-empty", b"")], keep_alive=True)
    status, date, *rest = lines(head.data)
    assert status == b"HTTP/1.1 201 Created"
    assert re.fullmatch(rb"date: \w{3}, \d{2} \w{3} \d{4} \d\d:\d\d:\d\d GMT", date)
    assert abs(parsedate_to_datetime(date[6:].decode()).timestamp() - time.time()) < 60
    assert rest == [b"content-length: 5", b"x-a: b c", b"x-empty: "]
    assert (head.length, head.keep_alive) == (5, True)


@pytest.mark.parametrize("status", [204, 304])
def test_a_response_without_body_needs_no_length(status: int) -> None:
    head = write_head(status, [], keep_alive=True)
    assert len(lines(head.data)) == 2
    assert head.length == 0


def test_a_connection_that_does_not_stay_says_so_once() -> None:
    empty = (b"content-length", b"0")
    closed = write_head(200, [empty], keep_alive=False)
    assert lines(closed.data)[-1] == b"connection: close" and not closed.keep_alive
    asked = write_head(200, [empty, (b"connection", b"Close")], keep_alive=True)
    assert lines(asked.data).count(b"connection: Close") == 1 and b"connection: close" not in lines(asked.data)
    assert not asked.keep_alive


def test_an_unknown_status_has_no_phrase() -> None:
    assert write_head(599, [(b"content-length", b"0")], keep_alive=True).data.startswith(b"HTTP/1.1 599 \r\n")


# SEC-99
@pytest.mark.parametrize(
    "header",
    [
        (b"x", b"a\r\nset-cookie: b"),
        (b"x", b"a\nb"),
        (b"x", b"a\rb"),
        (b"x", b"a\0b"),
        (b"x", b"a\x7f"),
        (b"x\r\ny", b"a"),
        (b"x: y\r\nz", b"a"),
        (b"x y", b"a"),
        (b"x:", b"a"),
        (b"", b"a"),
        (b"x\xe9", b"a"),
    ],
)
def test_a_header_that_would_be_two_or_none_is_refused(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(ResponseError):
        write_head(200, [(b"content-length", b"0"), header], keep_alive=True)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"content-length", b"1"), (b"content-length", b"1")],
        [(b"content-length", b"+1")],
        [(b"content-length", b"1 ")],
        [(b"content-length", b"1, 1")],
        [(b"content-length", b"")],
        [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"chunked")],
    ],
)
def test_a_response_without_exactly_one_length_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(ResponseError):
        write_head(200, headers, keep_alive=True)
