"""Discs: ISO 9660, and UDF in its second and third form. They cannot point outside themselves."""

import struct

from ferrotype.streams.inspect.records import Data, Format

VOLUME = 32 * 1024
DESCRIPTOR = 2048
#: All of the volume descriptor.
REACH = VOLUME + DESCRIPTOR
IDENTIFIERS = (b"CD001", b"NSR02", b"NSR03")
PRIMARY = 1


def matches(data: Data) -> bool:
    return len(data.head) >= REACH and data.head[VOLUME + 1 : VOLUME + 6] in IDENTIFIERS


def virtual_size(data: Data) -> int:
    """Blocks times their size, which only a primary volume descriptor states."""
    if data.head[VOLUME] != PRIMARY:
        return 0
    (blocks,) = struct.unpack_from("<I", data.head, VOLUME + 80)
    (block_size,) = struct.unpack_from("<H", data.head, VOLUME + 128)
    return int(blocks * block_size)


FORMAT = Format("iso", matches, virtual_size)
