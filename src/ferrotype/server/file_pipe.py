"""Move a part of a file to a socket through a pipe, without copying it in this process, as sendfile(2) does.

A call of sendfile that hangs in the file system holds the socket: no other thread may write to it. Here reading the
file and writing to the socket are two calls, so a read that hangs can be abandoned at a known byte.
"""

import fcntl
import os
import threading

from ferrotype.model.errors import BlobDamaged, StoreUnavailable

#: Bytes in the pipe at once. A smaller one costs more CPU; the kernel limits what all pipes of a user hold (64 MiB).
PIPE_BYTES = 512 << 10


class FilePipe:
    """Sends parts of the file ``fd`` to the socket ``out``. ``move`` runs in a thread, the rest on the event loop.

    Raise OSError when there are too many descriptors, or too many pipes.
    """

    def __init__(self, fd: int, out: int):
        self._fd, self._out = fd, out
        self._exit, self._entry = os.pipe2(os.O_CLOEXEC)
        try:
            fcntl.fcntl(self._entry, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            self.close()
            raise
        #: bytes that the socket has taken, and those in the pipe behind them
        self.sent = self._inside = 0
        self._lock = threading.Lock()
        self._abandoned = False

    def move(self, offset: int, size: int) -> None:
        """Send ``size`` bytes of the file from ``offset`` on, fewer when the socket takes no more.

        The bytes in the pipe are those at ``offset``. Raise BlobDamaged when the file ends, StoreUnavailable when it
        cannot be read, BlockingIOError when the socket takes nothing, and ConnectionError.
        """
        moved = 0
        while moved < size and not self._abandoned:
            if not self._inside:
                self._fill(offset + moved, min(PIPE_BYTES, size - moved))
            with self._lock:  # Not to be abandoned between the check and the write.
                if self._abandoned:
                    return
                try:
                    count = os.splice(self._exit, self._out, self._inside, flags=os.SPLICE_F_NONBLOCK)
                except BlockingIOError:
                    if moved:
                        return
                    raise
                self._inside -= count
                self.sent += count
            moved += count

    def _fill(self, offset: int, size: int) -> None:
        try:
            self._inside = os.splice(self._fd, self._entry, size, offset_src=offset)
        except OSError as error:
            raise StoreUnavailable(f"cannot read the file: {os.strerror(error.errno or 0)}") from error
        if not self._inside:
            raise BlobDamaged(f"the file ended at byte {offset}")

    def abandon(self) -> None:
        """Let a ``move`` that runs send nothing more. ``sent`` is final when this returns."""
        with self._lock:
            self._abandoned = True

    def close(self) -> None:
        """Close the pipe; no ``move`` may run."""
        os.close(self._exit)
        os.close(self._entry)
