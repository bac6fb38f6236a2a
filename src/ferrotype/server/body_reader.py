"""Read a large body of known length from the socket itself.

Each byte is copied once, out of the kernel; through the transport and the parser it would be copied twice more.
"""

import asyncio
import socket

from ferrotype.server.sockets import SocketWaiter, set_rcvlowat

#: bytes: the largest read
READ_BYTES = 2 << 20
#: how many bytes should have come before a read, and the seconds after which fewer are read. Otherwise a client about
#: as fast as the server wakes it for every packet, and the other connections starve.
READ_LOW_WATER, READ_DELAY = 512 << 10, 0.5


class BodyReader:
    """Reads the ``missing`` bytes of a body and none that follow. ``connection`` is closed with the reader."""

    def __init__(self, connection: socket.socket, missing: int, idle_seconds: float):
        self.missing = missing
        self._waiter = SocketWaiter(connection)
        self._idle_seconds = idle_seconds
        self._expired = False
        #: the last read took all there was
        self._socket_drained = False

    async def read(self) -> bytes:
        """Return the next bytes of the body, at least one.

        Raise ConnectionResetError when no more will come, ConnectionAbortedError when none came for the idle time.
        """
        data = None if self._socket_drained else self._recv_nowait()
        if data is None:
            data = await self._read_when_ready()
        self.missing -= len(data)
        self._socket_drained = len(data) < READ_LOW_WATER
        return data

    async def _read_when_ready(self) -> bytes:
        timer = asyncio.get_running_loop().call_later(self._idle_seconds, self._expire)
        try:
            data = None
            while data is None:
                set_rcvlowat(self._waiter.socket, min(self.missing, READ_LOW_WATER))
                await self._waiter.readable(READ_DELAY)
                if self._expired:
                    raise ConnectionAbortedError("timeout: the client stopped sending the request body")
                if self._waiter.cancelled:
                    raise ConnectionResetError("the client disconnected")
                data = self._recv_nowait()
            return data
        finally:
            timer.cancel()

    def _expire(self) -> None:
        self._expired = True
        self._waiter.cancel()

    def _recv_nowait(self) -> bytes | None:
        """Return what has come of the body, None when nothing has."""
        try:
            data = self._waiter.socket.recv(min(self.missing, READ_BYTES))
        except BlockingIOError:
            return None
        except OSError as error:  # ETIMEDOUT is a TimeoutError, EHOSTUNREACH a plain OSError.
            raise ConnectionResetError("the client disconnected") from error
        if not data:
            raise ConnectionResetError("the client closed the connection before the end of the request body")
        return data

    def cancel(self) -> None:
        """Let ``read`` raise ConnectionResetError, now and later."""
        self._waiter.cancel()

    def close(self) -> None:
        """Give the socket back as it was, ready for the transport."""
        set_rcvlowat(self._waiter.socket, 1)
        self._waiter.close()
