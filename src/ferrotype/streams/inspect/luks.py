"""Encrypted volumes. Version 1 is opaque to us; other versions are not known well enough to be let in."""

import struct

from ferrotype.streams.inspect.records import Data, Faults, Format

MAGIC = b"LUKS\xba\xbe"
HEADER = 592


def matches(data: Data) -> bool:
    return data.head.startswith(MAGIC)


def virtual_size(data: Data) -> int:
    """What is left behind the header and the key slots."""
    if len(data.head) < HEADER:
        return 0
    (payload,) = struct.unpack_from(">I", data.head, 104)
    return max(0, data.size - int(payload) * 512)


def faults(data: Data) -> Faults:
    if len(data.head) < HEADER:
        yield "header", "the header is cut short"
    elif data.head[6:8] != b"\0\1":
        yield "version", "the version is not 1"


FORMAT = Format("luks", matches, virtual_size, faults)
