"""Encrypted volumes. Their content is opaque here, and nothing in their headers refers to another file.

Version 2 is opaque data: it may be stored as ``raw``, but not as ``luks``, which consumers take for version 1.
"""

import struct

from ferrotype.streams.inspect.records import Data, Faults, Format

MAGIC = b"LUKS\xba\xbe"
HEADER = 592
VERSION = slice(6, 8)


def matches(data: Data) -> bool:
    return data.head.startswith(MAGIC)


def virtual_size(data: Data) -> int:
    """Return what is left behind the header and the key slots; 0 for other versions than 1."""
    if len(data.head) < HEADER or data.head[VERSION] != b"\0\1":
        return 0
    (payload,) = struct.unpack_from(">I", data.head, 104)
    return max(0, data.size - int(payload) * 512)


def faults(data: Data) -> Faults:
    if len(data.head) < HEADER:
        yield "header", "the header is truncated"
    elif data.head[VERSION] == b"\0\2":
        yield "luks2", "LUKS version 2 can only be stored as raw"
    elif data.head[VERSION] != b"\0\1":
        yield "version", "the version is neither 1 nor 2"


FORMAT = Format("luks", matches, virtual_size, faults)
