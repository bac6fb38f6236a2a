"""QEMU's abandoned format: recognised in order to be refused, since it can name a backing file."""

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
    """Always refused, even when cut short: a program may fill it up with zeros."""
    if data.head.startswith(MAGIC):
        yield "banned", "the format is not allowed"


FORMAT = Format("qed", matches, virtual_size, faults, disguised=faults)
