"""What the C library does with memory that is given back to it."""

import ctypes
import logging

log = logging.getLogger("ferrotype.server")

#: names of glibc's <malloc.h>
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
#: bytes: what may lie unused at the end of the heap, and what is asked of the kernel one by one
UNUSED, LARGEST = 64 << 20, 32 << 20


def keep_memory() -> None:
    """Have this process keep the buffers of a transfer for the next, in place of giving them to the kernel and asking
    again: each page that comes back is a fault and 4 KiB of zeros to write (2 % of the CPU time of an upload)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        log.debug("this C library manages its memory as it likes")
        return
    if not (mallopt(M_TRIM_THRESHOLD, UNUSED) and mallopt(M_MMAP_THRESHOLD, LARGEST)):
        log.debug("the C library did not take the advice about memory")
