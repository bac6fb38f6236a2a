"""Send a part of a file with sendfile(2): the kernel copies it, and no thread waits for a slow client."""

import asyncio
import os
import socket
from concurrent.futures import Executor
from typing import Protocol

from ferrotype.offload import shielded
from ferrotype.server.response_head import ResponseError
from ferrotype.server.sockets import SocketWaiter, unacknowledged

#: bytes that one call of sendfile may send
SENDFILE_BYTES = 4 << 20


class SendableFile(Protocol):
    """What is needed of a file."""

    #: open for reading
    fd: int
    #: in which its file system may block
    threads: Executor
    #: bytes that were sent; the sender counts them
    sent: int


class FileTruncated(ResponseError):
    """The file ended before the bytes that the response announced."""


class FileSender:
    """Sends to one connection. ``connection`` is closed with the sender."""

    def __init__(self, connection: socket.socket, idle_seconds: float):
        self._waiter = SocketWaiter(connection)
        self._idle_seconds = idle_seconds

    async def send(self, file: SendableFile, offset: int, count: int) -> None:
        """Send exactly ``count`` bytes from ``offset``.

        Raise ConnectionResetError when the client is gone, ConnectionAbortedError when it took nothing for the idle
        time, FileTruncated when the file is too short, and OSError when it cannot be read.
        """
        loop = asyncio.get_running_loop()
        out = self._waiter.socket.fileno()
        while count:
            if self._waiter.cancelled:
                raise ConnectionResetError("the client disconnected")
            size = min(count, SENDFILE_BYTES)
            try:
                # Also when cancelled: the thread must end before the descriptors that it uses are closed.
                sent = await shielded(loop.run_in_executor(file.threads, os.sendfile, out, file.fd, offset, size))
            except BlockingIOError:
                await self._wait_writable()
                continue
            except (ConnectionError, TimeoutError) as error:
                raise ConnectionResetError("the client disconnected") from error
            if not sent:
                raise FileTruncated(f"the file ended {count} bytes before the end of the response")
            file.sent += sent
            offset += sent
            count -= sent
            if count and sent < size:
                await self._wait_writable()

    async def _wait_writable(self) -> None:
        """Wait until the socket takes more. Raise ConnectionAbortedError when the client acknowledges nothing."""
        while not self._waiter.cancelled:
            before = unacknowledged(self._waiter.socket)
            if await self._waiter.writable(self._idle_seconds):
                return
            if not self._waiter.cancelled and unacknowledged(self._waiter.socket) >= before:
                raise ConnectionAbortedError("timeout: the client stopped reading the file")

    def cancel(self) -> None:
        """Let ``send`` raise ConnectionResetError, now and later."""
        self._waiter.cancel()

    def close(self) -> None:
        """Close the socket."""
        self._waiter.close()
