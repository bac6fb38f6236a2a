"""Behind HAProxy, which sends requests of several clients over one connection: whatever one of them sends, every
client gets the responses to its own requests."""

import contextlib
import itertools
import json
import socket
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from needs import need
from sample_app import Client, Running, running
from smuggling import AMBIGUOUS, BAD_CHUNKS, CHUNKED, HIDDEN, POST

SETTINGS = """
defaults
    mode http
    timeout connect 60s
    timeout client 60s
    timeout server 60s
    timeout http-request 60s
    http-reuse always
    {lenient}
listen images
    bind fd@{front}
    server one 127.0.0.1:{port} maxconn 1
"""
#: Hidden in a body: if it were parsed as a request, the next client would get its response.
PREFIX = b"GET /hello HTTP/1.1\r\nHost: a\r\nX-Hidden: "
BODY = b"5\r\nhello\r\n0\r\n\r\n"
NUMBERS = itertools.count()


class Proxied(NamedTuple):
    """A HAProxy and the server behind it."""

    port: int
    server: Running


@pytest.fixture(scope="module", params=["", "option accept-invalid-http-request"], ids=["strict", "lenient"])
def proxied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    folder = tmp_path_factory.mktemp("server")
    with running(folder) as server, socket.create_server(("127.0.0.1", 0)) as front:
        settings = SETTINGS.format(front=front.fileno(), port=server.port, lenient=request.param)
        (folder / "haproxy.cfg").write_text(settings)
        command = [need("haproxy"), "-db", "-f", folder / "haproxy.cfg"]
        proxy = subprocess.Popen(command, pass_fds=[front.fileno()])
        try:
            proxied = Proxied(front.getsockname()[1], server)
            every_client_gets_its_own_response(proxied)
            yield proxied
        finally:
            proxy.kill()
            proxy.wait()


def every_client_gets_its_own_response(proxied: Proxied) -> None:
    for _ in range(3):
        with Client(proxied.port) as client:
            mine = f"mine-{next(NUMBERS)}"
            found = json.loads(client.get("/scope", f"X-Mine: {mine}\r\n").body)
            assert ["x-mine", mine] in found["headers"]
            assert found["path"] == "/scope" and "x-hidden" not in dict(found["headers"])


def attack(proxied: Proxied, data: bytes) -> bytes:
    with Client(proxied.port) as client:
        client.send(data)
        with contextlib.suppress(OSError):
            client.socket.shutdown(socket.SHUT_WR)
        return client.rest()


# SEC-96
@pytest.mark.parametrize("hidden", [HIDDEN, PREFIX], ids=["request", "half a request"])
@pytest.mark.parametrize("header", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_an_ambiguous_head_does_not_affect_other_clients(proxied: Proxied, header: bytes, hidden: bytes) -> None:
    attack(proxied, POST + header + b"\r\n\r\n" + BODY + hidden)
    attack(proxied, POST + header + b"\r\nContent-Length: %d\r\n\r\n" % len(BODY + hidden) + BODY + hidden)
    every_client_gets_its_own_response(proxied)


# SEC-97
@pytest.mark.parametrize("hidden", [HIDDEN, PREFIX], ids=["request", "half a request"])
@pytest.mark.parametrize("chunks", BAD_CHUNKS)
def test_bad_chunks_do_not_affect_other_clients(proxied: Proxied, chunks: bytes, hidden: bytes) -> None:
    attack(proxied, CHUNKED + chunks + hidden)
    every_client_gets_its_own_response(proxied)


@pytest.mark.parametrize("size", [5, 300_000], ids=["small", "large"])
def test_the_end_of_a_body_does_not_affect_other_clients(proxied: Proxied, size: int) -> None:
    head = b"PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    for missing in (1, len(PREFIX)):
        attack(proxied, head % (size + missing) + bytes(size))
        every_client_gets_its_own_response(proxied)
    for hidden in (HIDDEN, PREFIX):  # What looks like a request is the end of the body.
        with Client(proxied.port) as client:
            client.send(head % (size + len(hidden)) + bytes(size) + hidden)
            assert client.response().status == 200
        seen = proxied.server.saw()
        while seen[0] == "cut":  # One of those that broke off, where the proxy had begun to pass it on.
            seen = proxied.server.saw()
        assert seen == ("whole", size + len(hidden))
        every_client_gets_its_own_response(proxied)
    with Client(proxied.port) as client:  # Refused before its end: the rest is not a request.
        client.send(b"PUT /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n" + HIDDEN * 2000)
        assert client.response().status == 409
    every_client_gets_its_own_response(proxied)
