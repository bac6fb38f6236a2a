"""Request heads: limits on size and time, and no ambiguous ones (request smuggling)."""

import json
import select
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sample_app import LONG_TIMEOUTS, Running, running
from smuggling import AMBIGUOUS, BAD_CHUNKS, CHUNKED, HIDDEN, POST


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("server")) as server:
        yield server


# SEC-96
@pytest.mark.parametrize("header", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_an_ambiguous_head_is_refused_and_nothing_after_it_is_parsed(server: Running, header: bytes) -> None:
    with server.client() as client:
        client.send(POST + header + b"\r\n\r\n" + b"5\r\nhello\r\n0\r\n\r\n" + HIDDEN)
        refusal = client.response()
        assert refusal.status == 400
        assert refusal.headers["connection"] == "close"
        assert client.is_closed()


@pytest.mark.parametrize("header", [b"Content-Length: 5", b"Content-Length:   5 ", b"Content-Length: 005"])
def test_an_unambiguous_length_is_accepted(server: Running, header: bytes) -> None:
    with server.client() as client:
        client.send(POST + header + b"\r\n\r\nhello" + HIDDEN)
        assert json.loads(client.response().body)["body"] == "hello"
        assert client.response().body == b"hello"


# SEC-97
@pytest.mark.parametrize("chunks", BAD_CHUNKS)
def test_bad_chunks_are_refused_and_nothing_after_them_is_parsed(server: Running, chunks: bytes) -> None:
    with server.client() as client:
        client.send(CHUNKED + chunks + HIDDEN)
        assert client.response().status == 400
        assert client.is_closed()


def test_trailers_do_not_become_headers(server: Running) -> None:
    with server.client() as client:
        client.send(CHUNKED + b"5\r\nhello\r\n0\r\nX-Roles: admin\r\nHost: evil\r\n\r\n" + HIDDEN)
        found = json.loads(client.response().body)
        assert found["body"] == "hello"
        assert [name for name, _ in found["headers"]] == ["host", "transfer-encoding"]
        assert client.response().body == b"hello"


@pytest.mark.parametrize("start", [b"5;", b"5\r\nhello\r\n0\r\nTrailer: "])
def test_an_endless_extension_or_trailer_is_refused(server: Running, start: bytes) -> None:
    with server.client() as client:
        client.send(CHUNKED + start)
        server.has_read(client)
        for _ in range(8):
            client.send(b"x" * 65536)
        assert client.response().status == 400


# SEC-98
@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"x" * (1 << 20) + b" HTTP/1.1\r\n", 414),
        (b"GET /" + b"x" * (16 << 10) + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * (1 << 20) + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * (16 << 10) + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"X: " + b"x" * 16000 + b"\r\n") * 5 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X%d: a\r\n" % n for n in range(10000)) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * 300 + b"\r\n", 431),
    ],
    ids=[
        "URL of 1 MiB",
        "URL of 16 KiB",
        "line of 1 MiB",
        "line of 16 KiB",
        "80 KiB",
        "10,000 headers",
        "300 headers",
    ],
)
def test_a_head_that_is_too_large_is_refused(server: Running, request_: bytes, status: int) -> None:
    with server.client() as client:
        client.send(request_)
        refusal = client.response()
        assert refusal.status == status
        assert refusal.headers["connection"] == "close"
        assert client.is_closed()


def test_an_endless_header_is_refused_before_it_ends(server: Running) -> None:
    with server.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        for _ in range(20):
            client.send(b"x" * 8192)
            server.has_read(client)
        assert client.response().status == 431


def test_a_head_within_the_limits_is_accepted(server: Running) -> None:
    with server.client() as client:
        headers = "".join(f"X{n}: {'x' * 1000}\r\n" for n in range(60))
        assert client.get("/hello", headers).body == b"hello"
        assert client.get("/hello?" + "x" * 16000).body == b"hello"


# SEC-105
@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /hello HTTP/1.1\r\n\r\n", 400),
        (b"GET /hello HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET /hello HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET /hello HTTP/1.1\nHost: a\n\n", 400),
        (b"GET /hello\r\n\r\n", 400),
        (b"GET /hello HTTP/0.9\r\n\r\n", 400),
        (b"GET /hello HTTP/1.2\r\nHost: a\r\n\r\n", 400),
        (b"GET /hello HTTP/2.0\r\nHost: a\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://a:99999/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://b/hello HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://a:8080/hello HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://a/hello HTTP/1.1\r\nHost: a:443\r\n\r\n", 400),
        (b"GET http://a/hello HTTP/1.1\r\nHost:\r\n\r\n", 400),
        (b"GET http://a@a/hello HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET ftp://a/hello HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET  /hello HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /hello RTSP/1.0\r\nHost: a\r\n\r\n", 400),
        (b"G\xffT /hello HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"get /hello HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"FROBNICATE /hello HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"POST /upload HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
)
def test_what_is_not_a_request_to_this_server_is_refused(server: Running, request_: bytes, status: int) -> None:
    with server.client() as client:
        client.send(request_)
        refusal = client.response()
        assert refusal.status == status
        assert refusal.headers["connection"] == "close"
        assert client.is_closed()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /hello HTTP/1.0\r\n\r\n",
        b"GET http://a/hello HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET HTTP://A:80/hello HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET https://a/hello HTTP/1.1\r\nHost: a:443\r\n\r\n",
        b"GET http://[::1]:9292/hello HTTP/1.1\r\nHost: [::1]:9292\r\n\r\n",
        b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://b/hello HTTP/1.0\r\n\r\n",
        b"\r\n\r\nGET /hello HTTP/1.1\r\nHost: [::1]:9292\r\n\r\n",
        b"GET /h%65llo HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_unusual_requests_are_answered(server: Running, request_: bytes) -> None:
    with server.client() as client:
        client.send(request_)
        assert client.response().body == b"hello"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_upgrade_header_is_ignored(server: Running, size: int) -> None:
    wish = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"
    data = POST + wish + b"Content-Length: 5\r\n\r\nhello" + POST + wish + b"\r\n" + HIDDEN
    with server.client() as client:
        for start in range(0, len(data), size):
            client.send(data[start : start + size])
        found = json.loads(client.response().body)
        assert found["body"] == "hello"
        assert "upgrade" not in dict(found["headers"])
        assert json.loads(client.response().body)["body"] == ""
        assert client.response().body == b"hello"


def test_header_names_keep_underscores_and_values_lose_surrounding_whitespace(server: Running) -> None:
    with server.client() as client:
        found = json.loads(client.get("/scope", "X_Roles: admin\r\nX-Auth-Token:   abc \t\r\n").body)
        assert ["x_roles", "admin"] in found["headers"]
        assert ["x-auth-token", "abc"] in found["headers"]


# SEC-99
@pytest.mark.parametrize("value", ["a%0d%0aSet-Cookie:%20x", "a%0ab", "a%0db", "a%00b"])
def test_a_header_that_would_split_the_response_is_not_sent(server: Running, value: str) -> None:
    with server.client() as client:
        response = client.get(f"/header?v={value}")
        assert response.status == 500
        assert set(response.headers) == {
            "date", "content-type", "content-length", "x-content-type-options", "connection",
        }  # fmt: skip


def test_a_refusal_waits_for_the_responses_before_it(server: Running) -> None:
    with server.client() as client:
        slow = b"GET /slow?until=refused HTTP/1.1\r\nHost: a\r\n\r\n"
        client.send(slow + HIDDEN + b"GET / HTTP/1.1\r\n\r\n" + HIDDEN)
        server.has_read(client)
        server.go("refused")
        assert client.response().body == b"slow"
        assert client.response().body == b"hello"
        assert client.response().status == 400
        assert client.is_closed()


def test_nothing_is_read_after_a_last_request(server: Running) -> None:
    with server.client() as client:
        client.send(b"GET /slow?until=last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + HIDDEN)
        server.has_read(client)
        server.go("last")
        assert client.response().body == b"slow"
        assert client.is_closed()


def test_pipelined_requests_are_answered_in_order_and_not_queued_without_end(server: Running) -> None:
    with server.client() as client:
        client.send(HIDDEN * 200)
        for _ in range(200):
            assert client.response().body == b"hello"
    with server.client() as client:
        client.send(b"GET /slow?until=queued HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN * 1000)
        server.has_read(client)
        server.go("queued")
        assert client.response().body == b"slow"
        statuses = [client.response().status for _ in range(257)]
        assert statuses == [200] * 256 + [400]
        assert client.is_closed()


# SEC-90
def test_slow_heads_time_out_while_others_are_served(tmp_path: Path) -> None:
    with running(tmp_path, replace(LONG_TIMEOUTS, head_seconds=600)) as server, server.client() as other:
        trickling = [server.client() for _ in range(32)]
        for byte in b"GET /hello HTTP/1.1\r\n":
            for client in trickling:
                client.send(bytes([byte]))
                server.has_read(client)
            assert other.get("/hello").body == b"hello"
            assert select.select([client.socket for client in trickling], [], [], 0)[0] == []
            server.pass_time(28)  # 588 for all of them
        server.pass_time(13)
        for client in trickling:
            assert client.response().status == 408
            client.socket.close()
        assert other.get("/hello").body == b"hello"


def test_a_connection_without_a_request_ends(tmp_path: Path) -> None:
    with running(tmp_path / "silent", replace(LONG_TIMEOUTS, keep_alive=0.3)) as server, server.client() as silent:
        assert silent.is_closed()
    with running(tmp_path / "blank", replace(LONG_TIMEOUTS, head_seconds=0.4)) as server, server.client() as blank:
        blank.send(b"\r\n")
        assert blank.response().status == 408
    with running(tmp_path / "kept", replace(LONG_TIMEOUTS, keep_alive=600)) as server, server.client() as kept:
        for _ in range(2):
            assert kept.get("/hello").body == b"hello"
            server.pass_time(599)
        assert kept.get("/hello").body == b"hello"
        server.pass_time(601)
        assert kept.is_closed()


def test_a_half_sent_next_request_does_not_end_the_response_before_it(tmp_path: Path) -> None:
    with (
        running(tmp_path, replace(LONG_TIMEOUTS, head_seconds=600, keep_alive=600)) as server,
        server.client() as client,
    ):
        client.send(b"GET /slow?until=late HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HT")
        server.has_read(client)
        server.pass_time(601)
        server.go("late")
        assert client.response().body == b"slow"
        server.pass_time(599)
        client.send(b"TP/1.1\r\nHost: a\r\n\r\n")
        assert client.response().body == b"hello"
        client.send(b"GET /hello HT")
        server.has_read(client)
        server.pass_time(601)
        assert client.response().status == 408


def test_a_half_sent_next_request_times_out(tmp_path: Path) -> None:
    with running(tmp_path, replace(LONG_TIMEOUTS, head_seconds=600)) as server, server.client() as client:
        client.send(b"GET /slow?until=late HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HT")
        server.has_read(client)
        server.pass_time(601)  # As long as a response is due, a partial head does not time out.
        server.go("late")
        assert client.response().body == b"slow"
        server.pass_time(601)
        assert client.response().status == 408


# UNI-03
@pytest.mark.parametrize("before", [b"", b"\r\n", HIDDEN], ids=["first", "after a blank line", "after another"])
@pytest.mark.parametrize("pieces", [1, 3, 1000])
def test_utf8_in_the_target_is_percent_encoded(server: Running, before: bytes, pieces: int) -> None:
    data = "GET /scope?name=ü☃ HTTP/1.1\r\nHost: a\r\nX-Latin: \xe9\r\n\r\n".encode()
    with server.client() as client:
        if before:
            client.send(before)
            if before == HIDDEN:
                assert client.response().body == b"hello"
        step = -(-len(data) // pieces)
        for start in range(0, len(data), step):
            client.send(data[start : start + step])
        found = json.loads(client.response().body)
    assert found["query"] == "name=%C3%BC%E2%98%83"
    assert ["x-latin", "\xe9".encode().decode("latin-1")] in found["headers"]


# SEC-105
@pytest.mark.parametrize(
    "head",
    [
        b"POST /scope HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n",
        b"POST /scope HTTP/2.0\r\nHost: a\r\nContent-Length: 5\r\n",
        b"POST /scope HTTP/1.1\r\nContent-Length: 5\r\n",
    ],
)
def test_an_upgrade_header_does_not_bypass_the_checks(server: Running, head: bytes) -> None:
    with server.client() as client:
        client.send(head + b"Connection: Upgrade\r\nUpgrade: x\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + HIDDEN)
        assert client.response().status == 400
        assert client.is_closed()
