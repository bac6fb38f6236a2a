"""What one connection, one client and all of them may take of a worker. Sizes are bytes, times are seconds."""

from dataclasses import dataclass

#: descriptors that a worker keeps for its database, stores, logs, and what it asks of other services
RESERVED_DESCRIPTORS = 256
#: connections of one worker, however many descriptors it may have: an idle one takes a few KiB of memory
MAX_CONNECTIONS = 20_000
#: parts of the other descriptors: one for each connection, two more for each transfer (a duplicate, and a file)
CONNECTIONS_PART, TRANSFERS_PART = 0.6, 0.2


@dataclass(frozen=True)
class Limits:
    """The limits of a worker and of each connection."""

    #: at once
    connections: int = MAX_CONNECTIONS
    #: uploads and downloads at once
    transfers: int = MAX_CONNECTIONS // 3
    #: how much of both one client may have; the rest is for all others
    client_share: float = 0.75

    #: a request head; also the chunk extensions or trailers of a body that come without a byte of it
    head_bytes: int = 64 << 10
    #: the request target, or one header
    line_bytes: int = 16 << 10
    head_lines: int = 256
    #: from the first byte of a head to its end
    head_seconds: float = 20.0
    #: between two requests
    keep_alive: float = 75.0
    #: without a byte of a body that the application waits for
    body_idle: float = 60.0
    #: without the client acknowledging a byte of a response that waits to be sent
    send_idle: float = 60.0
    #: an unread body is discarded after the response, so that the client can read the response: without progress, and
    #: in all. The connection closes then, unless no more than this was missing
    drain_idle: float = 2.0
    drain_seconds: float = 30.0
    drain_bytes: int = 1 << 20
    #: pipelined requests that wait while an earlier one is answered
    pipelined: int = 256


def limits_for(descriptors: int, keep_alive: float) -> Limits:
    """Return the limits of a worker that may have so many descriptors; negative: any number."""
    free = max(descriptors - RESERVED_DESCRIPTORS, descriptors // 2)
    connections = min(int(free * CONNECTIONS_PART), MAX_CONNECTIONS) if descriptors >= 0 else MAX_CONNECTIONS
    transfers = int(connections * TRANSFERS_PART / CONNECTIONS_PART)
    return Limits(connections=connections, transfers=transfers, keep_alive=keep_alive)
