"""VirtualBox disks. A differencing disk needs another image.

    64 magic   76 type   368 virtual size   424 UUIDs: of the image it continues, 440 of its parent; null for none

All numbers are little-endian.
"""

import struct

from ferrotype.streams.inspect.records import Data, Faults, Format, size_faults

MAGIC = b"\x7f\x10\xda\xbe"
HEADER = 512
UNDO = 3
DIFFERENCING = 4


def matches(data: Data) -> bool:
    return len(data.head) >= HEADER and data.head[64:68] == MAGIC


def virtual_size(data: Data) -> int:
    (size,) = struct.unpack_from("<Q", data.head, 368)
    return int(size)


def faults(data: Data) -> Faults:
    (kind,) = struct.unpack_from("<I", data.head, 76)
    if kind in (UNDO, DIFFERENCING) or any(data.head[424:456]):
        yield "parent", "the disk is a differencing one"
    yield from size_faults(virtual_size(data))


FORMAT = Format("vdi", matches, virtual_size, faults)
