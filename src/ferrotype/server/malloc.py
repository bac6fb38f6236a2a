"""Advice for the C library's memory allocator."""

import ctypes
import logging

log = logging.getLogger("ferrotype.server")

#: options of glibc's mallopt(3)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
#: bytes: how much free memory at the top of the heap is kept, and from which size on a block gets its own mmap
TRIM_BYTES, MMAP_BYTES = 64 << 20, 32 << 20


def keep_memory() -> None:
    """Have malloc keep the buffers of a transfer for the next one.

    By default glibc returns them to the kernel; getting them back costs a page fault and 4 KiB of zeros for each
    page (2 % of the CPU time of an upload).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        log.debug("this C library has no mallopt; its defaults stay")
        return
    if not (mallopt(M_TRIM_THRESHOLD, TRIM_BYTES) and mallopt(M_MMAP_THRESHOLD, MMAP_BYTES)):
        log.debug("mallopt refused the thresholds; the defaults stay")
