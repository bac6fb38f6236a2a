"""QED, QEMU's abandoned format. It can name a backing file and is always refused."""

import struct

from ferrotype.streams.inspect.records import Data, Faults, Format

MAGIC = b"QED\0"
HEADER = 512


def matches(data: Data) -> bool:
    return len(data.head) >= HEADER and data.head.startswith(MAGIC)


def virtual_size(data: Data) -> int:
    (size,) = struct.unpack_from("<Q", data.head, 48)
    return int(size)


def faults(data: Data) -> Faults:
    """Always refuse it, even with a truncated header: a reader may pad it with zeros."""
    if data.head.startswith(MAGIC):
        yield "banned", "the format is not allowed"


FORMAT = Format("qed", matches, virtual_size, faults, disguised=faults)
