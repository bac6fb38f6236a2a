"""Write to one connection: wait for a slow client, and abort a connection whose client takes nothing."""

import asyncio
import socket
from collections.abc import Callable

from ferrotype.server.sockets import set_result, unacknowledged

#: bytes: a shorter body is copied behind its head, to be sent with one system call
SMALL_BODY = 16 << 10


class Writer:
    """The sending side of a connection. ``on_stall`` is called when the client takes nothing for ``idle_seconds``."""

    def __init__(self, transport: asyncio.Transport, idle_seconds: float, on_stall: Callable[[str], None]):
        self._transport = transport
        self._socket: socket.socket = transport.get_extra_info("socket")
        self._idle_seconds = idle_seconds
        self._on_stall = on_stall
        #: the transport holds more than its high-water mark
        self.paused = False
        self._lost = False
        self._waiters: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None

    def write(self, head: bytes, body: bytes = b"") -> None:
        """Send bytes without waiting; large ones are not copied."""
        if len(body) < SMALL_BODY:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    async def drain(self) -> None:
        """Wait until the transport is below its high-water mark, or the connection is lost."""
        if self.paused and not self._lost:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    async def flush(self) -> None:
        """Wait until the kernel has taken everything that was written, or the connection is lost."""
        self._transport.set_write_buffer_limits(high=0)
        await self.drain()
        if not self._transport.is_closing():
            self._transport.set_write_buffer_limits()

    def unsent(self) -> int:
        """Return how many bytes the client has not acknowledged, in the transport's buffer or in the kernel's."""
        return self._transport.get_write_buffer_size() + unacknowledged(self._socket)

    def watch(self) -> None:
        """Call ``on_stall`` if the client acknowledges nothing for the idle time, as long as data wait for it."""
        if self._timer is None and self._transport.get_write_buffer_size():
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._idle_seconds, self._check_progress, self.unsent())

    def _check_progress(self, before: int) -> None:
        self._timer = None
        if self._transport.get_write_buffer_size() and self.unsent() >= before:
            self._on_stall("timeout: the client stopped reading the response")
        else:
            self.watch()

    def on_pause(self) -> None:
        """The transport is above its high-water mark."""
        self.paused = True
        self.watch()

    def on_resume(self) -> None:
        """The transport is below its low-water mark."""
        self.paused = False
        self._stop_waiting()

    def on_connection_lost(self) -> None:
        """Nothing can be sent any more."""
        self._lost = True
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for waiter in self._waiters:
            set_result(waiter, None)
        self._waiters.clear()
