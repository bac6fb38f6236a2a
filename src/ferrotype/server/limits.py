"""What one connection may take. Sizes are bytes, times are seconds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The limits of one connection."""

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
