"""Too many connections and transfers: what is in use goes on, no client has everything, and health is always told."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from sample_app import LONG_TIMEOUTS, Client, Running, eventually, running

from ferrotype.config.server import Networks
from ferrotype.server.admission import Admission
from ferrotype.server.limits import MAX_CONNECTIONS, RESERVED_DESCRIPTORS, Limits, limits_for
from ferrotype.testing.callers_process import KeepAliveClient, served_to_callers
from ferrotype.testing.process import Served

CONNECTIONS = 20
TOKEN = "ann.p1.member-reader"
#: descriptors of a small worker
DESCRIPTORS = 1024


@dataclass(eq=False)
class Peer:
    """A connection as the admission sees it."""

    address: str
    rank: int | None = None
    evicted: bool = False
    client: tuple[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.client = (self.address, 1)

    def eviction_rank(self) -> int | None:
        return self.rank

    def evict(self) -> None:
        self.evicted = True


def admission(proxies: Networks = ()) -> Admission[Peer]:
    return Admission(Limits(connections=64, transfers=16), proxies)


# SEC-90
def test_one_client_has_at_most_its_share_of_the_connections() -> None:
    counted = admission()
    assert [counted.admit(Peer("192.0.2.1")) for _ in range(50)] == [True] * 48 + [False] * 2
    assert counted.admit(Peer("192.0.2.2"))
    assert [counted.admit(Peer("127.0.0.1")) for _ in range(14)] == [True] * 13 + [False]


# SEC-90
def test_idle_connections_of_the_client_with_the_most_make_room_the_oldest_first() -> None:
    counted = admission()
    drained, *idle = (Peer("192.0.2.1", rank) for rank in (1, *[0] * 40))
    others = [Peer("192.0.2.2", 0) for _ in range(23)]
    for peer in (drained, *idle, *others):
        assert counted.admit(peer)
    for number in range(3):
        assert counted.admit(Peer("192.0.2.3", 0))
        assert [peer.evicted for peer in idle] == [True] * (number + 1) + [False] * (39 - number)
    assert not drained.evicted and not any(peer.evicted for peer in others)
    assert len(counted.connections) == 64


def test_a_connection_that_is_drained_makes_room_when_none_is_idle() -> None:
    counted = admission()
    busy, drained = [Peer("127.0.0.1") for _ in range(63)], Peer("127.0.0.1", 1)
    for peer in (*busy, drained):
        assert counted.admit(peer)
    assert counted.admit(Peer("127.0.0.1"))
    assert drained.evicted
    assert not counted.admit(Peer("127.0.0.1"))


def test_a_client_that_uses_all_of_its_connections_leaves_it_to_the_idle_ones_of_others() -> None:
    counted = admission()
    for peer in (*[Peer("127.0.0.1") for _ in range(60)], *(idle := [Peer("192.0.2.1", 0) for _ in range(4)])):
        assert counted.admit(peer)
    assert counted.admit(Peer("192.0.2.2"))
    assert [peer.evicted for peer in idle] == [True, False, False, False]


def test_a_refused_connection_that_makes_room_does_not_let_another_one_in() -> None:
    counted = admission()
    for _ in range(64):
        assert counted.admit(Peer("127.0.0.1"))
    assert [counted.admit(Peer("127.0.0.1", 0)) for _ in range(10)] == [False] * 10
    assert len(counted.connections) == 65


def test_connections_that_end_are_not_counted() -> None:
    counted = admission()
    for _ in range(200):
        peer = Peer("192.0.2.1")
        assert counted.admit(peer)
        counted.remove(peer)
        counted.remove(peer)
    assert not counted.connections


# RUL-83
def test_a_trusted_proxy_has_any_number_of_connections_and_its_clients_their_share_of_the_transfers() -> None:
    counted = admission((ip_network("192.0.2.0/24"),))
    assert all(counted.admit(Peer("192.0.2.1")) for _ in range(64))
    assert [counted.begin_transfer("198.51.100.1") for _ in range(13)] == [True] * 12 + [False]
    assert [counted.begin_transfer("198.51.100.2") for _ in range(5)] == [True] * 4 + [False]
    counted.end_transfer("198.51.100.1")
    assert [counted.begin_transfer("198.51.100.1") for _ in range(2)] == [True, False]
    counted = admission()
    assert [counted.begin_transfer("127.0.0.1") for _ in range(17)] == [True] * 16 + [False]


@pytest.mark.parametrize("descriptors", [64, 256, 512, 1024, 4096, 20_000, 1 << 20, -1])
def test_connections_and_transfers_fit_into_the_descriptors(descriptors: int) -> None:
    limits = limits_for(descriptors, 75)
    assert 0 < limits.transfers < limits.connections <= MAX_CONNECTIONS
    if descriptors >= 2 * RESERVED_DESCRIPTORS:
        assert limits.connections + 2 * limits.transfers <= descriptors - RESERVED_DESCRIPTORS


# -- over sockets -----------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, replace(LONG_TIMEOUTS, connections=CONNECTIONS)) as server:
        yield server


# SEC-90
@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"GET /hello HTTP/1.1\r\nX-",
        b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PUT /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\nx",
        b"PUT /refuse HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"PUT /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n",
    ],
    ids=["silent", "in a head", "after a request", "drained", "drained chunks", "in a document", "in a long one"],
)
def test_connections_that_are_not_in_use_make_room(server: Running, beginning: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(5 * CONNECTIONS):
            client = stack.enter_context(server.client())
            client.send(beginning)
            server.has_read(client)
            with server.client() as other:
                assert other.get("/hello").body == b"hello"
        assert server.ask(lambda: len(server.state.connections)) <= CONNECTIONS


def test_an_idle_connection_is_closed_before_one_that_still_drains(server: Running) -> None:
    with server.client() as drained, ExitStack() as stack:
        drained.send(b"PUT /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\nx")
        assert drained.response().status == 409
        idle = [stack.enter_context(server.client()) for _ in range(CONNECTIONS)]
        server.has_read(idle[-1])
        assert idle[0].is_closed()
        assert server.connection(drained)


# SEC-90
def test_while_all_connections_are_in_use_others_are_refused_and_health_is_told(server: Running) -> None:
    with ExitStack() as stack:
        busy = [stack.enter_context(server.client()) for _ in range(CONNECTIONS)]
        for client in busy:
            client.send(b"GET /slow?until=ended HTTP/1.1\r\nHost: a\r\n\r\n")
            server.has_read(client)
        with server.client() as one:
            refusal = one.get("/hello")
            assert (refusal.status, refusal.headers["connection"]) == (503, "close")
            assert int(refusal.headers["retry-after"]) > 0
            assert one.is_closed()
        for _ in range(20):
            with server.client() as one:
                assert one.get("/healthcheck").status == 200
        silent = [stack.enter_context(server.client()) for _ in range(20)]
        server.has_read(silent[-1])
        assert server.ask(lambda: len(server.state.connections)) == CONNECTIONS + 1
        with server.client() as one:
            assert one.get("/healthcheck").status == 200
            assert one.get("/hello").status == 503
        server.go("ended")
        assert [client.response().body for client in busy] == [b"slow"] * CONNECTIONS
        for client in silent:
            client.socket.close()
    eventually(lambda: not server.state.connections)
    with server.client() as one:
        assert one.get("/hello").status == 200


# -- the service ------------------------------------------------------------------------------------


def soft_limit(worker: int) -> list[str]:
    limits = Path(f"/proc/{worker}/limits").read_text().splitlines()
    return next(line.split()[3:5] for line in limits if line.startswith("Max open files"))


# RUL-83, SEC-90
def test_a_worker_with_few_descriptors_leaves_transfers_to_every_client(tmp_path: Path) -> None:
    options = "[oslo_middleware]\ntrusted_proxies = 127.0.0.0/8"
    with served_to_callers(tmp_path, options=options, wrapper=["prlimit", "--nofile=300:1024"]) as service:
        assert [soft_limit(worker) for worker in service.workers()] == [["1024", "1024"]]
        transfers = limits_for(1024, 75).transfers
        share = int(transfers * Limits.client_share)
        with ExitStack() as stack:
            for number in range(transfers):
                client = "192.0.2.1" if number < share + 1 else "192.0.2.2"
                uploading = stack.enter_context(Client(service.port))
                forwarded = f"198.51.100.{number}, {client}, 127.0.0.9"
                seen = upload(service, uploading, forwarded)
                assert seen is (number != share), number
            assert upload(service, stack.enter_context(Client(service.port)), "192.0.2.3") is True
            assert upload(service, stack.enter_context(Client(service.port)), "192.0.2.3") is False
            with KeepAliveClient(service.port) as ask:
                assert ask("GET", "/v2/images", TOKEN).status == 200


def upload(service: Served, client: Client, forwarded: str) -> bool:
    """Begin an upload that does not end; return whether it is taken."""
    with KeepAliveClient(service.port) as ask:
        document = {"disk_format": "raw", "container_format": "bare"}
        image = ask("POST", "/v2/images", TOKEN, json=document).json
        head = f"PUT {image['file']} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Auth-Token: {TOKEN}\r\nContent-Length: 100\r\n"
        head += f"Content-Type: application/octet-stream\r\nX-Forwarded-For: {forwarded}\r\n\r\n"
        client.send(head.encode() + b"x")
        found: list[bool] = []

        def is_decided() -> bool:
            status = ask("GET", image["self"], TOKEN).json["status"]
            client.socket.setblocking(False)
            try:
                refused = client.socket.recv(1 << 16).startswith(b"HTTP/1.1 503")
            except BlockingIOError:
                refused = False
            finally:
                client.socket.settimeout(60)
            found[:] = [False] if refused else [True] if status == "saving" else []
            return bool(found)

        eventually(is_decided)
        return found[0]


# SEC-90
def test_an_upload_goes_on_while_others_make_room(tmp_path: Path) -> None:
    with served_to_callers(tmp_path, wrapper=["prlimit", "--nofile=300:300"]) as service, ExitStack() as stack:
        uploads = [stack.enter_context(Client(service.port)) for _ in range(3)]
        assert [upload(service, client, "") for client in uploads] == [True] * 3
        login = f"POST /v2/images HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Auth-Token: {TOKEN}\r\nContent-Length: 9\r\n\r\n{{"
        for _ in range(2 * limits_for(300, 75).connections):
            stack.enter_context(Client(service.port)).send(login.encode())
        with KeepAliveClient(service.port) as ask:
            assert ask("GET", "/v2/images", TOKEN).status == 200
        for client in uploads:
            client.send(b"x" * 99)
            assert client.head().status == 204


def test_a_download_counts_from_its_begin_to_its_end(tmp_path: Path) -> None:
    limits = limits_for(300, 75)
    with (
        served_to_callers(tmp_path, wrapper=["prlimit", "--nofile=300:300"]) as service,
        KeepAliveClient(service.port) as ask,
        ExitStack() as stack,
    ):
        image = ask("POST", "/v2/images", TOKEN, json={"disk_format": "raw", "container_format": "bare"}).json
        headers = {"Content-Type": "application/octet-stream"}
        assert ask("PUT", image["file"], TOKEN, body=bytes(16 << 20), headers=headers).status == 204
        part = {"Range": "bytes=0-9"}
        for _ in range(2 * limits.transfers):
            assert ask("GET", image["file"], TOKEN, headers=part).status == 206
        head = f"GET {image['file']} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Auth-Token: {TOKEN}\r\n\r\n".encode()
        slow = [stack.enter_context(Client(service.port, receive_buffer=4096)) for _ in range(limits.transfers)]
        for client in slow:
            client.send(head)
            assert client.head().status == 200
        refusal = ask("GET", image["file"], TOKEN, headers=part)
        assert (refusal.status, refusal.headers["retry-after"]) == (503, "5")
        assert ask("GET", image["self"], TOKEN).status == 200
        slow[0].socket.close()
        eventually(lambda: ask("GET", image["file"], TOKEN, headers=part).status == 206)
