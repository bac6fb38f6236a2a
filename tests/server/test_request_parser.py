"""The parser: the same requests however the bytes are cut, and nothing from one request in another."""

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from smuggling import AMBIGUOUS, BAD_CHUNKS, CHUNKED, HIDDEN, POST

from ferrotype.server.limits import Limits
from ferrotype.server.request_head import RequestError, RequestHead, read_head
from ferrotype.server.request_parser import RequestParser


@dataclass
class Recorder:
    """Notes what the parser reports."""

    heads: list[RequestHead] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    ended: int = 0

    def on_request(self, head: RequestHead) -> None:
        self.heads.append(head)
        self.bodies.append(b"")

    def on_body(self, data: bytes) -> None:
        self.bodies[-1] += data

    def on_request_end(self) -> None:
        self.ended += 1


def parse(*pieces: bytes, limits: Limits | None = None) -> Recorder:
    """Return what was reported for these pieces; raise what the parser raises."""
    recorder = Recorder()
    parser = RequestParser(limits or Limits(), recorder)
    for piece in pieces:
        parser.feed(piece)
    return recorder


def one_by_one(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


UPGRADE = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
STREAM = b"".join(
    [
        HIDDEN,
        POST + b"Content-Length: 5\r\n\r\nhello",
        CHUNKED + b"5;name=value\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n",
        b"GET /a%20b?c=d HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Blank:  value \t\r\n\r\n",
        POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
        POST + UPGRADE + b"Content-Length: 3\r\n\r\nabc",
        CHUNKED[:-2] + UPGRADE + b"\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HEAD /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ]
)


def test_requests_are_the_same_however_the_bytes_are_cut() -> None:
    whole = parse(STREAM)
    assert [head.method for head in whole.heads] == ["GET", "POST", "POST", "GET", "POST", "POST", "POST", "HEAD"]
    assert whole.bodies == [b"", b"hello", b"hello!", b"", b"ok", b"abc", b"abc", b""]
    assert [head.length for head in whole.heads] == [0, 5, None, 0, 2, 3, None, 0]
    assert [head.expects_continue for head in whole.heads] == [False] * 4 + [True] + [False] * 3
    assert [head.keep_alive for head in whole.heads] == [True] * 7 + [False]
    assert whole.ended == 8
    assert whole.heads[3].headers == [(b"host", b"a"), (b"x-empty", b""), (b"x-blank", b"value")]
    assert (whole.heads[3].path, whole.heads[3].raw_path, whole.heads[3].query) == ("/a b", b"/a%20b", b"c=d")
    assert parse(*one_by_one(STREAM)) == whole
    chance = random.Random(7)
    for _ in range(300):
        cuts = sorted(chance.sample(range(len(STREAM)), chance.randrange(1, 12)))
        pieces = [STREAM[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
        assert parse(*pieces) == whole, pieces


# SEC-96
@pytest.mark.parametrize("header", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_an_ambiguous_head_is_refused_however_the_bytes_are_cut(header: bytes) -> None:
    for cut in (one_by_one, lambda data: [data]):
        with pytest.raises(RequestError) as caught:
            parse(*cut(POST + header + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + HIDDEN))
        assert caught.value.status == 400


NOT_REQUEST_LINES = [
    b"GET  / HTTP/1.1", b"GET /  HTTP/1.1", b"GET / HTTP/1.1 ", b" GET / HTTP/1.1", b"GET\t/ HTTP/1.1",
    b"GET /\tHTTP/1.1", b"GET / HTTP/1.2", b"GET / HTTP/2.0", b"GET / HTTP/0.9", b"GET / HTTP/01.1",
    b"GET / HTTP/1.10", b"GET / http/1.1", b"GET / RTSP/1.0", b"SOURCE / ICE/1.0", b"GET /", b"GET / a HTTP/1.1",
]  # fmt: skip


# SEC-105
@pytest.mark.parametrize(
    "before",
    [
        b"", b"\r\n", HIDDEN, POST + b"Content-Length: 5\r\n\r\nhello", CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"4\r\n\r\n\r\n\r\n0\r\nA: x\r\n\r\n", POST + UPGRADE + b"Content-Length: 3\r\n\r\nabc",
    ],
    ids=["first", "after a blank line", "after GET", "after a body", "after chunks", "after a trailer", "Upgrade"],
)  # fmt: skip
@pytest.mark.parametrize("line", NOT_REQUEST_LINES)
def test_a_request_line_has_one_form_wherever_it_is(line: bytes, before: bytes) -> None:
    good = parse(before) if before else Recorder()
    for pieces in ([before + line + b"\r\nHost: a\r\n\r\n"], one_by_one(before + line + b"\r\nHost: a\r\n\r\n")):
        recorder = Recorder()
        parser = RequestParser(Limits(), recorder)
        with pytest.raises(RequestError) as caught:
            for piece in pieces:
                parser.feed(piece)
        assert (caught.value.status, recorder) == (400, good)


# SEC-97
@pytest.mark.parametrize("chunks", BAD_CHUNKS)
def test_bad_chunks_are_refused_however_the_bytes_are_cut(chunks: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        parse(*one_by_one(CHUNKED + chunks + HIDDEN))
    assert caught.value.status == 400


@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_trailer_belongs_to_no_head(in_pieces: bool) -> None:
    trailers = b"X-Roles: admin\r\nHost: evil\r\nExpect: 100-continue\r\nUpgrade: h2c\r\n\r\n"
    data = CHUNKED + b"5\r\nhello\r\n0\r\n" + trailers + HIDDEN + CHUNKED + b"0\r\nX-Last: x\r\n\r\n" + HIDDEN
    found = parse(*(one_by_one(data) if in_pieces else [data]))
    assert [[name for name, _ in head.headers] for head in found.heads] == [
        [b"host", b"transfer-encoding"], [b"host"], [b"host", b"transfer-encoding"], [b"host"]
    ]  # fmt: skip
    assert found.bodies == [b"hello", b"", b"", b""]


@pytest.mark.parametrize("trailer", [b"Connection: close", b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_a_trailer_about_framing_ends_the_connection_at_most(trailer: bytes) -> None:
    recorder = Recorder()
    with pytest.raises(RequestError):
        RequestParser(Limits(), recorder).feed(CHUNKED + b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n\r\n" + HIDDEN)
    assert recorder.bodies == [b"hello"]


@pytest.mark.parametrize(
    "last",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"GET / HTTP/1.0\r\nConnection: keep-alive, Upgrade\r\nUpgrade: h2c\r\n\r\n",
    ],
)
@pytest.mark.parametrize("rest", [HIDDEN, b"\r\n", b"\0\xff", b"FROBNICATE / HTTP/1.1\r\n\r\n"])
def test_nothing_is_read_after_the_last_request(last: bytes, rest: bytes) -> None:
    for pieces in ([last + rest, rest], [last, rest], one_by_one(last + rest)):
        found = parse(*pieces)
        assert (len(found.heads), found.ended) == (1, 1)


def test_a_head_with_upgrade_keeps_its_version() -> None:
    found = parse(b"GET / HTTP/1.0\r\n" + UPGRADE + b"\r\n")
    assert [(head.version, head.headers) for head in found.heads] == [("1.0", [(b"connection", b"Upgrade")])]


@pytest.mark.parametrize("size", [1, 100, 65_000])
@pytest.mark.parametrize("start", [b"5;", b"5;a=", b"5\r\nhello\r\n0\r\nX: ", b"5\r\nhello\r\n0\r\n"])
def test_extensions_and_trailers_without_end_are_refused_in_time(start: bytes, size: int) -> None:
    recorder = Recorder()
    parser = RequestParser(Limits(head_bytes=70_000), recorder)
    parser.feed(CHUNKED)
    parser.feed(start)
    piece = (b"T: x\r\n" * (size // 6 + 1))[:size] if start.endswith(b"0\r\n") else b"x" * size
    with pytest.raises(RequestError):
        for _ in range(70_000 // size + 2):
            parser.feed(piece)
    assert recorder.ended == 0


def test_extensions_within_the_limit_are_passed_over() -> None:
    extension = b";" + b"x" * 1000
    data = CHUNKED + (b"5" + extension + b"\r\nhello\r\n") * 200 + b"0" + extension + b"\r\n\r\n" + HIDDEN
    for size in (7, 1000, len(data)):
        found = parse(*(data[start : start + size] for start in range(0, len(data), size)))
        assert found.bodies == [b"hello" * 200, b""]


def test_an_error_of_the_handler_is_raised_as_it_is() -> None:
    class Broken(Recorder):
        def on_request(self, head: RequestHead) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        RequestParser(Limits(), Broken()).feed(HIDDEN)


HOST = (b"host", b"a")
LENGTH, OTHER_LENGTH = (b"content-length", b"5"), (b"content-length", b"6")
CODING = (b"transfer-encoding", b"chunked")


@pytest.mark.parametrize(
    "headers",
    [
        [HOST, LENGTH, CODING],
        [HOST, CODING, LENGTH],
        [HOST, LENGTH, LENGTH],
        [HOST, LENGTH, OTHER_LENGTH],
        [HOST, CODING, CODING],
        [HOST, (b"content-length", b"5, 5")],
        [HOST, (b"content-length", b"-5")],
        [HOST, (b"content-length", b"")],
        [HOST, (b"transfer-encoding", b"gzip, chunked")],
        [HOST, (b"transfer-encoding", b"identity")],
        [HOST, HOST],
        [LENGTH],
        [(b"host", b"a, b\x00")],
    ],
)  # The parser refuses most of these itself; the checks of a head do not rely on it.
def test_a_head_is_judged_whatever_the_parser_lets_through(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(RequestError) as caught:
        read_head("POST", "1.1", b"/", headers, True, Limits())
    assert caught.value.status == 400


def test_a_head_is_read() -> None:
    def read(version: str, *headers: tuple[bytes, bytes]) -> Any:
        return read_head("POST", version, b"/a%2Fb?c", list(headers), True, Limits())

    assert (read("1.1", HOST).length, read("1.1", HOST, CODING).length) == (0, None)
    assert read("1.1", HOST, (b"content-length", b"007")).length == 7
    assert (read("1.1", HOST).path, read("1.1", HOST).raw_path) == ("/a/b", b"/a%2Fb")
    assert read("1.1", HOST).keep_alive and not read("1.0").keep_alive
    expect = (b"expect", b"100-Continue")
    assert read("1.1", HOST, LENGTH, expect).expects_continue and read("1.1", HOST, CODING, expect).expects_continue
    assert not read("1.0", LENGTH, expect).expects_continue and not read("1.1", HOST, expect).expects_continue
    assert not read("1.1", HOST, LENGTH, (b"expect", b"200-ok")).expects_continue
