"""Raw disks with a boot sector: a partition table, or a protective one in front of a GPT."""

import struct

from ferrotype.streams.inspect.records import Data, Faults, Format

SECTOR = 512
ENTRIES = 446
SIGNATURE = b"\x55\xaa"
FIXED_DISK = 0xF8
PROTECTIVE = 0xEE


def matches(data: Data) -> bool:
    sector = data.head[:SECTOR]
    return len(sector) == SECTOR and sector.endswith(SIGNATURE) and not is_fat(sector)


def is_fat(sector: bytes) -> bool:
    """A FAT file system begins with a sector that carries the same signature but no partitions."""
    return sector[0x10] == 2 and sector[0x15] == FIXED_DISK


def virtual_size(data: Data) -> int:
    return data.size


def faults(data: Data) -> Faults:
    """Judge the four entries: ``mbr`` for what any table owes, ``gptmbr`` for a protective one."""
    used = []
    protective = False
    for number in range(4):
        flag, chs, kind, lba = struct.unpack_from("<B3sB3xI", data.head, ENTRIES + 16 * number)
        if flag not in (0x00, 0x80):
            yield "mbr", f"partition {number} has an invalid boot flag"
        if kind:
            used.append(number)
        if kind == PROTECTIVE:
            protective = True
            if chs != b"\x00\x02\x00":
                yield "gptmbr", f"partition {number} is protective but its start CHS is not 0, 2, 0"
            if lba != 1:
                yield "gptmbr", f"partition {number} is protective but does not start at sector 1"
    if protective and used != [0]:
        yield "gptmbr", "the protective partition is not the first and only one"
    if not used:
        yield "mbr", "the partition table is empty"


FORMAT = Format("gpt", matches, virtual_size, faults)
