"""Connections that end at every point of a request, or send it byte by byte: nothing leaks, no part of one request
reaches another, and other clients are served."""

import contextlib
import hashlib
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sample_app import Client, Running, eventually, running
from smuggling import CHUNKED, HIDDEN, POST

from ferrotype.server.request_body import LARGE_BODY

SIZE = 3 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "data").write_bytes(bytes(SIZE))
    with running(folder) as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_left_behind(server: Running) -> Iterator[None]:
    assert server.is_idle()
    before = open_files()
    yield
    assert server.is_idle()
    eventually(lambda: open_files() <= before)
    with server.client() as client:
        assert client.get("/hello").body == b"hello"
    server.app.seen.queue.clear()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def put(path: bytes, body: bytes, chunked: bool = False) -> bytes:
    chunk = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
    framed = chunk + b"0\r\n\r\n" if chunked else body
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    return b"PUT %s HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n%s" % (path, framing, framed)


def fin(client: Client) -> None:
    client.socket.close()


def rst(client: Client) -> None:
    client.reset()


def half_close(client: Client) -> None:
    client.socket.shutdown(socket.SHUT_WR)
    client.rest()
    client.socket.close()


REQUESTS = {
    "small body": put(b"/upload", b"hello"),
    "chunked body": put(b"/upload", b"hello", chunked=True),
    "trailers": CHUNKED.replace(b"/scope", b"/upload") + b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    "upgrade": b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "refused body": put(b"/refuse", b"hello"),
    "two requests": HIDDEN + put(b"/upload", b"hello"),
    "a file": b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("end", [fin, rst, half_close])
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_connection_may_end_after_any_byte(server: Running, request_: bytes, end: Callable[[Client], None]) -> None:
    for cut in range(len(request_) + 1):
        client = server.client()
        client.send(request_[:cut])
        if cut == len(request_):
            server.has_read(client)
        end(client)
    assert server.is_idle()
    whole = [seen for seen in server.app.seen.queue if seen[0] == "whole"]
    assert whole in ([], [("whole", 5)])  # Without its last byte a body is never whole.
    assert whole or b"/upload" not in request_


@pytest.mark.parametrize("end", [fin, rst, half_close])
@pytest.mark.parametrize("sent", [0, 1, 255 << 10, 256 << 10, SIZE - 1, SIZE])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_connection_may_end_anywhere_in_a_large_body(
    server: Running, sent: int, chunked: bool, end: Callable[[Client], None]
) -> None:
    request = put(b"/upload", bytes(SIZE), chunked)
    head = len(request) - SIZE - (len(b"\r\n0\r\n\r\n") if chunked else 0)
    for wait in (True, False):
        client = server.client()
        client.send(request[: head + sent])
        if wait:
            server.has_read(client)
        end(client)
        if end is rst and not wait:
            eventually(lambda: not server.state.connections)
            server.app.seen.queue.clear()  # The reset may have come before the head was read.
        else:
            what, size = server.saw()
            assert what == ("whole" if sent == SIZE and not chunked else "cut")
            assert size <= sent


@pytest.mark.parametrize("end", [fin, rst])
@pytest.mark.parametrize("taken", [0, 1, 200, 100_000, SIZE])
@pytest.mark.parametrize("path", ["/file", f"/in-pieces?size={SIZE}&count=2", "/hello"])
def test_a_connection_may_end_anywhere_in_a_response(
    server: Running, path: str, taken: int, end: Callable[[Client], None]
) -> None:
    for _ in range(5):
        client = server.client(receive_buffer=65536)
        client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        client.read(min(taken, 20) if path == "/hello" else taken)
        end(client)
    assert server.is_idle()


def test_requests_that_come_byte_by_byte_are_answered_in_order(server: Running) -> None:
    bodies = [b"first", b"second", b"GET /hello HTTP/1.1\r\n\r\n", b""]
    data = b"".join(put(b"/scope", body, chunked) for body in bodies for chunked in (False, True)) + HIDDEN
    with server.client() as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(data)):
            client.send(data[at : at + 1])
        for body in bodies:
            for _ in range(2):
                assert json.loads(client.response().body)["body"] == body.decode()
        assert client.response().body == b"hello"


@pytest.mark.parametrize("size", [0, 5, 70_000, 300_000, SIZE])
def test_pipelined_bodies_reach_their_own_requests(server: Running, size: int) -> None:
    bodies = [bytes([number]) * (size + number) for number in range(6)]
    data = b"".join(put(b"/upload", body, bool(number % 2)) for number, body in enumerate(bodies))
    with server.client() as client:
        client.send(b"GET /slow?until=bodies HTTP/1.1\r\nHost: a\r\n\r\n" + data[:100_000])
        server.go("bodies")
        client.send(data[100_000:])
        assert client.response().body == b"slow"
        for body in bodies:
            assert client.response().body == hashlib.sha256(body).hexdigest().encode()
    (server.app.folder / "bodies").unlink()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [0, 5, 70_000])
def test_pipelined_bodies_that_are_refused_are_no_requests(server: Running, size: int, chunked: bool) -> None:
    body = (HIDDEN * (size // len(HIDDEN) + 1))[:size]
    with server.client() as client:
        client.send(put(b"/refuse", body, chunked) * 3 + HIDDEN)
        statuses = []
        with contextlib.suppress(EOFError, ConnectionResetError):
            while len(statuses) < 4:
                statuses.append(client.response().status)
    # After a refused chunked body that had not come whole the connection ends; nothing of it was taken for a request.
    assert statuses == [409, 409, 409, 200] or (chunked and statuses in ([409], [409, 409], [409, 409, 409]))


def test_an_endless_pipeline_is_not_held_in_memory(server: Running) -> None:
    with server.client() as client:
        client.send(b"GET /slow?until=endless HTTP/1.1\r\nHost: a\r\n\r\n")
        client.socket.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < 100 << 20:
                sent += client.socket.send(HIDDEN * 1000)
                server.ask(lambda: None)
        assert sent < 32 << 20  # what the kernels and one read hold
        (connection,) = server.state.connections
        assert len(connection._pipeline) <= 257
        server.go("endless")


def test_a_pipeline_is_not_read_on_before_it_is_empty(server: Running) -> None:
    with server.client() as client:
        slow = b"".join(b"GET /slow?until=%s HTTP/1.1\r\nHost: a\r\n\r\n" % name for name in (b"one", b"two"))
        client.send(slow + HIDDEN * 200)
        server.has_read(client)
        client.send(HIDDEN * 100)  # with those before more than may wait
        server.go("one")
        assert client.response().body == b"slow"
        for _ in range(5):
            server.ask(lambda: None)
        server.go("two")
        assert client.response().body == b"slow"
        assert {client.response().status for _ in range(300)} == {200}


def test_a_head_in_a_body_is_not_parsed(server: Running) -> None:
    with server.client() as client:
        client.send(POST + b"Content-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN + HIDDEN)
        assert json.loads(client.response().body)["body"] == HIDDEN.decode()
        assert client.response().body == b"hello"


def test_a_reset_while_the_application_is_at_work(server: Running) -> None:
    client = server.client()
    client.send(b"GET /slow?until=reset HTTP/1.1\r\nHost: a\r\n\r\n")
    server.has_read(client)
    client.reset()
    eventually(lambda: not server.state.connections)
    assert len(server.state.tasks) == 1
    server.go("reset")


def test_a_reset_is_noticed_during_the_last_pipelined_request(server: Running) -> None:
    client = server.client()
    client.send(HIDDEN * 3 + b"GET /slow?until=last-reset HTTP/1.1\r\nHost: a\r\n\r\n")
    for _ in range(3):
        assert client.response().body == b"hello"
    server.has_read(client)
    client.reset()
    eventually(lambda: not server.state.connections)
    server.go("last-reset")


@pytest.mark.parametrize("size", [5, LARGE_BODY, SIZE])
def test_an_application_that_asks_on_hears_of_the_end(server: Running, size: int) -> None:
    client = server.client()
    client.send(put(b"/listen", bytes(size)))
    assert server.saw() == ("read",)
    server.has_read(client)
    assert server.ask(server.app.seen.empty)
    client.reset()
    assert server.saw() == ("http.disconnect",)


def test_a_broken_body_of_a_pipelined_request_is_answered_in_its_turn(server: Running) -> None:
    with server.client() as client:
        slow = b"GET /slow?until=broken HTTP/1.1\r\nHost: a\r\n\r\n"
        client.send(slow + HIDDEN + CHUNKED + b"5\r\nhello\r\nno size\r\n" + HIDDEN)
        server.has_read(client)
        server.go("broken")
        assert [client.response().body, client.response().body] == [b"slow", b"hello"]
        assert client.response().status == 400
        assert client.is_closed()
