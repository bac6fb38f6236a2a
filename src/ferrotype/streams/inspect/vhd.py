"""Virtual PC and Hyper-V disks, version 1. A differencing disk needs another image.

    The footer:          0 "conectix"   16 offset of the dynamic header   40 virtual size   60 type   64 checksum
    The dynamic header:  0 "cxsparse"   40 parent: identity, 64 name, 576 eight locators

A dynamic disk repeats its footer at the start. A fixed one has it at the end only, behind the plain bytes of the
disk; so that is looked at only when the image declares it. All numbers are big-endian.
"""

import struct

from ferrotype.streams.inspect.records import Data, Faults, Format, size_faults

MAGIC = b"conectix"
FOOTER = 512
FIXED = 2
DYNAMIC = 3
DIFFERENCING = 4
DYNAMIC_HEADER = 1024
DYNAMIC_MAGIC = b"cxsparse"


def matches(data: Data) -> bool:
    return data.head.startswith(MAGIC)


def virtual_size(data: Data) -> int:
    if len(data.head) < FOOTER:
        return 0
    (size,) = struct.unpack_from(">Q", data.head, 40)
    return int(size)


def fixed_size(data: Data) -> int | None:
    """Return the virtual size of a fixed disk; None when the data does not end with the intact footer of one."""
    footer = data.tail[-FOOTER:]
    if len(footer) < FOOTER or not footer.startswith(MAGIC) or data.head.startswith(MAGIC):
        return None
    size, kind, checksum = struct.unpack_from(">40xQ12xII", footer)
    if kind != FIXED or size != data.size - FOOTER:
        return None
    if checksum != ~(sum(footer) - sum(footer[64:68])) & 0xFFFFFFFF:
        return None
    return int(size)


def faults(data: Data) -> Faults:
    if len(data.head) < FOOTER:
        yield "header", "the header is truncated"
        return
    (kind,) = struct.unpack_from(">I", data.head, 60)
    if kind == DIFFERENCING:
        yield "parent", "the disk is a differencing one"
    yield from dynamic_faults(data, required=kind == DYNAMIC)
    yield from size_faults(virtual_size(data))


def dynamic_faults(data: Data, required: bool) -> Faults:
    """Check that the dynamic header names no parent, whatever the type of the disk: some readers ignore the type."""
    (offset,) = struct.unpack_from(">Q", data.head, 16)
    header = data.head[offset : offset + DYNAMIC_HEADER]
    if len(header) < DYNAMIC_HEADER or not header.startswith(DYNAMIC_MAGIC):
        if required:
            yield "header", "there is no dynamic header where the footer says"
    elif any(header[40:56]) or any(header[64:768]):
        yield "parent", "the dynamic header names a parent"


FORMAT = Format("vhd", matches, virtual_size, faults)
