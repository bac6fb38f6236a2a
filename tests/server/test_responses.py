"""Responses: whole or visibly broken, at the pace of the client, and a connection that can be used again."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sample_app import LONG_TIMEOUTS, Running, eventually, running

MIB = 1 << 20
HELLO = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "data").write_bytes(b"0123456789")
    with running(folder, replace(LONG_TIMEOUTS, send_idle=600)) as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_seen(server: Running) -> None:
    assert server.is_idle()
    server.app.seen.queue.clear()


@pytest.mark.parametrize(("size", "count"), [(2 * MIB, 12), (MIB + 1, 5), (1000, 300), (16 << 10, 3), (1, 2)])
def test_a_body_in_pieces_arrives_byte_for_byte(server: Running, size: int, count: int) -> None:
    with server.client() as client:
        for _ in range(2):
            body = client.get(f"/in-pieces?size={size}&count={count}").body
            assert body == b"".join(bytes([number]) * size for number in (each % 256 for each in range(count)))
        assert client.get("/hello").body == b"hello"


def test_send_waits_for_a_client_that_does_not_read(server: Running) -> None:
    with server.client(receive_buffer=4096) as client:
        client.send(b"GET /in-pieces?size=2097152&count=40 HTTP/1.1\r\nHost: a\r\n\r\n")
        connection = server.connection(client)
        eventually(lambda: connection.writer.paused)
        for _ in range(20):
            server.ask(lambda: None)
        sent = server.app.seen.qsize()
        assert sent <= 3  # what the two kernels take
        assert server.ask(connection._transport.get_write_buffer_size) <= 2 * MIB
        assert client.response().body[-1:] == bytes([39])
    assert server.app.seen.qsize() == 40


def test_send_returns_when_the_client_has_room_again(server: Running) -> None:
    with server.client(receive_buffer=4096) as client:
        client.send(b"GET /in-pieces?size=20971520&count=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        connection = server.connection(client)
        eventually(lambda: connection.writer.paused)
        client.read(10 * MIB)
        assert server.ask(server.app.seen.empty)
        client.read(10 * MIB)
        assert server.saw() == ("piece", 0)


@pytest.mark.parametrize("way", ["FIN", "RST"])
def test_a_client_that_goes_ends_the_sending(server: Running, way: str) -> None:
    client = server.client(receive_buffer=4096)
    client.send(b"GET /in-pieces?size=2097152&count=1000 HTTP/1.1\r\nHost: a\r\n\r\n")
    client.read(5 * MIB)
    if way == "FIN":
        client.socket.close()
    else:
        client.reset()
    while (seen := server.saw())[0] == "piece":
        assert seen[1] < 10
    assert seen == ("ConnectionResetError",)
    assert server.is_idle()


@pytest.mark.parametrize(("size", "count"), [(100, 1), (100, 3), (2 * MIB, 2)])
def test_a_body_shorter_than_its_length_breaks_the_connection(server: Running, size: int, count: int) -> None:
    with server.client() as client:
        client.send(f"GET /in-pieces?size={size}&count={count}&more=1 HTTP/1.1\r\nHost: a\r\n\r\n".encode() + HELLO)
        data = client.rest()
    if count == 1:  # Nothing was sent yet: it can still be said.
        assert data.startswith(b"HTTP/1.1 500 ") and b"connection: close" in data
    else:
        assert data.count(b"HTTP/1.1") == 1
        assert len(data.partition(b"\r\n\r\n")[2]) < size * count + 1
    assert server.is_idle()


@pytest.mark.parametrize(("size", "count"), [(100, 1), (100, 3)])
def test_a_body_longer_than_its_length_breaks_the_connection(server: Running, size: int, count: int) -> None:
    with server.client() as client:
        client.send(f"GET /in-pieces?size={size}&count={count}&more=-1 HTTP/1.1\r\nHost: a\r\n\r\n".encode() + HELLO)
        data = client.rest()
    assert data.count(b"HTTP/1.1") == 1
    assert data.startswith(b"HTTP/1.1 500 ") or len(data.partition(b"\r\n\r\n")[2]) < size * count


def test_a_failure_is_an_answer_before_the_first_byte_and_a_broken_connection_after_it(server: Running) -> None:
    with server.client() as client:
        refusal = client.get("/start-and-fail?sent=0")
        assert (refusal.status, refusal.body) == (500, b"Internal server error.")
        assert client.is_closed()
    with server.client() as client:
        client.send(b"GET /start-and-fail?sent=99999 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert len(client.rest().partition(b"\r\n\r\n")[2]) <= 99_999
    assert server.is_idle()


@pytest.mark.parametrize("status", [200, 204, 304])
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_the_connection_goes_on_after_a_response_without_body(server: Running, status: int, method: str) -> None:
    with server.client() as client:
        for _ in range(3):
            client.send(f"{method} /status?status={status} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            response = client.head()
            assert response.status == status
            assert response.headers.get("content-length") == ("0" if status == 200 else None)
            assert "connection" not in response.headers and "transfer-encoding" not in response.headers
        assert client.get("/hello").body == b"hello"


@pytest.mark.parametrize(
    "path", ["/file", "/hello", "/in-pieces?size=1000&count=3", "/in-pieces?size=2097152&count=3"]
)
def test_head_has_the_length_and_no_body(server: Running, path: str) -> None:
    with server.client() as client:
        length = len(client.get(path).body)
        for _ in range(2):
            client.send(f"HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert client.head().headers["content-length"] == str(length)
        assert client.get("/hello").body == b"hello"


@pytest.mark.parametrize("connection", ["", "Connection: keep-alive\r\n", "Connection: close\r\n"])
@pytest.mark.parametrize("path", ["/hello", "/file"])
def test_http_1_0_is_answered_and_closed(server: Running, connection: str, path: str) -> None:
    with server.client() as client:
        client.send(f"GET {path} HTTP/1.0\r\n{connection}\r\n".encode() + HELLO)
        response = client.response()
        assert response.headers["connection"] == "close"
        assert response.body in (b"hello", b"0123456789")
        assert client.is_closed()


def test_http_1_0_gets_no_100_continue(server: Running) -> None:
    with server.client() as client:
        client.send(b"PUT /upload HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        server.has_read(client)
        client.send(b"hello")
        assert client.head().status == 200


# BOD-12
@pytest.mark.parametrize("expect", ["100-continue", "100-Continue", "100-CONTINUE"])
@pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked", "Content-Length: 300000"])
def test_100_continue_is_sent_once_and_before_the_response(server: Running, expect: str, framing: str) -> None:
    body = b"5\r\nhello\r\n0\r\n\r\n" if "chunked" in framing else b"x" * int(framing.split()[1])
    with server.client() as client:
        for _ in range(2):
            client.send(f"PUT /upload HTTP/1.1\r\nHost: a\r\nExpect: {expect}\r\n{framing}\r\n\r\n".encode())
            assert client.head().status == 100
            assert client.buffer == b""
            client.send(body)
            assert client.head().status == 200
            assert len(client.read(64)) == 64
        assert client.get("/hello").body == b"hello"


@pytest.mark.parametrize(
    "head",
    [
        b"Expect: 100-continue\r\nContent-Length: 0\r\n",
        b"Expect: 100-continue\r\n",
        b"Expect: 100-continue, x\r\nContent-Length: 5\r\n",
        b"Expect: 200-ok\r\nContent-Length: 5\r\n",
        b"Expect:\r\nContent-Length: 5\r\n",
    ],
)
def test_no_100_continue_without_a_body_or_for_another_expectation(server: Running, head: bytes) -> None:
    with server.client() as client:
        client.send(b"PUT /upload HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n")
        server.has_read(client)
        client.send(b"hello" if b"Length: 5" in head else b"")
        assert client.head().status == 200


def test_no_100_continue_is_sent_inside_a_response(server: Running) -> None:
    with server.client() as client:
        head = b"PUT /answer-and-read HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        client.send(head)
        assert client.head().headers["connection"] == "close"  # or the body that may still come is the next request
        client.send(b"hello")
        assert client.read(4) == b"half"
        assert server.saw() == ("body", b"hello")
        assert client.is_closed()


def test_100_continue_waits_for_the_responses_before_it(server: Running) -> None:
    with server.client() as client:
        slow = b"GET /slow?until=continued HTTP/1.1\r\nHost: a\r\n\r\n"
        client.send(slow + b"PUT /upload HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        server.has_read(client)
        server.go("continued")
        assert client.response().body == b"slow"
        assert client.head().status == 100
        client.send(b"hello")
        assert client.response().status == 200


def test_a_client_that_ends_its_side_gets_a_body_in_pieces(server: Running) -> None:
    with server.client(receive_buffer=4096) as client:
        client.send(b"GET /in-pieces?size=2097152&count=3 HTTP/1.1\r\nHost: a\r\n\r\n")
        client.socket.shutdown(socket.SHUT_WR)
        assert len(client.response().body) == 6 * MIB
        assert client.is_closed()


def test_a_file_waits_for_what_the_client_has_not_taken_yet(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"file" * 1000)
    hello = b"GET /in-pieces?size=70000&count=1 HTTP/1.1\r\nHost: a\r\n\r\n"
    with running(tmp_path, send_buffer=4096) as server, server.client(receive_buffer=4096) as client:
        client.send((hello + b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n") * 5)
        for _ in range(5):
            assert client.response().body == bytes(70_000)
            assert client.response().body == b"file" * 1000


def test_large_pieces_of_many_clients_do_not_mix(server: Running) -> None:
    wrong = []

    def ask(number: int) -> None:
        with server.client() as client:
            for count in (3, 7):
                size = MIB + number
                body = client.get(f"/in-pieces?size={size}&count={count}").body
                if body != b"".join(bytes([each]) * size for each in range(count)):
                    wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# SEC-90
def test_an_idle_client_of_a_body_in_pieces_is_aborted(server: Running) -> None:
    with server.client(receive_buffer=4096) as client:
        client.send(b"GET /in-pieces?size=2097152&count=40 HTTP/1.1\r\nHost: a\r\n\r\n")
        connection = server.connection(client)
        eventually(lambda: connection.writer.paused)
        server.pass_time(599)
        server.goes_by(600, lambda: not server.state.connections)
        while (seen := server.saw())[0] == "piece":
            pass
        assert seen == ("ConnectionResetError",)
