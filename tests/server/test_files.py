"""Files sent with sendfile: every byte arrives, and no descriptor stays open."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sample_app import LONG_TIMEOUTS, Running, eventually, running

SIZE = 24 << 20


@pytest.fixture(scope="module")
def data() -> bytes:
    return random.Random(1).randbytes(SIZE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "data").write_bytes(data)
    with running(folder, replace(LONG_TIMEOUTS, send_idle=600)) as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_seen(server: Running) -> None:
    assert server.is_idle()
    server.app.seen.queue.clear()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def no_more_files_than(limit: int) -> None:
    eventually(lambda: open_files() <= limit)


def test_a_whole_file_arrives_and_the_connection_goes_on(server: Running, data: bytes) -> None:
    with server.client() as client:
        assert client.get("/file").body == data
        assert client.get("/hello").body == b"hello"
        client.send(b"HEAD /file HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.head().headers["content-length"] == str(SIZE)
        assert client.get("/hello").body == b"hello"


def test_random_ranges_between_small_requests_are_exact(server: Running, data: bytes) -> None:
    chance = random.Random(2)
    with server.client() as client:
        for _ in range(60):
            first = chance.randrange(SIZE)
            last = min(SIZE - 1, first + chance.choice([0, 1, 1000, 70_000, 6_000_000]))
            assert client.get("/file", f"Range: bytes={first}-{last}\r\n").body == data[first : last + 1]
            assert client.get("/hello").body == b"hello"


def test_pipelined_ranges_are_exact(server: Running, data: bytes) -> None:
    chance = random.Random(3)
    ranges = [
        (first, first + chance.randrange(300_000)) for first in (chance.randrange(SIZE // 2) for _ in range(40))
    ]
    with server.client() as client:
        for first, last in ranges:
            client.send(f"GET /file HTTP/1.1\r\nHost: a\r\nRange: bytes={first}-{last}\r\n\r\n".encode())
            client.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        for first, last in ranges:
            assert client.response().body == data[first : last + 1]
            assert client.response().body == b"hello"


def test_an_upload_and_a_file_share_a_connection(server: Running, data: bytes) -> None:
    with server.client() as client:
        client.send(b"PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n" + bytes(3_000_000))
        client.send(b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.response().status == 200
        assert client.response().body == data


def test_a_last_request_gets_its_whole_file(server: Running, data: bytes) -> None:
    with server.client() as client:
        assert client.get("/file", "Connection: close\r\n").body == data
        assert client.is_closed()


def test_a_file_shorter_than_its_content_length_ends_the_connection(server: Running, data: bytes) -> None:
    with server.client() as client:
        client.send(b"GET /file?more=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.head().headers["content-length"] == str(SIZE + 1)
        assert len(client.rest()) <= SIZE
    assert server.saw() == ("BlobDamaged",)  # IMG-DL-07


@pytest.mark.parametrize("way", ["FIN", "RST"])
def test_aborted_downloads_leave_nothing_open(server: Running, way: str) -> None:
    before = open_files()
    for taken in (0, 1, 100_000) * 5:
        client = server.client()
        client.send(b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n")
        if taken:
            client.read(taken)
        if way == "FIN":
            client.socket.close()
        else:
            client.reset()
    assert [server.saw() for _ in range(15)] == [("ConnectionResetError",)] * 15
    assert server.is_idle()
    no_more_files_than(before)


def test_idle_readers_are_aborted_and_hold_no_thread(server: Running) -> None:
    before = open_files()
    still = [server.client(receive_buffer=65536) for _ in range(30)]
    for client in still:
        client.send(b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n")
    for client in still:  # If they took threads, there would be none for most of them.
        assert client.head().status == 206
        client.read(1)
    with server.client() as other:
        assert len(other.get("/file", "Range: bytes=0-99999\r\n").body) == 100_000
    assert server.saw() == ("sent", 100_000)
    server.pass_time(599)
    assert server.ask(server.app.seen.empty)
    server.goes_by(600, lambda: server.app.seen.qsize() == len(still))
    assert [server.saw() for _ in still] == [("ConnectionResetError",)] * 30
    for client in still:
        client.socket.close()
    assert server.is_idle()
    no_more_files_than(before)


def test_a_slow_reader_gets_its_file(server: Running, data: bytes) -> None:
    with server.client(receive_buffer=65536) as client:
        client.send(b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n")
        connection = server.connection(client)
        for _ in range(20):
            before = server.ask(connection.writer.unsent)
            while server.ask(connection.writer.unsent) == before:
                client.buffer += client.socket.recv(2000)
            server.pass_time(550)
        assert server.ask(server.app.seen.empty)
        assert client.response().body == data


def test_a_cancelled_download_ends_the_connection_after_its_thread(server: Running) -> None:
    with server.client(receive_buffer=65536) as client:
        client.send(b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.head().status == 206
        for task in list(server.state.tasks):
            server.loop.call_soon_threadsafe(task.cancel)
        assert server.saw() == ("CancelledError",)
        assert len(client.rest()) < SIZE
    assert server.is_idle()
