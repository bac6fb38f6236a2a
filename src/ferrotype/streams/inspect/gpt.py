"""Raw disks with a partition table: an MBR, or a protective MBR in front of a GPT.

    446  four entries of 16 bytes:  0 boot flag   1 first sector as CHS   4 type   8 first sector
    510  signature

Other first sectors end with the same signature and have no partition table: the boot sector of a volume, a program,
a DOS label without a partition. They are raw.
"""

import struct

from ferrotype.streams.inspect.records import Data, Faults, Format

SECTOR = 512
ENTRIES = 446
SIGNATURE = b"\x55\xaa"
PROTECTIVE = 0xEE
GPT_HEADER = b"EFI PART"

FIXED_DISK = 0xF8
FLOPPY = 0xF0
#: What a boot sector of NTFS, exFAT or BitLocker has where FAT has the name of the program that made it.
VOLUME_NAMES = (b"NTFS    ", b"EXFAT   ", b"-FVE-FS-")
#: offset -> magics of file systems that leave the first sector to a boot loader: ext, HFS+, F2FS, Btrfs
SUPERBLOCKS = {
    1080: (b"\x53\xef",),
    1024: (b"H+\0\4", b"HX\0\5", b"\x10\x20\xf5\xf2"),
    0x10040: (b"_BHRfS_M",),
}
#: How much of the start shows whether one of them is there.
REACH = 0x10048

LINUX_KERNEL = (0x202, b"HdrS")
PE_OFFSET = 0x3C


def matches(data: Data) -> bool:
    head = data.head
    if len(head) < SECTOR or head[510:SECTOR] != SIGNATURE or not any(head[ENTRIES:510]):
        return False
    # What has a GPT is a disk, whatever else it looks like. The reference calls nothing a disk that looks like FAT.
    if looks_like_fat(head):
        return False
    return head[SECTOR : SECTOR + 8] == GPT_HEADER or not (is_volume(head) or is_program(head))


def looks_like_fat(head: bytes) -> bool:
    """Whether two bytes are those of FAT on a fixed disk, which is all that the reference looks at."""
    return head[0x10] == 2 and head[0x15] == FIXED_DISK


def is_volume(head: bytes) -> bool:
    """Whether this is the boot sector of a volume: its last bytes are a program's, not a partition table."""
    if head[3:11] in VOLUME_NAMES and head[0] in (0xEB, 0xE9):
        return True
    if is_fat(head):
        return True
    return any(head.startswith(magic, offset) for offset, magics in SUPERBLOCKS.items() for magic in magics)


def is_fat(head: bytes) -> bool:
    """Whether there is a FAT parameter block, on a medium of any kind."""
    sector_size, sectors_in_cluster, reserved, tables = struct.unpack_from("<HBHB", head, 0x0B)
    return (
        (head[0] == 0xE9 or (head[0] == 0xEB and head[2] == 0x90))
        and sector_size in (512, 1024, 2048, 4096)
        and sectors_in_cluster.bit_count() == 1
        and reserved > 0
        and tables in (1, 2)
        and (head[0x15] == FLOPPY or head[0x15] >= FIXED_DISK)
    )


def is_program(head: bytes) -> bool:
    """Whether this is a PE program, as EFI starts them, or a Linux kernel."""
    offset, magic = LINUX_KERNEL
    if head.startswith(magic, offset):
        return True
    (header,) = struct.unpack_from("<I", head, PE_OFFSET)
    return head.startswith(b"MZ") and head.startswith(b"PE\0\0", header)


def virtual_size(data: Data) -> int:
    return data.size


def faults(data: Data) -> Faults:
    """Check the four entries: ``mbr`` for the rules of any table, ``gptmbr`` for those of a protective one."""
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
        yield "mbr", "no entry of the partition table has a type"


FORMAT = Format("gpt", matches, virtual_size, faults)
