"""Send a part of a file: the kernel copies it, and no thread waits for a slow client."""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, Protocol

from ferrotype.model.errors import BlobDamaged, StoreUnavailable
from ferrotype.offload import shielded
from ferrotype.server.file_pipe import FilePipe
from ferrotype.server.sockets import SocketWaiter, unacknowledged
from ferrotype.streams.pace import Pace

log = logging.getLogger("ferrotype.server.file_sender")

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

    def keep_open_for(self, call: "asyncio.Future[Any]") -> None:
        """Keep the descriptor open until this call has ended."""


class FileSender:
    """Sends to one connection. ``connection`` is closed with the sender."""

    def __init__(self, connection: socket.socket, idle_seconds: float):
        self._waiter = SocketWaiter(connection)
        self._idle_seconds = idle_seconds

    async def send(self, file: SendableFile, offset: int, count: int, pace: Pace | None = None) -> None:
        """Send exactly ``count`` bytes from ``offset``; ``file.sent`` counts them.

        With a ``pace`` a file that is read too slowly is given up: StoreSlow. Raise BlobDamaged when the file is too
        short, StoreUnavailable when it cannot be read, ConnectionResetError when the client is gone, and
        ConnectionAbortedError when it took nothing for the idle time.
        """
        out = self._waiter.socket.fileno()
        paced = _PacedFile.open(file, out, pace) if pace is not None else None
        if paced is None:
            await self._send_all(offset, count, partial(_sendfile, file, out))
            return
        try:
            await self._send_all(offset, count, paced.send_some)
        finally:
            paced.close()

    async def _send_all(self, offset: int, count: int, send_some: Callable[[int, int], Awaitable[int]]) -> None:
        while count:
            if self._waiter.cancelled:
                raise ConnectionResetError("the client disconnected")
            size = min(count, SENDFILE_BYTES)
            try:
                sent = await send_some(offset, size)
            except BlockingIOError:
                await self._wait_writable()
                continue
            except (ConnectionError, TimeoutError) as error:
                raise ConnectionResetError("the client disconnected") from error
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


async def _sendfile(file: SendableFile, out: int, offset: int, size: int) -> int:
    """Send up to ``size`` bytes with one call of sendfile, and return how many were sent."""
    try:
        # Also when cancelled: the thread must end before the descriptors that it uses are closed.
        loop = asyncio.get_running_loop()
        sent = await shielded(loop.run_in_executor(file.threads, os.sendfile, out, file.fd, offset, size))
    except (BlockingIOError, ConnectionError, TimeoutError):
        raise
    except OSError as error:
        raise StoreUnavailable(f"cannot read the file: {error.strerror}") from error
    if not sent:
        raise BlobDamaged(f"the file ended at byte {offset}")
    file.sent += sent
    return sent


class _PacedFile:
    """Sends through a pipe, so that a call that hangs in the file system can be abandoned."""

    def __init__(self, file: SendableFile, pipe: FilePipe, pace: Pace):
        self._file, self._pipe, self._pace = file, pipe, pace
        self._call: asyncio.Future[None] | None = None

    @classmethod
    def open(cls, file: SendableFile, out: int, pace: Pace) -> "_PacedFile | None":
        """Return the file with a pipe; None when the system has no more: sendfile needs none."""
        try:
            return cls(file, FilePipe(file.fd, out), pace)
        except OSError as error:
            log.debug("no pipe for a download: %s", error)
            return None

    async def send_some(self, offset: int, size: int) -> int:
        """Send up to ``size`` bytes and return how many were sent; raise StoreSlow when they come too slowly."""
        pipe, before = self._pipe, self._pipe.sent
        call = self._call = asyncio.get_running_loop().run_in_executor(self._file.threads, pipe.move, offset, size)
        try:
            while not call.done():
                counted = pipe.sent
                self._pace.add(await self._pace.wait(call), pipe.sent - counted)
            call.result()
        finally:
            if not call.done():
                pipe.abandon()
            self._file.sent += pipe.sent - before
        return pipe.sent - before

    def close(self) -> None:
        """Close the pipe, and let go of the file, when the last call has ended."""
        if self._call is None or self._call.done():
            self._pipe.close()
        else:
            self._file.keep_open_for(self._call)
            self._call.add_done_callback(self._close_late)

    def _close_late(self, call: "asyncio.Future[None]") -> None:
        self._pipe.close()
        if not call.cancelled():
            call.exception()  # Retrieved: nothing depends on it any more.
