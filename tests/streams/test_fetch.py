"""Requests to other servers: good ones, bad ones, redirects, names that change, certificates, and every limit."""

import asyncio
import datetime
import ipaddress
import os
import random
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop
from remote import INTERNAL, PUBLIC, File, Handler, dns, fetcher, remote, respond, tripwire

from ferrotype.config.filtering import Filtering
from ferrotype.model.errors import FetchChanged, FetchDenied, FetchError, FetchNotFound, URLRefused
from ferrotype.model.external import Validators
from ferrotype.streams.fetch import MAX_REDIRECTS, Fetcher, tls_context
from ferrotype.streams.http_client import MAX_INTERIM, FetchLimits

DATA = os.urandom(3 * (1 << 20) + 17)
QUICK = FetchLimits(
    connect=2, head=0.5, silence=0.5, slow_bytes=4096, slow_seconds=0.6, head_bytes=8192, head_lines=50
)


async def content(
    client: Fetcher, url: str, offset: int = 0, count: int | None = None, expected: Validators | None = None
) -> bytes:
    response = await client.get(url, offset, count, expected)
    try:
        chunks = [chunk async for chunk in response.chunks()]
    finally:
        response.close()
    assert all(0 < len(chunk) <= 1 << 20 for chunk in chunks)
    return b"".join(chunks)


def run(work: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # the loop of the service
        runner.run(asyncio.wait_for(work(), 60))  # type: ignore[arg-type]


def fails(handler: Handler, error: type[Exception] = FetchError, limits: FetchLimits = QUICK, **more: Any) -> str:
    """Return the text with which reading from this server fails."""
    found = []

    async def read() -> None:
        async with remote(handler) as server:
            with pytest.raises(error) as caught:
                await content(fetcher(limits=limits), server.url(), **more)
            assert type(caught.value) is error
            found.append(str(caught.value))

    run(read)
    return found[0]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, (1 << 20) + 1, len(DATA)])
def test_any_part_of_a_file_is_read(size: int, ranges: bool, chunked: bool) -> None:
    async def read() -> None:
        file = File(DATA[:size], ranges=ranges)
        file.chunked = chunked
        async with remote(file) as server:
            client = fetcher()
            parts = {
                (0, None),
                (0, 1),
                (size // 2, 10),
                (max(size - 1, 0), 1),
                (size // 3, None),
                (size, 1),
                (0, size),
            }
            for offset, count in parts:
                wanted = file.data[offset:] if count is None else file.data[offset : offset + count]
                if count != 0:
                    assert await content(client, server.url(), offset, count) == wanted, (offset, count)
            # SEC-44, IMP-47: no encodings; the whole is asked for without a range
            assert all("\r\nAccept-Encoding: identity\r\n" in head for head in server.heads)
            assert any("\r\nRange:" not in head for head in server.heads)

    run(read)


def test_a_request_says_no_more_than_it_must(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text(f"machine {PUBLIC} login u password canary\n")
    for name, value in {
        "http_proxy": f"http://u:canary@{INTERNAL}:9/", "HTTP_PROXY": f"http://{INTERNAL}:9/", "HOME": str(tmp_path),
        "NETRC": str(tmp_path / ".netrc"), "ALL_PROXY": f"http://{INTERNAL}:9/",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)

    async def read() -> None:
        async with remote(File(b"data")) as server:
            assert await content(fetcher(), server.url("/a/../b?x=%20")) == b"data"
            assert server.heads == [  # SEC-46
                f"GET /a/../b?x=%20 HTTP/1.1\r\nHost: {PUBLIC}:{server.port}\r\nUser-Agent: ferrotype\r\n"
                "Accept: */*\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n"
            ]

    run(read)


# Servers that misbehave: SEC-44, IMP-47

OK = "HTTP/1.1 200 OK\n"
BAD_HEADS = {
    "no HTTP": respond("SSH-2.0-OpenSSH_9.2"),
    "HTTP/0.9": respond("<html>"),
    "two lengths": respond(f"{OK}Content-Length: 4\nContent-Length: 5", b"12345"),
    "equal lengths": respond(f"{OK}Content-Length: 4, 4", b"1234"),
    "length and coding": respond(f"{OK}Content-Length: 4\nTransfer-Encoding: chunked", b"4\r\n1234\r\n0\r\n\r\n"),
    "negative length": respond(f"{OK}Content-Length: -4", b"1234"),
    "signed length": respond(f"{OK}Content-Length: +4", b"1234"),
    "huge length": respond(f"{OK}Content-Length: {'9' * 30}", b"1234"),
    "unknown coding": respond(f"{OK}Transfer-Encoding: gzip, chunked", b"4\r\n1234\r\n0\r\n\r\n"),
    "chunks in HTTP/1.0": respond("HTTP/1.0 200 OK\nTransfer-Encoding: chunked", b"4\r\n1234\r\n0\r\n\r\n"),
    "gzip": respond(f"{OK}Content-Length: 4\nContent-Encoding: gzip", b"1234"),
    "identity, gzip": respond(f"{OK}Content-Length: 4\nContent-Encoding: identity, gzip", b"1234"),
    "another protocol": respond("HTTP/1.1 101 Switching\nUpgrade: x\nConnection: upgrade", b"1234"),
    "no content": respond("HTTP/1.1 204 No Content"),
    "a part that nobody asked for": respond("HTTP/1.1 206 P\nContent-Length: 4\nContent-Range: bytes 0-3/9", b"1234"),
    "500": respond("HTTP/1.1 500 Oops\nContent-Length: 0"),
    "redirect without a place": respond("HTTP/1.1 302 Found\nContent-Length: 0"),
    "header line without end": respond(f"{OK}X: {'x' * 20_000}", b""),
    "too many headers": respond(OK + "\n".join(f"X-{number}: y" for number in range(60))),
    "interim without end": respond("\r\n\r\n".join(["HTTP/1.1 103 Hints\r\nLink: x"] * (MAX_INTERIM + 2))),
    "folded header": respond(f"{OK}X: y\n  Content-Length: 4", b"1234"),
    "short": respond(f"{OK}Content-Length: 5", b"1234"),
    "long": respond(f"{OK}Content-Length: 3", b"1234"),
    "ten times as long": respond(f"{OK}Content-Length: 100000", bytes(1_000_000)),
    "chunks without end": respond(f"{OK}Transfer-Encoding: chunked", b"4\r\n1234\r\n"),
    "chunk too short": respond(f"{OK}Transfer-Encoding: chunked", b"5\r\n1234\r\n0\r\n\r\n"),
    "chunk of a bad length": respond(f"{OK}Transfer-Encoding: chunked", b"-1\r\n1234\r\n0\r\n\r\n"),
    "more behind the last chunk": respond(
        f"{OK}Transfer-Encoding: chunked",
        b"4\r\n1234\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    ),
    "extension without end": respond(f"{OK}Transfer-Encoding: chunked", b"4;" + b"x" * 200_000),
    "trailer without end": respond(f"{OK}Transfer-Encoding: chunked", b"1\r\n1\r\n0\r\nX: " + b"x" * 200_000),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_HEADS)
def test_a_response_that_is_wrong_fails(case: str) -> None:
    text = fails(BAD_HEADS[case])
    assert text.startswith(f"http://{PUBLIC}:") and "/disk" not in text, text


STATUSES = {404: FetchNotFound, 410: FetchNotFound, 401: FetchDenied, 403: FetchDenied, 412: FetchChanged}


@pytest.mark.parametrize("status", [*STATUSES, 400, 402, 405, 429, 500, 502, 503, 300, 304, 305, 201, 202, 203])
def test_each_status_has_a_meaning(status: int) -> None:
    fails(respond(f"HTTP/1.1 {status} Status\nContent-Length: 0"), STATUSES.get(status, FetchError))


def trickle(head: bytes, piece: bytes, pause: float) -> Handler:
    async def answer(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"
SLOW = {
    "says nothing": (trickle(b"", b"", 1), "no complete response"),
    "head in single bytes": (trickle(b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.05), "no complete response"),
    "stops in the body": (trickle(LONG + b"x", b"", 1), "sent nothing"),
    "single bytes": (trickle(LONG, b"x", 0.1), "bytes in"),
    "single chunks": (trickle(CHUNKS, b"1\r\nx\r\n", 0.1), "bytes in"),
    "empty lines of interim responses": (trickle(b"HTTP/1.1 100 C\r\n\r\n", b"HTTP/1.1 100 C\r\n\r\n", 0.1), "in"),
}  # fmt: skip


@pytest.mark.parametrize("case", SLOW)
def test_a_server_that_trickles_fails_in_bounded_time(case: str) -> None:
    handler, words = SLOW[case]
    began = time.monotonic()
    assert words in fails(handler)  # SEC-44
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("begin", [b"4;", b"1\r\nx\r\n0\r\nX: "], ids=["extension", "trailer"])
def test_framing_without_end_is_given_up(begin: bytes) -> None:
    text = fails(trickle(CHUNKS + begin, b"x" * 10_000, 0), limits=FetchLimits())
    assert "without data" in text or "HTTP" in text  # SEC-44


def test_more_data_that_comes_later_is_noticed() -> None:
    async def late(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n1234")
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.write(b"5")

    assert "more than the length" in fails(late)


def test_a_slow_server_is_read_as_long_as_it_keeps_its_rate() -> None:
    async def read() -> None:
        async def answer(_: str, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 16384\r\n\r\n")
            for _ in range(16):  # 10 KiB/s
                writer.write(bytes(1024))
                await writer.drain()
                await asyncio.sleep(0.1)

        async with remote(answer) as server:
            assert len(await content(fetcher(limits=QUICK), server.url())) == 16384

    run(read)


def test_the_total_time_and_the_size_are_bounded() -> None:
    total = FetchLimits(total=0.5)
    assert "more than 0.5 s" in fails(trickle(LONG, bytes(10_000), 0.05), limits=total)
    small = FetchLimits(size=1000)
    assert "at most 1000" in fails(respond(f"{OK}Content-Length: 1001", bytes(1001)), limits=small)
    endless = trickle(b"HTTP/1.1 200 OK\r\n\r\n", bytes(600), 0.01)
    assert "more than 1000" in fails(endless, limits=small)


def test_a_client_that_waits_is_not_a_silent_server() -> None:
    async def read() -> None:
        async with remote(File(DATA)) as server:
            response = await fetcher(limits=QUICK).get(server.url())
            size = 0
            async for chunk in response.chunks():
                size += len(chunk)
                if size == len(chunk):
                    await asyncio.sleep(1.5)  # longer than every limit
            assert size == len(DATA)

    run(read)


def test_no_more_is_read_ahead_than_one_chunk() -> None:
    async def read() -> None:
        sent = 0

        async def answer(_: str, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
            while True:
                writer.write(bytes(1 << 16))
                sent += 1 << 16
                await writer.drain()

        async with remote(answer) as server:
            response = await fetcher().get(server.url())
            await asyncio.sleep(0.5)
            before = sent
            await asyncio.sleep(0.3)
            # The rest is in the buffers of both sockets, which the kernel bounds.
            assert sent == before and sent < 16 << 20
            response.close()

    run(read)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("ranged", [False, True])
def test_a_connection_that_is_cut_anywhere_is_an_error(chunked: bool, ranged: bool) -> None:
    randoms = random.Random(7)

    async def read() -> None:
        file = File(DATA[:300_000])
        file.chunked = chunked
        async with remote(file) as server:
            for cut in (0, 1, 65_536, *(randoms.randrange(250_000) for _ in range(12))):
                file.cut = cut
                with pytest.raises(FetchError):
                    await content(fetcher(), server.url(), 10 if ranged else 0, 299_990 if ranged else None)

    run(read)


def test_reading_can_be_cancelled_at_any_moment() -> None:
    async def read() -> None:
        async with remote(File(DATA)) as server:
            for delay in (0, 0, 0.001, 0.002, 0.004, 0.008, 0.016):
                reading = asyncio.ensure_future(content(fetcher(), server.url()))
                await asyncio.sleep(delay)
                reading.cancel()
                await asyncio.wait([reading])
            assert await content(fetcher(), server.url()) == DATA

    run(read)


# Ranges and validators

WRONG_PARTS = {
    "another first byte": "Content-Range: bytes 11-19/100\nContent-Length: 9",
    "another first byte than its length says": "Content-Range: bytes 9-19/100\nContent-Length: 10",
    "fewer bytes": "Content-Range: bytes 10-14/100\nContent-Length: 5",
    "more bytes": "Content-Range: bytes 10-29/100\nContent-Length: 20",
    "another length": "Content-Range: bytes 10-19/100\nContent-Length: 9",
    "no range": "Content-Length: 10",
    "several ranges": "Content-Type: multipart/byteranges; boundary=x\nContent-Length: 10",
    "another unit": "Content-Range: lines 10-19/100\nContent-Length: 10",
    "backwards": "Content-Range: bytes 10-9/100\nContent-Length: 0",
    "unsatisfied": "Content-Range: bytes */100\nContent-Length: 10",
    "no number": "Content-Range: bytes 10-1\u00b9/100\nContent-Length: 10",
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_PARTS)
def test_another_part_than_was_asked_for_is_an_error(case: str) -> None:
    answer = respond(f"HTTP/1.1 206 Partial\n{WRONG_PARTS[case]}", bytes(20)[: int(WRONG_PARTS[case].split()[-1])])
    assert "another part" in fails(answer, offset=10, count=10)


def test_chunks_beyond_the_part_are_an_error() -> None:
    head = "HTTP/1.1 206 Partial\nContent-Range: bytes 10-19/100\nTransfer-Encoding: chunked"
    assert "more than" in fails(respond(head, b"b\r\n12345678901\r\n0\r\n\r\n"), offset=10, count=10)
    assert "too early" in fails(respond(head, b"9\r\n123456789\r\n0\r\n\r\n"), offset=10, count=10)


def test_what_a_server_says_of_a_file_is_told() -> None:
    async def read() -> None:
        file = File(b"0123456789", '"v1"', "Mon, 01 Jan 2024 00:00:00 GMT")
        async with remote(file) as server:

            async def described() -> Validators:
                response = await fetcher().get(server.url(), 0, 1)
                response.close()
                return response.validators

            assert await described() == Validators(10, '"v1"', "Mon, 01 Jan 2024 00:00:00 GMT", True)
            file.ranges = False
            assert await described() == Validators(10, '"v1"', "Mon, 01 Jan 2024 00:00:00 GMT", False)
            file.etag, file.chunked = '"' + "x" * 5000 + '"', True
            assert await described() == Validators(None, None, "Mon, 01 Jan 2024 00:00:00 GMT", False)
            file.data, file.etag, file.modified, file.ranges, file.chunked = b"", None, None, True, False
            assert await described() == Validators(0, None, None, True)

    run(read)


CHANGES = {
    "another tag": (Validators(10, '"v1"'), {"etag": '"v2"'}),
    "no tag": (Validators(10, '"v1"'), {"etag": None}),
    "a weak tag": (Validators(10, 'W/"v1"'), {"etag": 'W/"v2"'}),
    "a tag that became weak": (Validators(10, '"v1"'), {"etag": 'W/"v1"'}),
    "another time": (Validators(10, None, "Mon"), {"etag": None, "modified": "Tue"}),
    "no time": (Validators(10, None, "Mon"), {"etag": None}),
    "another size": (Validators(9, '"v1"'), {}),
    "another size alone": (Validators(9), {"etag": None}),
}  # fmt: skip


@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("case", CHANGES)
def test_another_version_is_never_returned(case: str, ranges: bool, conditional: bool) -> None:
    expected, now = CHANGES[case]

    async def read() -> None:
        file = File(b"0123456789", ranges=ranges)
        vars(file).update(now)
        file.conditional = conditional
        async with remote(file) as server:
            for offset, count in ((0, None), (0, 1), (5, 2), (5, None)):
                with pytest.raises(FetchChanged):  # STOR-56, SEC-44
                    await content(fetcher(), server.url(), offset, count, expected)

    run(read)


SAME = [
    (Validators(10, '"v1"', "Mon"), {"modified": "Tue"}), (Validators(10, 'W/"v1"'), {"etag": 'W/"v1"'}),
    (Validators(None, '"v1"'), {}), (Validators(10, None, "Mon"), {"modified": "Mon"}), (Validators(10), {}),
    (Validators(10, '"v1"'), {"chunked": True}), (Validators(), {}),
]  # fmt: skip


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize(("expected", "now"), SAME)
def test_the_same_version_is_returned(expected: Validators, now: dict[str, Any], ranges: bool) -> None:
    async def read() -> None:
        file = File(b"0123456789", ranges=ranges)
        vars(file).update(now)
        async with remote(file) as server:
            assert await content(fetcher(), server.url(), 0, None, expected) == b"0123456789"
            assert await content(fetcher(), server.url(), 3, 4, expected) == b"3456"
            tag = expected.etag if expected.etag == '"v1"' else None
            assert (f"\r\nIf-Match: {tag}\r\n" in server.heads[0]) is (tag is not None)
            assert (f"\r\nIf-Range: {tag}\r\n" in server.heads[1]) is (tag is not None)

    run(read)


# Redirects: SEC-39


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_and_keep_the_range(status: int) -> None:
    async def read() -> None:
        async with remote(File(b"0123456789")) as there:
            move = respond(f"HTTP/1.1 {status} Moved\nLocation: {there.url()}\nContent-Length: 0")
            async with remote(move) as here:
                assert await content(fetcher(), here.url(), 2, 3) == b"234"
                assert "\r\nRange: bytes=2-4\r\n" in there.heads[0]
                if status not in (301, 302):  # STOR-56
                    with pytest.raises(FetchError):
                        await content(fetcher(redirects=frozenset({301, 302})), here.url())

    run(read)


def test_the_number_of_redirects_is_bounded() -> None:
    async def read() -> None:
        async def count_down(head: str, writer: asyncio.StreamWriter) -> None:
            left = int(head.split()[1].removeprefix("/"))
            answer = (
                respond("HTTP/1.1 200 OK\nContent-Length: 4", b"data")
                if left == 0
                else respond(f"HTTP/1.1 302 Found\nLocation: /{left - 1}\nContent-Length: 0")
            )
            await answer(head, writer)

        async with remote(count_down) as server:
            assert await content(fetcher(), server.url(f"/{MAX_REDIRECTS}")) == b"data"
            with pytest.raises(FetchError, match="redirects"):  # RUL-95
                await content(fetcher(), server.url(f"/{MAX_REDIRECTS + 1}"))

        async with remote(respond("HTTP/1.1 301 Moved\nLocation: /disk\nContent-Length: 0")) as loop:
            with pytest.raises(FetchError, match="redirects"):
                await content(fetcher(), loop.url())
            assert loop.connections == MAX_REDIRECTS + 1

    run(read)


@pytest.mark.parametrize(
    "place",
    ["http://{internal}:{port}/", "//{internal}:{port}/x", "http://[::ffff:7f00:1]:{port}/", "http://2130706433:{port}/",
     "http://0x7f.1:{port}/", "http://127.1:{port}/", "http://rebind.example:{port}/", "file:///etc/passwd",
     "http://u:p@{internal}:{port}/", "http://0.0.0.0:{port}/", "gopher://{internal}:{port}/x"],
)  # fmt: skip
def test_a_redirect_to_an_internal_server_connects_to_nothing(place: str) -> None:
    async def read() -> None:
        async with dns({"rebind.example": [[INTERNAL]]}) as names, tripwire() as internal:
            location = place.format(internal=INTERNAL, port=internal.port)
            for status in (301, 302, 303, 307, 308):
                move = respond(f"HTTP/1.1 {status} Moved\nLocation: {location}\nContent-Length: 0")
                async with remote(move) as here:
                    with pytest.raises(URLRefused):
                        await content(fetcher(names.resolve), here.url())

    run(read)


def test_other_ways_to_redirect_are_ignored() -> None:
    async def read() -> None:
        async with tripwire() as internal:
            page = f'<meta http-equiv="refresh" content="0; url={internal.url()}">'.encode()
            head = f"HTTP/1.1 200 OK\nRefresh: 0; url={internal.url()}\nLocation: {internal.url()}\nContent-Length: "
            async with remote(respond(f"{head}{len(page)}", page)) as here:
                assert await content(fetcher(), here.url()) == page

    run(read)


# Names


def test_an_answer_that_changes_later_changes_nothing() -> None:
    """DNS rebinding: the first answer is public, all later ones are internal, and none may be kept."""

    async def read() -> None:
        async with remote(File(b"data")) as server, tripwire(server.port):
            async with dns({"rebind.example": [[PUBLIC], [INTERNAL]]}) as names:
                client = fetcher(names.resolve)
                url = server.url(host="rebind.example")
                assert await content(client, url) == b"data"  # SEC-37
                assert names.queries == ["rebind.example"], "asked once for a connection"
                assert f"\r\nHost: rebind.example:{server.port}\r\n" in server.heads[0]
                with pytest.raises(URLRefused):
                    await content(client, url)
                assert len(names.queries) == 2

            async with dns({"two.example": [[INTERNAL, PUBLIC]]}) as names:  # SEC-36
                assert await content(fetcher(names.resolve), server.url(host="two.example")) == b"data"

    run(read)


def test_a_redirect_to_the_same_name_is_resolved_and_judged_again() -> None:
    async def read() -> None:
        move = respond("HTTP/1.1 302 Found\nLocation: /again\nContent-Length: 0")
        rebinding = dns({"rebind.example": [[PUBLIC], [INTERNAL]]})
        async with rebinding as names, remote(move) as server, tripwire(server.port):
            with pytest.raises(URLRefused):  # SEC-37, SEC-39
                await content(fetcher(names.resolve), server.url(host="rebind.example"))
            assert (server.connections, len(names.queries)) == (1, 2)

    run(read)


def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    async def read() -> None:
        async def both(name: str) -> list[str]:
            return ["127.0.0.3", PUBLIC]

        # The gate allows another address as well, on which nothing listens.
        rules = Filtering(allowed_ports=(), allowed_networks=(ipaddress.IPv4Network("127.0.0.0/29"),))
        async with remote(File(b"data")) as server:
            assert await content(fetcher(both, rules), server.url(host="h.example")) == b"data"  # SEC-38

    run(read)


def test_the_system_resolver_finds_what_the_dns_says(tmp_path: Path) -> None:
    """In a network namespace of its own, with a DNS server on port 53."""
    program = Path(__file__).with_name("resolver_program.py")
    configured = tmp_path / "resolv.conf"
    configured.write_text("nameserver 127.0.0.1\n")
    setup = 'ip link set lo up && mount --bind "$0" /etc/resolv.conf && exec "$@"'
    found = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", setup, str(configured), sys.executable, str(program)],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    if found.returncode and "unshare" in found.stderr:
        pytest.skip("needs root-for-namespaces, which is missing here")
    assert found.stdout.splitlines() == ["b'data'", "URLRefused", "URLRefused", "URLRefused"], found.stderr


# TLS: SEC-47, STOR-151


class Authority:
    """Certificates of an authority, and the client that trusts it alone."""

    def __init__(self, folder: Path):
        self.ca = trustme.CA()
        self.file = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.file))

    def server(self, *names: str, **more: Any) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*names, **more).configure_cert(context)
        return context


LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


def test_certificates_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Authority(tmp_path)
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    monkeypatch.setenv("SSL_CERT_FILE", str(ours.file))  # SEC-46: it has no effect
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))

    async def read() -> None:
        async with dns({"h.example": [[PUBLIC]], "other.example": [[PUBLIC]]}) as names:

            async def asked(server_tls: ssl.SSLContext, host: str = "h.example", **more: Any) -> bytes:
                async with remote(File(DATA[:200_000]), tls=server_tls) as server:
                    client = fetcher(names.resolve, tls=tls_context(**more))
                    return await content(client, server.url(host=host))

            good = ours.server("h.example")
            assert await asked(good, ca_file=ours.file) == DATA[:200_000]
            assert await asked(ours.server(PUBLIC), host=PUBLIC, ca_file=ours.file) == DATA[:200_000]
            assert await asked(good, insecure=True) == DATA[:200_000]
            expired = ours.server("h.example", not_after=LONG_AGO, not_before=LONG_AGO - datetime.timedelta(days=9))
            refused = [
                (good, {}), (good, {"ca_file": other.file}), (expired, {"ca_file": ours.file}),
                (ours.server("other.example"), {"ca_file": ours.file}), (ours.server(PUBLIC), {"ca_file": ours.file}),
            ]  # fmt: skip
            for server_tls, more in refused:
                with pytest.raises(FetchDenied, match="certificate is not trusted"):
                    await asked(server_tls, **more)
            async with remote(File(b"x")) as plain:
                with pytest.raises(FetchError, match="TLS failed"):
                    await content(fetcher(limits=QUICK), plain.url().replace("http:", "https:"))

    run(read)


def test_the_name_is_sent_to_the_server_and_not_the_address(tmp_path: Path) -> None:
    async def read() -> None:
        ours, seen = Authority(tmp_path), []
        context = ours.server("h.example")
        context.sni_callback = lambda _, name, __: seen.append(name)
        async with dns({"h.example": [[PUBLIC], [INTERNAL]]}) as names, remote(File(b"x"), tls=context) as server:
            client = fetcher(names.resolve, tls=tls_context(ours.file))
            assert await content(client, server.url(host="h.example")) == b"x"
            assert seen == ["h.example"]  # SEC-37

    run(read)


def test_a_redirect_never_loses_tls_and_may_gain_it(tmp_path: Path) -> None:
    async def read() -> None:
        ours = Authority(tmp_path)
        client = fetcher(tls=tls_context(ours.file))
        async with remote(File(b"x")) as plain, remote(File(b"y"), tls=ours.server(PUBLIC)) as secure:
            down = respond(f"HTTP/1.1 302 Found\nLocation: {plain.url()}\nContent-Length: 0")
            async with remote(down, tls=ours.server(PUBLIC)) as here:
                with pytest.raises(URLRefused, match="https to http"):  # SEC-39
                    await content(client, here.url())
            assert plain.connections == 0
            up = respond(f"HTTP/1.1 302 Found\nLocation: {secure.url()}\nContent-Length: 0")
            async with remote(up) as here:
                assert await content(client, here.url()) == b"y"

    run(read)


# Proxies


class Proxy:
    """A proxy on the internal address: where the operator names it, it is not judged."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, place, _ = head.split(b"\r\n")[0].decode().split()
        self.lines.append(f"{method} {place}")
        if method == "CONNECT":
            port = int(place.rpartition(":")[2])
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            there_reader, there = await asyncio.open_connection(PUBLIC, port)
            await asyncio.gather(pump(reader, there), pump(there_reader, writer))
        else:
            await File(b"by the proxy")(head.decode(), writer)
        writer.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


def test_a_proxy_gets_names_that_pass_the_gate(tmp_path: Path) -> None:
    async def read() -> None:
        ours, proxy = Authority(tmp_path), Proxy()
        listening = await asyncio.start_server(proxy.serve, INTERNAL, 0)
        where = f"{INTERNAL}:{listening.sockets[0].getsockname()[1]}"
        client = fetcher(tls=tls_context(ours.file), proxies={"http": where, "https": where})
        assert await content(client, "http://h.example/x?y") == b"by the proxy"  # CFA-112
        async with remote(File(b"through it"), tls=ours.server("h.example")) as server:
            assert await content(client, server.url(host="h.example")) == b"through it"
        assert proxy.lines == ["GET http://h.example/x?y", f"CONNECT h.example:{server.port}"]
        for url in ("http://127.0.0.1/", "https://10.0.0.1/", "http://2130706433/", "http://u:p@h.example/"):
            with pytest.raises(URLRefused):  # SEC-46
                await content(client, url)
        assert len(proxy.lines) == 2
        listening.close()
        with pytest.raises(FetchError, match="cannot connect"):
            await content(client, "https://h.example/")

    run(read)


def test_a_server_that_cannot_be_reached_is_an_error() -> None:
    async def read() -> None:
        with pytest.raises(FetchError, match="cannot connect"):
            await content(fetcher(), f"http://{PUBLIC}:9/")

    run(read)
