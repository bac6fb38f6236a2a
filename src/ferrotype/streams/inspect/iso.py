"""Optical discs: ISO 9660, and UDF with or without it. They cannot refer to another file.

From 32 KiB on there are volume descriptors: 0 type   1 identifier   80 blocks   128 block size. UDF alone begins
them with BEA01; its NSR02 or NSR03 follows, one sector or one block of 4 KiB further on each.
"""

import struct

from ferrotype.streams.inspect.records import Data, Format

VOLUME = 32 * 1024
DESCRIPTOR = 2048
#: How much of the start shows what kind of disc it is.
REACH = VOLUME + 8 * 4096
UDF = (b"NSR02", b"NSR03")
IDENTIFIERS = (b"CD001", *UDF)
EXTENDED_AREA = b"BEA01"
#: What may stand between the begin of the extended area and the UDF descriptor.
IN_EXTENDED_AREA = (b"BOOT2", b"CDW02")
PRIMARY = 1


def matches(data: Data) -> bool:
    if len(data.head) < VOLUME + DESCRIPTOR:
        return False
    return identifier(data.head, VOLUME) in IDENTIFIERS or is_udf(data.head)


def identifier(head: bytes, offset: int) -> bytes:
    """Return the identifier of the volume descriptor at ``offset``."""
    return head[offset + 1 : offset + 6]


def is_udf(head: bytes) -> bool:
    """Whether this is UDF without ISO 9660."""
    if identifier(head, VOLUME) != EXTENDED_AREA:
        return False
    step = DESCRIPTOR if any(identifier(head, VOLUME + DESCRIPTOR)) else 2 * DESCRIPTOR
    names = (identifier(head, offset) for offset in range(VOLUME + step, REACH, step))
    return next((name for name in names if name not in IN_EXTENDED_AREA), b"") in UDF


def virtual_size(data: Data) -> int:
    """Return blocks times their size, which only a primary volume descriptor states; for UDF alone, all bytes."""
    if identifier(data.head, VOLUME) == EXTENDED_AREA:
        return data.size
    if data.head[VOLUME] != PRIMARY:
        return 0
    (blocks,) = struct.unpack_from("<I", data.head, VOLUME + 80)
    (block_size,) = struct.unpack_from("<H", data.head, VOLUME + 128)
    return int(blocks * block_size)


FORMAT = Format("iso", matches, virtual_size)
