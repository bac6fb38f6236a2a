"""Which connections and transfers a worker takes. It never runs out of descriptors, and no client gets all of them.

    connection   over the limit, connections of the client that has the most are closed: idle ones, then those that
                 are drained, then those that have yet to send the rest of a document. Where there are none, the
                 first request is answered 503, unless it is the health check
    transfer     an upload or a download of image data; over the limit it is answered 503 (see ``web.transfers``)

One client may have ``client_share`` of either, so that the rest remains for all others. That is not little: a host
of virtual machines, or a proxy that ``trusted_proxies`` does not name, may well have hundreds. Loopback addresses are
not limited: behind them is a proxy more often than not, and a client on this machine can stop the service otherwise.
"""

import heapq
import logging
import resource
import time
from collections import Counter
from collections.abc import KeysView
from typing import Generic, Protocol, TypeVar

from ferrotype.config.server import Networks
from ferrotype.server.limits import Limits
from ferrotype.web.clients import client_address, client_network

log = logging.getLogger("ferrotype.server.admission")

#: of the connections that a worker may have, one part of so many is closed at once
EVICTED_PART = 64
#: seconds between two log lines about too many connections
WARNING_INTERVAL = 10.0


#: the order in which connections are closed to make room
IDLE, DRAINED, SENDING = range(3)


class Connection(Protocol):
    """What is needed of a connection."""

    client: tuple[str, int] | None

    def eviction_rank(self) -> int | None:
        """Return IDLE, DRAINED or SENDING, or None for a connection that is in use."""

    def evict(self) -> None:
        """Close now."""


C = TypeVar("C", bound=Connection)


class Admission(Generic[C]):
    """The connections of a worker that count, and how many transfers each client has."""

    def __init__(self, limits: Limits, proxies: Networks = ()):
        self._limits = limits
        self._client_connections = int(limits.client_share * limits.connections)
        self._client_transfers = int(limits.client_share * limits.transfers)
        self._proxies = proxies
        #: the oldest first
        self._connections: dict[C, None] = {}
        self._by_client: Counter[str] = Counter()
        self._transfers: Counter[str] = Counter()
        self._transfer_count = 0
        self._warned_at = -WARNING_INTERVAL

    @property
    def connections(self) -> KeysView[C]:
        """The connections that are open, but for those that are being closed."""
        return self._connections.keys()

    def admit(self, connection: C) -> bool:
        """Add a connection, and make room for it; return False when its requests are to be refused."""
        client, limit = self._client_of(connection), self._limits.connections
        if self._is_over_share(client):
            self._evict(client)
        elif len(self._connections) >= limit:
            biggest = max(self._by_client, key=self._by_client.__getitem__)
            if not self._evict(biggest):
                self._evict(None)
        is_admitted = len(self._connections) < limit and not self._is_over_share(client)
        self._connections[connection] = None
        self._by_client[client] += 1
        return is_admitted

    def remove(self, connection: C) -> None:
        """Count a connection no more."""
        if connection in self._connections:
            del self._connections[connection]
            _decrease(self._by_client, self._client_of(connection))

    def begin_transfer(self, client: str) -> bool:
        """Count a transfer of a client, by its address; return False when there are too many."""
        key = client_network(client)
        is_over_share = bool(key) and self._transfers[key] >= self._client_transfers
        if is_over_share or self._transfer_count >= self._limits.transfers:
            return False
        self._transfers[key] += 1
        self._transfer_count += 1
        return True

    def end_transfer(self, client: str) -> None:
        """Count it no more."""
        _decrease(self._transfers, client_network(client))
        self._transfer_count -= 1

    def _is_over_share(self, client: str) -> bool:
        return client != "" and self._by_client[client] >= self._client_connections

    def _client_of(self, connection: C) -> str:
        host = connection.client[0] if connection.client else ""
        return client_network(client_address(host, "", self._proxies))

    def _evict(self, client: str | None) -> bool:
        """Close connections of a client, or of all, that are not in use; return whether there were any.

        The oldest first, and several at once: looking for them takes milliseconds where there are thousands.
        """
        ranked = [
            (rank, connection)
            for connection in self._connections
            if (client is None or self._client_of(connection) == client)
            and (rank := connection.eviction_rank()) is not None
        ]
        batch = max(1, self._limits.connections // EVICTED_PART)
        chosen = heapq.nsmallest(batch, ranked, key=lambda each: each[0])
        for _, connection in chosen:
            self.remove(connection)
            connection.evict()
        if time.monotonic() - self._warned_at >= WARNING_INTERVAL:
            self._warned_at = time.monotonic()
            log.warning("too many connections: open=%d closed=%d client=%s", len(self._connections), len(chosen),
                        client or "any")  # fmt: skip
        return bool(chosen)


def _decrease(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


def raise_descriptor_limit() -> int:
    """Raise this process's limit of open descriptors as far as it may, and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
