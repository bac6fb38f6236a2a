"""Malformed, aborted and slow requests store nothing and delay no other client."""

import contextlib
import random
import select
import socket
import statistics
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_wire import Running, eventually, running

KIB = 1024
#: A busy machine gets so many tries at a figure.
TRIES = 3
#: A head that takes longer may be refused; only a very slow machine makes the test take so long.
HEAD_SECONDS = 15
RESET = struct.pack("ii", 1, 0)
TYPE = b"Content-Type: application/octet-stream\r\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("broken"), None, "--workers", "2") as found:
        # The second one starts when the first is ready, and what is counted here is counted of both.
        eventually(lambda: found.service.log.read_text().count("is ready") == 2)
        yield found


def head(image: str, *lines: bytes) -> bytes:
    return b"PUT /v2/images/%s/file HTTP/1.1\r\nHost: localhost\r\n%s%s\r\n" % (
        image.encode(),
        TYPE,
        b"".join(line + b"\r\n" for line in lines),
    )


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


CHUNKED = b"Transfer-Encoding: chunked"
BODY = bytes(range(256)) * 256

#: What is sent after the path, how the connection ends, and whether there must be an answer.
BROKEN: dict[str, tuple[tuple[bytes, ...], bytes, str, bool]] = {
    "unreadable chunk size": ((CHUNKED,), chunk(BODY) + b"xyz\r\n" + BODY, "read", True),
    "negative chunk size": ((CHUNKED,), chunk(BODY) + b"-5\r\nabcde\r\n0\r\n\r\n", "read", True),
    "enormous chunk size": ((CHUNKED,), chunk(BODY) + b"f" * 40 + b"\r\n" + BODY, "read", True),
    "chunk longer than its size": ((CHUNKED,), b"10\r\n" + BODY + b"\r\n0\r\n\r\n", "read", True),
    "no last chunk, closed": ((CHUNKED,), chunk(BODY) * 20, "close", False),
    "no last chunk, reset": ((CHUNKED,), chunk(BODY) * 20, "reset", False),
    "no last chunk, half-closed": ((CHUNKED,), chunk(BODY) * 20, "half-close", False),
    "half a chunk, half-closed": ((CHUNKED,), chunk(BODY) + b"10000\r\n" + BODY[:100], "half-close", False),
    "shorter than Content-Length, closed": ((b"Content-Length: 99999",), BODY, "close", False),
    "shorter than Content-Length, reset": ((b"Content-Length: 99999",), BODY, "reset", False),
    "shorter than Content-Length, half-closed": ((b"Content-Length: 99999",), BODY, "half-close", False),
    "no body at all, half-closed": ((b"Content-Length: 99999",), b"", "half-close", False),
    "one byte too few, half-closed": ((b"Content-Length: 65537",), BODY, "half-close", False),
    "two lengths": ((b"Content-Length: 65536", b"Content-Length: 3"), BODY, "read", True),
    "length and chunks": ((b"Content-Length: 65536", CHUNKED), BODY, "read", True),
    "a length that is none": ((b"Content-Length: +65536",), BODY, "read", True),
    "announced more": ((b"Content-Length: 65536", b"X-OpenStack-Image-Size: 65537"), BODY, "read", True),
    "announced less": ((b"Content-Length: 65536", b"X-OpenStack-Image-Size: 65535"), BODY, "read", True),
    "announced less, chunked": ((CHUNKED, b"X-OpenStack-Image-Size: 9"), chunk(BODY) * 30, "read", True),
    "announced nonsense": ((b"Content-Length: 65536", b"X-OpenStack-Image-Size: many"), BODY, "read", True),
    "more than every limit": (
        (b"Content-Length: 65536", b"X-OpenStack-Image-Size: " + b"9" * 30),
        BODY,
        "read",
        True,
    ),
    "reads nothing of the answer": ((CHUNKED, b"X-OpenStack-Image-Size: 9"), chunk(BODY) * 30, "close", False),
}


def misbehave(run: Running, image: str, kind: str) -> bytes:
    """Be one broken client; return what was answered."""
    lines, body, end, answered = BROKEN[kind]
    got = b""
    with socket.create_connection(("127.0.0.1", run.port), timeout=60) as client:
        with contextlib.suppress(ConnectionError):  # it may have been refused before everything was sent
            client.sendall(head(image, *lines) + body)
            if end == "half-close":
                client.shutdown(socket.SHUT_WR)
        if end in ("read", "half-close"):
            with contextlib.suppress(ConnectionError):
                while got.count(b"\r\n\r\n") == 0 and (more := client.recv(64 * KIB)):
                    got += more
        elif end == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    assert not answered or got.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")), (kind, got)
    return got


def test_two_hundred_broken_clients_leave_no_rows_files_or_descriptors(run: Running) -> None:
    kinds = [*BROKEN] * (200 // len(BROKEN) + 1)
    images = {kind: run.create(name=kind) for kind in BROKEN}
    before = quiet(run)
    for kind in random.Random(5).sample(kinds, len(kinds))[:200]:
        answer = misbehave(run, images[kind], kind)
        assert not answer.startswith(b"HTTP/1.1 2"), (kind, answer)
        assert not answer.startswith((b"HTTP/1.1 500", b"HTTP/1.1 501")), (kind, answer)
    assert run.ask("GET", "/v2/images")[0] == 200
    run.at_rest()
    assert run.files() == []
    assert {image["status"] for image in run.images()} == {"queued"}
    after = quiet(run)
    assert all(now <= then + 2 for now, then in zip(after, before, strict=True)), (before, after)
    assert "Traceback" not in run.service.log.read_text()
    for image in images.values():
        assert run.upload(image, BODY) == 204
        assert run.data(image) == BODY
        assert run.ask("DELETE", f"/v2/images/{image}")[0] == 204


def quiet(run: Running) -> list[int]:
    """Wait until the workers have no connection left, and return how many descriptors each has open."""
    listening = {f"socket:[{line.split()[9]}]" for line in rows(run.port) if line.split()[3] == "0A"}
    eventually(lambda: not [line for line in rows(run.port) if line.split()[3] not in ("0A", "06")])
    workers = run.service.workers()
    assert all(listening & set(run.service.descriptors(worker)) for worker in workers)
    return [len(run.service.descriptors(worker)) for worker in workers]


def rows(port: int) -> list[str]:
    """Return the kernel's table of TCP sockets whose own side is ``port``."""
    table = Path("/proc/net/tcp").read_text().splitlines()
    return [line for line in table if line.split()[1].endswith(f":{port:04X}")]


def test_trickling_clients_do_not_delay_other_requests(run: Running) -> None:
    images = [run.create(name="slow") for _ in range(32)]
    usual = p90_of_shows(run, images[0])
    body = bytes(range(200)) * 15
    uploads = [(head(image, b"Content-Length: 3000"), body) for image in images]
    asked = b"GET /v2/images/%s HTTP/1.1\r\nHost: localhost\r\nX-Long: %s\r\nConnection: close\r\n\r\n"
    heads = [(b"", asked % (image.encode(), b"x" * 2900)) for image in images]
    clients = [(socket.create_connection(("127.0.0.1", run.port)), *each) for each in uploads + heads]
    began = time.monotonic()
    for client, start, _ in clients:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(start)
    stop = threading.Event()
    most = min(len(slowly) for _, _, slowly in clients) - 1

    def trickle() -> None:
        position = 0
        while position < most and not stop.wait(0.02):
            for client, _, slowly in clients:
                client.sendall(slowly[position : position + 1])
            position += 1
        stop.wait()  # Once the others were measured the rest comes at once.
        for client, _, slowly in clients:
            client.sendall(slowly[position:])

    thread = threading.Thread(target=trickle)
    thread.start()
    found: list[float] = []
    try:
        # They are answered before any client has sent its last byte.
        while len(found) < TRIES and not any(p90 < late_when(usual) for p90 in found):
            found.append(p90_of_shows(run, images[0]))
        answered, _, _ = select.select([client for client, *_ in clients], [], [], 0)
        late = time.monotonic() - began > HEAD_SECONDS
        assert late or not answered
    finally:
        stop.set()
        thread.join(120)
    for client, start, _ in clients:
        client.settimeout(60)
        status = client.recv(12)
        assert status == (b"HTTP/1.1 204" if start else b"HTTP/1.1 200") or (late and status == b"HTTP/1.1 408")
        client.close()
    for image in images:
        assert run.data(image) == body
        assert run.ask("DELETE", f"/v2/images/{image}")[0] == 204
    run.at_rest()
    # And as soon as before or after; the machine may have become busy meanwhile.
    other = run.create()
    usual = max(usual, p90_of_shows(run, other))
    assert min(found) < late_when(usual), (found, usual)


def late_when(usual: float) -> float:
    """Return the seconds that a request waits because of the trickling clients: it takes about ``usual``."""
    return 0.03 + 10 * usual


def p90_of_shows(run: Running, image: str) -> float:
    """Return how long a request of another client takes: nine of ten are quicker."""
    delays = []
    for _ in range(80):
        began = time.monotonic()
        run.show(image)
        delays.append(time.monotonic() - began)
        time.sleep(0.002)
    p90 = statistics.quantiles(delays, n=10)[8]
    print(f"p50 {statistics.median(delays) * 1000:.1f} ms, p90 {p90 * 1000:.1f} ms")
    return p90
