"""Malformed and excessive input over sockets: the service answers or disconnects, and serves others meanwhile."""

import os
import random
import resource
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sample_app import eventually

from ferrotype.testing.callers_process import ConsistencyChecker, KeepAliveClient, served_to_callers
from ferrotype.testing.client import PATCH
from ferrotype.testing.process import Served

TOKEN = "ann.p1.member-reader"
MIB = 1 << 20
#: How much more memory than at rest a worker may have after whatever was sent.
MORE = 64 * MIB
IDLE = 10_000
MUTANTS = 3000


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Served]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # The service inherits it.
    try:
        with served_to_callers(tmp_path) as service:
            yield service
            assert "Traceback" not in service.log.read_text(), service.log.read_text()[-3000:]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def memory(service: Served) -> int:
    """Return the bytes of memory that the one worker has."""
    (worker,) = service.workers()
    pages = int(Path(f"/proc/{worker}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def open_files(worker: int) -> int:
    return len(os.listdir(f"/proc/{worker}/fd"))  # noqa: PTH208  quicker, where there are thousands


def is_well(service: Served) -> None:
    with KeepAliveClient(service.port) as ask:
        assert ask("GET", "/healthcheck").status == 200
        assert ask("GET", "/v2/images", TOKEN).status == 200


def test_ten_thousand_idle_connections_are_held_and_released(service: Served) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(IDLE, most - 500)
    if count < IDLE:
        print(f"a process may have {most} open files here, so there are {count} connections")
    is_well(service)
    (worker,) = service.workers()
    before, open_before = memory(service), open_files(worker)
    idle: list[socket.socket] = []
    try:
        for number in range(count):
            one = socket.create_connection(("127.0.0.1", service.port), timeout=60)
            idle.append(one)
            match number % 16:  # some have asked something, some are in the middle of a head or a body
                case 1:
                    one.sendall(b"GET /healthcheck HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                case 2:
                    one.sendall(b"GET /v2/images HTTP/1.1\r\nHost: 127.0.0.1\r\nX-")
                case 3:
                    one.sendall(b"POST /v2/images HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{")
        eventually(lambda: open_files(worker) >= open_before + count * 0.9)  # Those in a head may be gone by now.
        for _ in range(20):
            is_well(service)
        print(f"{count} connections, {(memory(service) - before) / MIB:.1f} MiB more")
        assert memory(service) - before < 2 * MORE
    finally:
        for one in idle:
            one.close()
    eventually(lambda: open_files(worker) <= open_before + 20)
    is_well(service)
    assert service.workers() == [worker]


def requests(image: str) -> list[bytes]:
    """Return requests as they should be, one of each kind."""

    def one(method: str, path: str, body: bytes = b"", *lines: str) -> bytes:
        head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"X-Auth-Token: {TOKEN}", *lines]
        return "\r\n".join([*head, "", ""]).encode() + body

    chunks = b"5;a=b\r\nfirst\r\n6\r\nsecond\r\n0\r\nTrailer: x\r\n\r\n"
    document = b'{"name": "n", "tags": ["a", "b"], "disk_format": "raw", "min_ram": 7, "x": "y"}'
    patch = b'[{"op": "replace", "path": "/name", "value": "m"}, {"op": "add", "path": "/a~1b", "value": "v"}]'
    octets = "Content-Type: application/octet-stream"
    return [
        one(
            "GET",
            "/v2/images?limit=2&sort=name:asc,created_at:desc&name=in:%22a%22,b&created_at=gt:2020-01-01T00:00:00Z",
        ),
        one("GET", f"{image}/file", b"", "Range: bytes=0-3", 'If-Range: "x"', "Connection: close"),
        one("POST", "/v2/images", document, f"Content-Length: {len(document)}", "Content-Type: application/json"),
        one("POST", "/v2/images", b"%x\r\n%s\r\n0\r\n\r\n" % (len(document), document), "Transfer-Encoding: chunked"),
        one("PATCH", image, patch, f"Content-Type: {PATCH}; charset=utf-8", f"Content-Length: {len(patch)}"),
        one("PUT", f"{image}/file", chunks, octets, "Transfer-Encoding: chunked", "Expect: 100-continue"),
        one("PUT", f"{image}/file", b"data", octets, "Content-Length: 4", "X-OpenStack-Image-Size: 4"),
        one("PUT", f"{image}/tags/%C3%A4"),
        one("POST", f"{image}/members", b'{"member": "m1"}', "Content-Length: 16"),
        one("OPTIONS", "/v2/images", b"", "Origin: http://127.0.0.1", "Access-Control-Request-Method: PUT"),
        one("GET", "/", b"", "Accept: text/html;q=0.5, application/json", "X-OpenStack-Request-ID: req-1"),
    ]


#: byte strings with a meaning in HTTP, URLs or JSON
TELLING = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b":",
    b",",
    b";",
    b"%",
    b"%00",
    b"%ff",
    b"\xff",
    b"\xc0\xaf",
    b'"',
    b"\\",
    b"{",
    b"[",
]
TELLING += [
    b"\r\n\r\n",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: a\r\n",
    b"ffffffffffffffff",
    b"-1",
]
TELLING += [
    b"X: " + b"y" * 70_000 + b"\r\n",
    b"X: y\r\n" * 500,
    b"a" * 5000,
    b"Upgrade: h2c\r\n",
    b"HTTP/0.9",
    b"\\ud800",
]


def mutant(choice: random.Random, kinds: list[bytes]) -> bytes:
    """Return one to three requests in a row with a few bytes changed, put in, taken out or said twice."""
    data = bytearray(b"".join(choice.choice(kinds) for _ in range(choice.choice([1, 1, 2, 3]))))
    for _ in range(choice.choice([1, 1, 2, 4, 8])):
        at = choice.randrange(len(data))
        match choice.randrange(6):
            case 0:
                data[at] ^= 1 << choice.randrange(8)
            case 1:
                data[at] = choice.randrange(256)
            case 2:
                data[at:at] = choice.choice(TELLING)
            case 3:
                del data[at : at + choice.choice([1, 2, 10, 100])]
            case 4:
                data[at:at] = data[at : at + choice.choice([1, 5, 50])]
            case _:
                del data[max(at, 1) :]
        data = data or bytearray(b"G")
    return bytes(data)


def sent(port: int, data: bytes) -> bytes:
    """Send bytes, say that this is all, and return everything that is answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as one:
        answer = b""
        try:
            one.sendall(data)
            one.shutdown(socket.SHUT_WR)
            while more := one.recv(1 << 16):
                answer += more
        except (ConnectionResetError, BrokenPipeError):  # That is an answer, too.
            return answer
        return answer


def test_mutated_requests_are_answered_or_disconnected(
    service: Served, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with KeepAliveClient(service.port) as ask:
        document = {"disk_format": "raw", "container_format": "bare"}
        image = ask("POST", "/v2/images", TOKEN, json=document).json["self"]
    kinds = requests(image)
    for kind in kinds:
        assert sent(service.port, kind).startswith(
            (b"HTTP/1.1 2", b"HTTP/1.1 300", b"HTTP/1.1 409", b"HTTP/1.1 100")
        ), kind
    choice = random.Random(2026)
    (worker,) = service.workers()
    before = memory(service)
    seen: Counter[bytes] = Counter()

    def send(data: bytes) -> None:
        lines = [line for line in sent(service.port, data).split(b"\r\n") if line.startswith(b"HTTP/1.")]
        seen.update(line[9:12] for line in lines or [b"HTTP/1.1 none"])
        assert not any(line[9:12] in (b"500", b"502", b"503", b"504") for line in lines), (data, lines)

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(send, [mutant(choice, kinds) for _ in range(MUTANTS)]))
    print(
        {status.decode(): number for status, number in seen.most_common()},
        f"{(memory(service) - before) / MIB:.1f} MiB",
    )
    assert service.workers() == [worker]
    assert memory(service) - before < MORE
    assert {b"200", b"400", b"404", b"415", b"431"} <= seen.keys()
    is_well(service)
    account = ConsistencyChecker(tmp_path)
    try:
        assert account.differences() == []
    finally:
        account.close()
