"""Hyper-V disks, version 2. A differencing disk needs another image, and a log changes what is read.

      0      "vhdxfile"
     64 KiB  two headers, 64 KiB apart: 4 checksum   8 sequence number   48 log identity
    192 KiB  two copies of the region table, 64 KiB apart: entries of (identity, offset, length, flags)
      1 MiB+ the metadata region: a table of (identity, offset in the region, length, flags), then the items

All numbers are little-endian.
"""

import struct
from collections.abc import Iterator
from uuid import UUID

from ferrotype.streams.inspect.records import Data, Faults, Format, size_faults

MAGIC = b"vhdxfile"
HEADERS = (64 * 1024, 128 * 1024)
HEADER_SIZE = 4096
TABLES = (192 * 1024, 256 * 1024)
TABLE_SIZE = 64 * 1024
REACH = TABLES[1] + TABLE_SIZE
MAX_ENTRIES = 2047

#: Regions begin here at the earliest; what lies before them is the fixed part.
FIRST_REGION = 1024 * 1024
#: How much of the metadata region is kept. Every known writer makes it this long.
METADATA_SIZE = 1024 * 1024
LARGEST_DISK = 64 << 40

BLOCKS = UUID("2dc27766-f623-4200-9d64-115e9bfd4a08").bytes_le
METADATA = UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e").bytes_le

FILE_PARAMETERS = UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b").bytes_le
DISK_SIZE = UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8").bytes_le
DISK_IDENTITY = UUID("beca12ab-b2e6-4523-93ef-c309e000c746").bytes_le
LOGICAL_SECTOR = UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f").bytes_le
PHYSICAL_SECTOR = UUID("cda348c7-445d-4471-9cc9-e9885251c556").bytes_le
PARENT_LOCATOR = UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le
KNOWN_ITEMS = {FILE_PARAMETERS, DISK_SIZE, DISK_IDENTITY, LOGICAL_SECTOR, PHYSICAL_SECTOR, PARENT_LOCATOR}

HAS_PARENT = 2
REGION_REQUIRED = 1
ITEM_REQUIRED = 4

#: (identity, offset, length, flags)
Entry = tuple[bytes, int, int, int]


def matches(data: Data) -> bool:
    return data.head.startswith(MAGIC)


def reach(first: bytes) -> int:
    """Return how much of the start is needed."""
    return REACH if first.startswith(MAGIC) else 0


def regions_needed(head: bytes) -> tuple[tuple[int, int], ...]:
    """Return the (offset, length) of what is needed behind the head: the metadata region."""
    if not head.startswith(MAGIC):
        return ()
    found = [offset for identity, offset, _, _ in regions(head, TABLES[0]) if identity == METADATA]
    if len(found) != 1 or found[0] < FIRST_REGION:
        return ()
    return ((found[0], METADATA_SIZE),)


def virtual_size(data: Data) -> int:
    sizes = [item(data, entry) for entry in items(data) if entry[0] == DISK_SIZE]
    if len(sizes) != 1 or len(sizes[0]) != 8:
        return 0
    return int.from_bytes(sizes[0], "little")


def faults(data: Data) -> Faults:
    if len(data.head) < REACH:
        yield "header", "the headers are truncated"
        return
    yield from header_faults(data.head)
    yield from region_faults(data.head)
    yield from metadata_faults(data)


def header_faults(head: bytes) -> Faults:
    """Check that the active header, the intact one with the higher number, has no log to replay."""
    intact = []
    for offset in HEADERS:
        header = head[offset : offset + HEADER_SIZE]
        stated, sequence = struct.unpack_from("<4xIQ", header)
        if header.startswith(b"head") and crc32c(header[:4] + bytes(4) + header[8:]) == stated:
            intact.append((sequence, header))
    if not intact:
        yield "header", "neither of the headers is intact"
        return
    newest = max(sequence for sequence, _ in intact)
    if any(any(header[48:64]) for sequence, header in intact if sequence == newest):
        yield "log", "the disk was not closed: its log would have to be replayed"


def region_faults(head: bytes) -> Faults:
    """Check that both copies of the table are the same, so that it does not matter which one is read."""
    first, second = (head[offset : offset + TABLE_SIZE] for offset in TABLES)
    if not first.startswith(b"regi") or struct.unpack_from("<I", first, 8)[0] > MAX_ENTRIES:
        yield "regions", "there is no valid region table"
        return
    if second.startswith(b"regi") and first != second:
        yield "regions", "the two region tables differ"
    known = {BLOCKS, METADATA}
    if any(flags & REGION_REQUIRED and identity not in known for identity, _, _, flags in regions(head, TABLES[0])):
        yield "unknown_features", "a required region is unknown"


def metadata_faults(data: Data) -> Faults:
    if not metadata(data).startswith(b"metadata"):
        yield "metadata", "there is no metadata region that can be read"
        return
    entries = list(items(data))
    identities = [identity for identity, _, _, _ in entries]
    if len(set(identities)) < len(identities):
        yield "metadata", "an item is given twice"
    if any(flags & ITEM_REQUIRED and identity not in KNOWN_ITEMS for identity, _, _, flags in entries):
        yield "unknown_features", "a required metadata item is unknown"
    parameters = [item(data, entry) for entry in entries if entry[0] == FILE_PARAMETERS]
    if any(len(values) != 8 for values in parameters):
        yield "metadata", "the file parameters cannot be read"
    elif PARENT_LOCATOR in identities or any(values[4] & HAS_PARENT for values in parameters):
        yield "parent", "the disk is a differencing one"
    yield from size_faults(virtual_size(data), LARGEST_DISK)


def regions(head: bytes, table: int) -> Iterator[Entry]:
    """Yield the entries of the region table at ``table``; none when it is not one."""
    signature, count = struct.unpack_from("<4s4xI", head, table)
    if signature == b"regi" and count <= MAX_ENTRIES:
        yield from struct.iter_unpack("<16sQII", head[table + 16 : table + 16 + 32 * count])


def metadata(data: Data) -> bytes:
    """Return the metadata region, empty when it was out of reach."""
    return next(iter(data.regions.values()), b"")


def items(data: Data) -> Iterator[Entry]:
    """Yield the entries of the metadata table that were kept."""
    region = metadata(data)
    if len(region) < TABLE_SIZE:
        return
    (count,) = struct.unpack_from("<H", region, 10)
    if count <= MAX_ENTRIES:
        yield from struct.iter_unpack("<16sIII4x", region[32 : 32 + 32 * count])


def item(data: Data, entry: Entry) -> bytes:
    """Return what ``entry`` points to, as far as it was kept."""
    _, offset, length, _ = entry
    return metadata(data)[offset : offset + length]


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


CRC_TABLE = _crc_table()


def crc32c(block: bytes) -> int:
    """Return the Castagnoli checksum of a small ``block``."""
    value = 0xFFFFFFFF
    for byte in block:
        value = CRC_TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


FORMAT = Format("vhdx", matches, virtual_size, faults)
