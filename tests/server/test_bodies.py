"""Request bodies: complete or visibly truncated, and within limits."""

import hashlib
import resource
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest
from sample_app import LONG_TIMEOUTS, Client, Running, eventually, running

from ferrotype.server.body_reader import READ_BYTES, READ_DELAY
from ferrotype.server.request_body import LARGE_BODY


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("server")) as server:
        yield server


def memory() -> int:
    """Return the bytes of memory that this process has, the server's thread included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def end_by(client: Client, way: str) -> None:
    """End a connection in the middle of a body."""
    if way == "FIN":
        client.socket.close()
    elif way == "RST":
        client.reset()
    elif way == "half close":
        client.socket.shutdown(socket.SHUT_WR)
    else:
        client.send(b"no chunk size\r\n")


WAYS = ["FIN", "RST", "half close", "bad chunk"]


@pytest.mark.parametrize("keep_alive", ["keep-alive", "close"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sent", [0, 1, 100_000, 3_000_000])
def test_a_chunked_body_without_its_end_never_looks_whole(
    server: Running, way: str, keep_alive: str, sent: int
) -> None:
    with server.client() as client:
        head = f"PUT /upload HTTP/1.1\r\nHost: a\r\nConnection: {keep_alive}\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.send(head.encode())
        if sent:
            client.send(chunk(b"x" * sent))
        end_by(client, way)
        what, size = server.saw()
        assert what == "cut"
        assert size <= sent
    assert server.is_idle()


@pytest.mark.parametrize("keep_alive", ["keep-alive", "close"])
@pytest.mark.parametrize("way", WAYS[:3])
@pytest.mark.parametrize("sent", [0, 1, 100_000, 3_000_000])
def test_a_body_shorter_than_its_length_never_looks_whole(
    server: Running, way: str, keep_alive: str, sent: int
) -> None:
    with server.client() as client:
        head = f"PUT /upload HTTP/1.1\r\nHost: a\r\nConnection: {keep_alive}\r\nContent-Length: {sent + 1}\r\n\r\n"
        client.send(head.encode() + b"x" * sent)
        end_by(client, way)
        assert server.saw()[0] == "cut"
    assert server.is_idle()


@pytest.mark.parametrize("size", [0, 5, LARGE_BODY, 3 * READ_BYTES])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_client_may_half_close_after_a_complete_request(server: Running, framing: str, size: int) -> None:
    body = b"x" * size
    head = f"Content-Length: {size}" if framing == "length" else "Transfer-Encoding: chunked"
    framed = body if framing == "length" else (chunk(body) if body else b"") + b"0\r\n\r\n"
    request = f"PUT /upload HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n".encode() + framed
    hello = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
    with server.client() as client:
        client.send(hello + request + hello + request)
        client.socket.shutdown(socket.SHUT_WR)
        digest = hashlib.sha256(body).hexdigest().encode()
        assert [client.response().body for _ in range(4)] == [b"hello", digest] * 2
        assert [server.saw(), server.saw()] == [("whole", size)] * 2
        assert client.is_closed()
    assert server.is_idle()


def test_a_slow_response_reaches_a_client_that_has_half_closed(server: Running) -> None:
    with server.client() as client:
        client.send(b"GET /slow?until=ended HTTP/1.1\r\nHost: a\r\n\r\n")
        client.socket.shutdown(socket.SHUT_WR)
        server.has_read(client)
        server.go("ended")
        assert client.response().body == b"slow"
        assert client.is_closed()
    with server.client() as gone:
        gone.send(b"GET /slow?until=gone HTTP/1.1\r\nHost: a\r\n\r\n")
        server.has_read(gone)
    server.go("gone")
    assert server.is_idle()


@pytest.mark.parametrize("ending", [b"", b"0", b"0\r\n", b"0\r\nTrailer: x\r\n"])
def test_a_truncated_last_chunk_does_not_end_a_body(server: Running, ending: bytes) -> None:
    with server.client() as client:
        client.send(
            b"PUT /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"hello") + ending
        )
        client.socket.shutdown(socket.SHUT_WR)
        assert server.saw()[0] == "cut"


def test_a_body_longer_than_its_length_is_whole_and_the_rest_is_no_request(server: Running) -> None:
    with server.client() as client:
        client.send(b"PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello and more")
        assert client.response().body == hashlib.sha256(b"hello").hexdigest().encode()
        assert server.saw() == ("whole", 5)
        assert client.response().status == 400
        assert client.is_closed()


@pytest.mark.parametrize("size", [0, 1, 65536, 5_000_000])
def test_whole_bodies_arrive_byte_for_byte_on_one_connection(server: Running, size: int) -> None:
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    digest = hashlib.sha256(data).hexdigest().encode()
    with server.client() as client:
        for _ in range(2):
            client.send(f"PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode() + data)
            assert client.response().body == digest
            chunks = b"".join(chunk(data[start : start + 70_001]) for start in range(0, size, 70_001))
            client.send(
                b"PUT /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
            )
            assert client.response().body == digest
            assert [server.saw(), server.saw()] == [("whole", size)] * 2


@pytest.mark.parametrize("in_pieces", [False, True])
@pytest.mark.parametrize("size", [LARGE_BODY - 1, LARGE_BODY, LARGE_BODY + 1, READ_BYTES, 3 * READ_BYTES + 7])
def test_what_follows_a_large_body_is_the_next_request_and_nothing_else_is(
    server: Running, size: int, in_pieces: bool
) -> None:
    body = b"GET /pid HTTP/1.1\r\nHost: a\r\n\r\n" * (size // 30 + 1)
    body, hello = body[:size], b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
    with server.client() as client:
        head = f"PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode()
        for _ in range(2):
            everything = head + body + hello + head + body + hello
            end_of_body = len(head) + size
            cuts = [len(head) + 3, len(head) + size // 2, end_of_body - 1, end_of_body + 5]
            for start, end in pairwise([0, *cuts, len(everything)]):
                client.send(everything[start:end])
                if in_pieces:
                    server.has_read(client)
            digest = hashlib.sha256(body).hexdigest().encode()
            assert [client.response().body for _ in range(4)] == [digest, b"hello"] * 2
            assert [server.saw(), server.saw()] == [("whole", size)] * 2


def test_the_rest_of_a_refused_large_body_is_never_parsed_as_a_request(server: Running) -> None:
    request = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
    with server.client() as client:
        client.send(b"PUT /refuse-late?after=400000 HTTP/1.1\r\nHost: a\r\nContent-Length: 700000\r\n\r\n")
        client.send((request * 20_000)[:500_000])
        refusal = client.response()
        assert (refusal.status, refusal.body) == (409, b"no more")
        assert refusal.headers["connection"] == "close"
        client.send((request * 20_000)[:200_000] + request)
        assert client.is_closed()
    assert server.is_idle()


def test_a_large_body_is_not_read_packet_by_packet(server: Running) -> None:
    packets, packet = 400, 10_000
    pieces = server.app.pieces
    with server.client() as client:
        began = time.monotonic()
        client.send(b"PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (packets * packet))
        for _ in range(packets):
            client.send(b"x" * packet)
            time.sleep(0.0005)  # longer than the server takes for one packet
        assert client.response().status == 200
        took = time.monotonic() - began
    assert server.saw() == ("whole", packets * packet)
    # A few more reads than low-water marks: while the window is small, the kernel cannot wait for that much.
    assert server.app.pieces - pieces <= packets // 4 + took / READ_DELAY


@pytest.mark.parametrize(("first", "then"), [(2 * READ_BYTES, 1000), (0, LARGE_BODY + 1000)])
def test_the_end_of_a_large_body_is_read_without_delay(server: Running, first: int, then: int) -> None:
    def wait_for_the_answer(client: Client) -> float:
        client.send(b"PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (first + then))
        client.send(b"x" * first)
        server.has_read(client)
        began = time.monotonic()
        client.send(b"x" * then)
        assert client.response().status == 200
        assert server.saw() == ("whole", first + then)
        return time.monotonic() - began

    with server.client() as client:
        assert median(wait_for_the_answer(client) for _ in range(9)) < READ_DELAY / 2


SMALL_OR_LARGE = pytest.mark.parametrize("piece", [1, 100_000], ids=["small", "large"])


# SEC-90
@SMALL_OR_LARGE
def test_an_idle_upload_is_aborted(tmp_path: Path, piece: int) -> None:
    with running(tmp_path, replace(LONG_TIMEOUTS, body_idle=0.4)) as server, server.client() as still:
        began = time.monotonic()
        still.send(b"PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (10 * piece) + b"x" * piece)
        assert server.saw() == ("cut", piece)
        assert time.monotonic() - began >= 0.4
        assert still.is_closed()
        assert server.is_idle()


@pytest.mark.slow
@SMALL_OR_LARGE
def test_a_slow_upload_is_aborted_only_when_it_is_idle(tmp_path: Path, piece: int) -> None:
    head = b"PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (10 * piece)
    with running(tmp_path, replace(LONG_TIMEOUTS, body_idle=600)) as server:
        with server.client() as slow:
            slow.send(head)
            server.has_read(slow)
            for number in range(1, 11):
                server.pass_time(599)
                slow.send(b"x" * piece)
                server.has_taken(number * piece)
            assert slow.response().status == 200
            assert server.saw() == ("whole", 10 * piece)
        with server.client() as still:
            still.send(head + b"x" * piece)
            server.has_taken(11 * piece)
            server.pass_time(599)
            assert server.ask(server.app.seen.empty)
            server.pass_time(2)
            assert server.saw() == ("cut", piece)
            assert still.is_closed()
        assert server.is_idle()


def test_an_aborted_large_body_leaves_no_descriptor_open(server: Running) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    assert server.is_idle()
    before = descriptors()
    for way in (*WAYS[:3], "refused"):
        with server.client() as client:
            where = b"/refuse-late?after=300000" if way == "refused" else b"/upload"
            client.send(b"PUT " + where + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 400_000)
            if way == "refused":
                assert client.response().status == 409
            else:
                end_by(client, way)
                assert server.saw()[0] == "cut"
        assert server.is_idle()
        assert descriptors() == before


def test_100_continue_is_sent_only_when_the_application_reads_the_body(server: Running) -> None:
    expect = b"HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    with server.client() as client:
        client.send(b"PUT /upload " + expect)
        assert client.head().status == 100
        client.send(b"hello")
        assert client.response().status == 200
        assert server.saw() == ("whole", 5)
    # SEC-104
    with server.client() as client:
        client.send(b"PUT /refuse " + expect)
        refusal = client.response()
        assert refusal.status == 409
        assert refusal.headers["connection"] == "close"
        client.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.is_closed()


def test_a_short_body_that_is_refused_leaves_the_connection_usable(server: Running) -> None:
    with server.client() as client:
        client.send(b"PUT /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n")
        refusal = client.response()
        assert refusal.status == 409
        assert "connection" not in refusal.headers
        client.send(b"x" * 500_000)
        assert client.get("/hello").body == b"hello"


def test_a_short_body_that_is_refused_and_never_comes_ends_the_connection(tmp_path: Path) -> None:
    with running(tmp_path, replace(LONG_TIMEOUTS, drain_idle=0.4)) as server, server.client() as client:
        client.send(b"PUT /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\nx")
        assert client.response().status == 409
        assert client.is_closed()


FRAMINGS = ["Content-Length: 1000000000", "Transfer-Encoding: chunked"]


def refused(client: Client, framing: str) -> None:
    """Begin a long body that is refused at once."""
    client.send(f"PUT /refuse HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode())
    refusal = client.response()
    assert refusal.status == 409
    assert refusal.headers["connection"] == "close"


# RUL-72
@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_refused_long_body_is_discarded_as_long_as_it_comes(server: Running, framing: str) -> None:
    piece = chunk(b"x" * (1 << 20)) if "chunked" in framing else b"x" * (1 << 20)
    with server.client() as client:
        refused(client, framing)
        before = memory()
        for _ in range(100):
            client.send(piece)
        server.has_read(client)
        assert memory() - before < 16 << 20
        assert server.connection(client)


# RUL-72
@pytest.mark.parametrize("framing", [*FRAMINGS, "Content-Length: 500000"])
def test_a_refused_body_that_makes_no_progress_ends_the_connection(tmp_path: Path, framing: str) -> None:
    with running(tmp_path, replace(LONG_TIMEOUTS, drain_idle=600)) as server, server.client() as client:
        client.send(f"PUT /refuse HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode())
        assert client.response().status == 409
        for _ in range(5):
            client.send(b"1")
            server.has_read(client)
            server.pass_time(590)
        assert server.connection(client)
        server.pass_time(11)
        assert client.is_closed()
        assert server.is_idle()


# RUL-72
@pytest.mark.parametrize("framing", [*FRAMINGS, "Content-Length: 500000"])
def test_a_refused_body_is_not_discarded_for_ever(tmp_path: Path, framing: str) -> None:
    limits = replace(LONG_TIMEOUTS, drain_idle=500, drain_seconds=1200)
    with running(tmp_path, limits) as server, server.client() as client:
        client.send(f"PUT /refuse HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode())
        assert client.response().status == 409
        for _ in range(3):
            client.send(b"1")
            server.has_read(client)
            assert server.connection(client)
            server.pass_time(401)
        assert client.is_closed()
        assert server.is_idle()


def test_a_client_can_read_the_error_in_the_middle_of_a_long_body(server: Running) -> None:
    with server.client() as client:
        client.send(b"PUT /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 900_000)
        assert client.response().status == 409


def test_a_refused_client_sees_the_end_of_the_connection_at_once(server: Running) -> None:
    with server.client() as client:
        client.send(b"PUT /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\nx")
        assert client.response().status == 409
        assert client.is_closed()


def test_what_follows_a_refused_body_is_still_checked(server: Running) -> None:
    with server.client() as client:
        client.send(b"PUT /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
        assert client.response().status == 409
        client.send(b"x" * 100 + b"\0\0")
        assert client.response().status == 400
        assert client.is_closed()


def test_a_response_that_is_not_read_is_aborted(tmp_path: Path) -> None:
    with (
        running(tmp_path, replace(LONG_TIMEOUTS, send_idle=0.5)) as server,
        server.client(receive_buffer=4096) as still,
    ):
        began = time.monotonic()
        still.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        assert server.saw() == ("ConnectionResetError",)
        assert time.monotonic() - began >= 0.5
        assert server.is_idle()


def test_a_response_that_is_read_slowly_is_not_aborted(tmp_path: Path) -> None:
    with running(tmp_path, replace(LONG_TIMEOUTS, send_idle=600)) as server:
        with server.client(receive_buffer=4096) as slow:
            slow.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
            connection = server.connection(slow)
            eventually(lambda: connection.writer.paused)
            for _ in range(30):
                before = server.ask(connection.writer.unsent)
                while server.ask(connection.writer.unsent) == before:
                    assert slow.socket.recv(4096)
                server.pass_time(550)
            assert server.ask(server.app.seen.empty)
        assert server.saw() == ("ConnectionResetError",)
        assert server.is_idle()


def test_a_last_response_that_is_not_read_does_not_keep_the_connection_open(tmp_path: Path) -> None:
    with running(tmp_path, replace(LONG_TIMEOUTS, send_idle=600, keep_alive=500), send_buffer=4096) as server:
        client = server.client(receive_buffer=4096)
        # More than the two kernels take, and less than what makes the transport ask us to pause.
        for _ in range(3):
            client.send(b"GET /scope HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 15000 + b"\r\n\r\n")
        server.has_read(client)
        eventually(lambda: not server.state.tasks)
        connection = server.connection(client)
        assert server.ask(connection._transport.get_write_buffer_size) > 10_000
        server.pass_time(500)
        server.pass_time(599)
        assert server.state.connections == {connection}
        server.goes_by(600, lambda: not server.state.connections)
        client.socket.close()
