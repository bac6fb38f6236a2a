"""A file of a file system of the tests' own (FUSE), whose reads are slow, fail or hang from a chosen byte on.

The kernel asks us for the bytes, so ``read``, ``sendfile`` and ``splice`` behave as on a real file system in trouble.
"""

import ctypes
import errno
import os
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from needs import need

GETATTR, OPEN, READ, INIT, FORGET, INTERRUPT = 3, 14, 15, 26, 2, 36
#: bytes that the kernel asks for at once
READ_AHEAD = 16 << 10
_LIBC = ctypes.CDLL(None, use_errno=True)


class FuseFile:
    """Contents and troubles of one file.

    Bytes from ``fails_from`` on cannot be read; those from ``slow_from`` on come at ``rate`` bytes a second; those
    from ``hangs_from`` on come when it is ``released``.
    """

    def __init__(self, data: bytes):
        self.data = data
        self.fails_from = self.slow_from = self.hangs_from = len(data)
        self.rate = 10 << 10
        self.released = threading.Event()

    def read(self, offset: int, size: int) -> bytes:
        end = min(offset + size, len(self.data))
        if end > self.hangs_from:
            self.released.wait()
        if end > self.slow_from:
            self.released.wait((end - offset) / self.rate)
        if end > self.fails_from:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self.data[offset:end]

    def answer(self, operation: int, node: int, body: bytes) -> bytes:
        if operation == INIT:
            major = struct.unpack_from("<I", body)[0]
            return struct.pack("<IIIIHHIIHHII6I", major, 31, READ_AHEAD, 0, 16, 12, 4096, 1, 0, 0, 0, 0, *[0] * 6)
        if operation == GETATTR:
            size, now = len(self.data), 1_700_000_000
            attributes = (1, size, size // 512 + 1, now, now, now, 0, 0, 0, stat.S_IFREG | 0o644, 1, 0, 0, 0, 4096, 0)
            return struct.pack("<QII", 3600, 0, 0) + struct.pack("<QQQQQQIIIIIIIIII", *attributes)
        if operation == OPEN:
            return struct.pack("<QII", 1, 0, 0)
        if operation == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return self.read(offset, size)
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    def serve(self, device: int) -> None:
        while True:
            try:
                request = os.read(device, 1 << 20)
            except OSError:  # It is unmounted.
                return
            length, operation, unique, node = struct.unpack_from("<IIQQ", request)
            if operation in (FORGET, INTERRUPT):
                continue
            threading.Thread(target=self._reply, args=(device, operation, unique, node, request[40:length])).start()

    def _reply(self, device: int, operation: int, unique: int, node: int, body: bytes) -> None:
        try:
            code, data = 0, self.answer(operation, node, body)
        except OSError as error:
            code, data = -(error.errno or errno.EIO), b""
        try:
            os.write(device, struct.pack("<IiQ", 16 + len(data), code, unique) + data)
        except OSError:  # The question was withdrawn, or it is unmounted.
            return


@contextmanager
def fuse_file(path: Path) -> Iterator[FuseFile]:
    """Put a FuseFile with the contents of an existing file in its place, until the block ends."""
    need("mount")
    file = FuseFile(path.read_bytes())
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError:
        need("fuse-device")
        raise
    options = f"fd={device},rootmode={stat.S_IFREG:o},user_id=0,group_id=0"
    if _LIBC.mount(b"ferrotype-test", os.fsencode(path), b"fuse", 0, options.encode()):
        os.close(device)
        need("root-for-mount")
    thread = threading.Thread(target=file.serve, args=(device,))
    thread.start()
    try:
        yield file
    finally:
        file.released.set()
        _LIBC.umount2(os.fsencode(path), 3)  # MNT_FORCE, MNT_DETACH: calls that still hang fail now
        thread.join(60)
        os.close(device)
