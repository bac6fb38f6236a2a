"""Virtual PC and Hyper-V disks of the first kind, when they are not fixed: a differencing one needs another image.

    0 "conectix"   16 offset of the dynamic header   40 virtual size   60 type

    The dynamic header:  0 "cxsparse"   40 parent: identity, 64 name, 576 eight locators

All numbers are big-endian. A fixed disk has these fields at its end and is raw to us.
"""

import struct

from ferrotype.streams.inspect.records import Data, Faults, Format, size_faults

MAGIC = b"conectix"
HEADER = 512
DYNAMIC = 3
DIFFERENCING = 4
DYNAMIC_HEADER = 1024


def matches(data: Data) -> bool:
    return data.head.startswith(MAGIC)


def virtual_size(data: Data) -> int:
    if len(data.head) < HEADER:
        return 0
    (size,) = struct.unpack_from(">Q", data.head, 40)
    return int(size)


def faults(data: Data) -> Faults:
    if len(data.head) < HEADER:
        yield "header", "the header is cut short"
        return
    (kind,) = struct.unpack_from(">I", data.head, 60)
    if kind == DIFFERENCING:
        yield "parent", "the disk differs from another image"
    if kind == DYNAMIC:
        yield from dynamic_faults(data)
    yield from size_faults(virtual_size(data))


def dynamic_faults(data: Data) -> Faults:
    """Whatever its type says, a dynamic disk must not name a parent."""
    (offset,) = struct.unpack_from(">Q", data.head, 16)
    header = data.head[offset : offset + DYNAMIC_HEADER]
    if len(header) < DYNAMIC_HEADER or not header.startswith(b"cxsparse"):
        yield "header", "there is no dynamic header where one is announced"
    elif any(header[40:56]) or any(header[64:768]):
        yield "parent", "the dynamic header names a parent"


FORMAT = Format("vhd", matches, virtual_size, faults)
