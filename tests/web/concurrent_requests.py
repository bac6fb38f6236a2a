"""Concurrent requests to both workers of a running service."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ferrotype.testing.callers_process import ConsistencyChecker, KeepAliveClient, served_to_callers
from ferrotype.testing.client import OCTETS, PATCH, Reply
from ferrotype.testing.process import Served

OWNER, OTHER, ADMIN, MEMBER = (
    "ann.p1.member-reader",
    "bob.p2.member-reader",
    "al.adm.admin-member-reader",
    "mia.m1.member-reader",
)
RAW = {"disk_format": "raw", "container_format": "bare"}
#: A request to send over a connection.
Call = Callable[[KeepAliveClient], Reply]


class ConcurrentClients:
    """A service with two workers, and keep-alive connections, half of them to each."""

    def __init__(self, service: Served, directory: Path, database_url: str, size: int = 16):
        self.service, self.directory, self.database_url = service, directory, database_url
        self.checker = ConsistencyChecker(directory)
        self.connections: list[KeepAliveClient] = []
        end = time.monotonic() + 60
        while service.log.read_text().count("is ready") < 2:
            assert time.monotonic() < end
            time.sleep(0.02)
        missing = Counter(dict.fromkeys(service.workers(), size // 2))
        spare = []
        while missing.total():
            assert time.monotonic() < end + 60, missing
            connection = KeepAliveClient(service.port)
            assert connection("GET", "/healthcheck").status == 200
            worker = service.worker_of(connection.socket)
            if missing[worker or 0] > 0:
                missing[worker or 0] -= 1
                self.connections.append(connection)
            else:
                spare.append(connection)  # Kept open, so that the next connection goes to the other worker.
        for connection in spare:
            connection.close()
        self.ask = self.connections[0]

    def close(self) -> None:
        for connection in self.connections:
            connection.close()
        self.checker.close()

    def send_together(self, calls: Sequence[Call]) -> list[Reply]:
        """Send each request over a connection of its own, all at the same moment; return the replies."""
        assert len(calls) <= len(self.connections)
        gate = threading.Barrier(len(calls))

        def send(call: Call, connection: KeepAliveClient) -> Reply:
            gate.wait(60)
            return call(connection)

        with ThreadPoolExecutor(len(calls)) as threads:
            replies = list(threads.map(send, calls, self.connections))
        for reply in replies:
            assert reply.status < 500, reply.text
        return replies

    def statuses(self, calls: Sequence[Call]) -> Counter[int]:
        return Counter(reply.status for reply in self.send_together(calls))

    def image(self, data: bytes | None = None, token: str = OWNER, **attributes: Any) -> str:
        """Create an image and return its path."""
        made = self.ask("POST", "/v2/images", token, json=RAW | attributes)
        assert made.status == 201, made.text
        path: str = made.json["self"]
        assert data is None or put(path, data, token)(self.ask).status == 204
        return path

    def check_consistency(self) -> None:
        """Assert that ledger, files and counters agree."""
        assert [each.sentence() for each in self.checker.differences()] == []


@contextmanager
def concurrent_clients(directory: Path, database_url: str, **changes: Any) -> Iterator[ConcurrentClients]:
    with served_to_callers(directory, database_url, workers=2, **changes) as service:
        found = ConcurrentClients(service, directory, database_url)
        try:
            yield found
        finally:
            found.close()
        log = service.log.read_text()
        assert "deadlock" not in log and "Traceback" not in log and "database is locked" not in log, log[-3000:]


def call(method: str, path: str, token: str = OWNER, **options: Any) -> Call:
    return lambda ask: ask(method, path, token, **options)


def change(path: str, *operations: tuple[str, str, Any], token: str = OWNER) -> Call:
    patch = [{"op": op, "path": where, "value": value} for op, where, value in operations]
    return call("PATCH", path, token, json=patch, headers={"Content-Type": PATCH})


def put(path: str, data: bytes, token: str = OWNER, pieces: int = 0) -> Call:
    """Upload; with ``pieces`` chunked, in that many pieces."""
    step = -(-len(data) // pieces) if pieces else 0
    body: Any = [data[start : start + step] for start in range(0, len(data), step)] if pieces else data
    return call("PUT", f"{path}/file", token, body=body, headers={"Content-Type": OCTETS})
