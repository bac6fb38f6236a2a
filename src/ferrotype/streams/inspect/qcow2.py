"""QEMU disks, versions 2 and 3. The header may name a backing file or a data file.

    0 magic   4 version   8 backing file: offset, 16 length   20 cluster bits   24 virtual size   32 encryption
    36 L1 table: entries, 40 offset   48 refcount table: offset, 56 clusters   60 snapshots: number, 64 offset
    72 incompatible features   96 refcount order   100 header length   104 compression       (version 3)

Then come extensions (type, length, data padded to 8 bytes) until one of type 0
or the end of the first cluster. All numbers are big-endian.
"""

import struct
from dataclasses import replace

from ferrotype.streams.inspect.records import Data, Faults, Format, size_faults

MAGIC = b"QFI\xfb"
HEADER = 512
DATA_FILE = 1 << 2
COMPRESSION = 1 << 3
#: dirty, corrupt, external data file, compression type, extended L2 entries
KNOWN_FEATURES = 0x1F
DATA_FILE_EXTENSION = 0x44415441

MAX_L1 = 32 << 20
MAX_REFCOUNT_TABLE = 8 << 20
MAX_SNAPSHOTS = 65536


def matches(data: Data) -> bool:
    return len(data.head) >= HEADER and data.head.startswith(MAGIC)


def virtual_size(data: Data) -> int:
    (size,) = struct.unpack_from(">Q", data.head, 24)
    return int(size)


def faults(data: Data) -> Faults:
    """Check a whole header."""
    yield from outside_files(data.head)
    yield from header_faults(data.head)
    yield from size_faults(virtual_size(data))
    yield from table_faults(data)
    yield from extension_faults(data)


def disguised(data: Data) -> Faults:
    """Check a truncated header: it is raw here, but a reader that pads it with zeros would open what it names."""
    if data.head.startswith(MAGIC):
        filled = replace(data, size=HEADER, head=data.head.ljust(HEADER, b"\0"))
        yield from outside_files(filled.head)
        yield from (fault for fault in extension_faults(filled) if fault[0] == "data_file")


def outside_files(head: bytes) -> Faults:
    """Check that the header names no other file."""
    (backing,) = struct.unpack_from(">Q", head, 8)
    (features,) = struct.unpack_from(">Q", head, 72)
    if backing:
        yield "backing_file", "the header names a backing file"
    # Version 2 does not define these bytes. A reader that looks at them anyway must find nothing.
    if features & DATA_FILE:
        yield "data_file", "the header says that the data is in another file"


def header_faults(head: bytes) -> Faults:
    """Check that every field that selects how the rest is read has a known value."""
    version, cluster_bits, encryption = struct.unpack_from(">4xI12xI8xI", head)
    if version not in (2, 3):
        yield "unknown_features", "the version is neither 2 nor 3"
    if not 9 <= cluster_bits <= 21:
        yield "header", "the cluster size is out of range"
    if encryption not in (0, 2):
        yield "header", "the encryption method is unknown or obsolete"
    if version != 3:
        return
    features, refcount_order, length, compression = struct.unpack_from(">72xQ16xIIB", head)
    if features & ~KNOWN_FEATURES:
        yield "unknown_features", "an incompatible feature is unknown"
    if features & COMPRESSION and (length <= 104 or compression > 1):
        yield "unknown_features", "the compression type is unknown"
    if refcount_order > 6:
        yield "header", "the refcount order is out of range"
    if length < 104 or length > HEADER or length % 8:
        yield "header", "the header length is out of range"


def table_faults(data: Data) -> Faults:
    """Check that tables begin inside the file and are no larger than any real disk needs."""
    (cluster_bits,) = struct.unpack_from(">I", data.head, 20)
    l1_entries, l1_at, refcounts_at, refcount_clusters, snapshots, snapshots_at = struct.unpack_from(
        ">36xIQQIIQ", data.head
    )
    tables = (
        ("L1 table", l1_at, l1_entries * 8, MAX_L1),
        # A cluster size out of range is refused by header_faults; the bound keeps the shift small.
        ("refcount table", refcounts_at, refcount_clusters << min(cluster_bits, 63), MAX_REFCOUNT_TABLE),
        ("snapshot table", snapshots_at, snapshots, MAX_SNAPSHOTS),
    )
    for name, offset, extent, most in tables:
        if extent > most:
            yield "tables", f"the {name} is too large"
        elif extent and offset >= data.size:
            yield "tables", f"the {name} begins beyond the end of the data"


def extension_faults(data: Data) -> Faults:
    """Check that every extension was kept, and that none names a data file, whatever the feature bits say."""
    version, cluster_bits = struct.unpack_from(">4xI12xI", data.head)
    (length,) = struct.unpack_from(">I", data.head, 100)
    offset = length if version == 3 else 72
    end = min(1 << min(cluster_bits, 63), data.size)
    while offset + 8 <= end:
        if offset + 8 > len(data.head):
            yield "extensions", "the header extensions are too long"
            return
        kind, length = struct.unpack_from(">II", data.head, offset)
        if kind == 0:
            return
        if kind == DATA_FILE_EXTENSION:
            yield "data_file", "a header extension names a data file"
        offset += 8 + (length + 7) // 8 * 8
        if offset > end:
            yield "extensions", "a header extension is longer than the header"


FORMAT = Format("qcow2", matches, virtual_size, faults, disguised)
