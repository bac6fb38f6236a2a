"""Wait for a socket that the event loop's transport does not serve, and ask the kernel about one."""

import asyncio
import fcntl
import socket
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class SocketWaiter:
    """Waits until a socket is ready. One wait at a time; ``cancel`` ends it and every later one.

    The socket is a duplicate of a connection's and closed with the waiter: the loop allows no second reader on a
    transport's descriptor, whose number may be reused by another connection when the transport closes.
    """

    def __init__(self, connection: socket.socket):
        self.socket = connection
        self.cancelled = False
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[bool] | None = None

    async def readable(self, seconds: float) -> bool:
        """Wait until the socket is readable; return False after ``seconds`` or when cancelled."""
        return await self._wait(seconds, self._loop.add_reader, self._loop.remove_reader)

    async def writable(self, seconds: float) -> bool:
        """Wait until the socket is writable; return False after ``seconds`` or when cancelled."""
        return await self._wait(seconds, self._loop.add_writer, self._loop.remove_writer)

    async def _wait(self, seconds: float, add: Callable[..., Any], remove: Callable[..., Any]) -> bool:
        if self.cancelled:
            return False
        ready: asyncio.Future[bool] = self._loop.create_future()
        self._ready = ready
        add(self.socket, set_result, ready, True)
        timer = self._loop.call_later(seconds, set_result, ready, False)
        try:
            return await ready
        finally:
            timer.cancel()
            remove(self.socket)
            self._ready = None

    def cancel(self) -> None:
        """End the wait that is going on, and let no other begin."""
        self.cancelled = True
        if self._ready is not None:
            set_result(self._ready, False)

    def close(self) -> None:
        """Close the socket. There must be no wait."""
        self.socket.close()


def set_result(future: asyncio.Future[Any], result: Any) -> None:
    """Give a future its result unless it has one."""
    if not future.done():
        future.set_result(result)


def set_rcvlowat(connection: socket.socket, size: int) -> None:
    """Have the kernel report the socket readable only when ``size`` bytes have come, or the end."""
    with suppress(OSError):  # An optimisation only; and the socket may be disconnected.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)


def unacknowledged(connection: socket.socket) -> int:
    """Return how many bytes the kernel has taken for sending that the other side has not acknowledged."""
    return int.from_bytes(fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
