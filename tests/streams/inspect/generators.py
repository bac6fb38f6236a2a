"""Small disk images, written field by field so that a test can put any value into any of them."""

import struct
import time
from collections.abc import Callable, Iterable
from itertools import pairwise

from ferrotype.streams.inspect import Findings, Inspector, check_format
from ferrotype.streams.inspect.vhdx import (
    BLOCKS,
    DISK_SIZE,
    FILE_PARAMETERS,
    METADATA,
    PARENT_LOCATOR,
    crc32c,
)

SECTOR = 512
MIB = 1 << 20
NO_PARENT = "ffffffff"


def inspect(*chunks: bytes) -> Findings:
    """Return what the inspector finds in these chunks."""
    inspector = Inspector()
    inspector.feed(chunks)
    return inspector.finish()


def accepted(findings: Findings, declared: str | None) -> int | None:
    """Return the virtual size that such data has in an image of this format, by default; or raise ContentRefused."""
    return check_format(findings, declared, "bare", require_match=True, nonfatal=()).virtual_size


def cpu_time(work: Callable[[], object]) -> float:
    """Return the CPU seconds of this thread that some work takes."""
    started = time.thread_time()
    work()
    return time.thread_time() - started


def quick(work: Callable[[], object], limit: float) -> bool:
    """Say whether some work takes less than ``limit`` CPU seconds where counting to a million takes
    20 ms. The machine may stumble twice."""
    for _ in range(3):
        taken = cpu_time(work)
        if taken < limit or taken < limit * cpu_time(count_to_a_million) / 0.02:
            return True
    return False


def count_to_a_million() -> None:
    for _ in range(1_000_000):
        pass


def in_bytes(data: bytes) -> str:
    """A short name for a test's data."""
    return f"{len(data)} bytes"


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """Return ``data`` in pieces that end at ``places``."""
    edges = [0, *sorted(place for place in places if place <= len(data)), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def put(data: bytes, offset: int, piece: bytes) -> bytes:
    """Return ``data`` with ``piece`` written over it at ``offset``, longer if need be."""
    data = data.ljust(offset + len(piece), b"\0")
    return data[:offset] + piece + data[offset + len(piece) :]


def extension(kind: int, content: bytes) -> bytes:
    """One qcow2 header extension."""
    return struct.pack(">II", kind, len(content)) + content.ljust((len(content) + 7) // 8 * 8, b"\0")


def qcow2(
    *,
    version: int = 3,
    backing: bytes = b"",
    cluster_bits: int = 16,
    size: int = MIB,
    crypt: int = 0,
    l1_entries: int = 1,
    l1_at: int = 2048,
    refcounts_at: int = 1024,
    refcount_clusters: int = 1,
    snapshots: int = 0,
    snapshots_at: int = 0,
    incompatible: int = 0,
    refcount_order: int = 4,
    header_length: int = 104,
    compression: int = 0,
    extensions: bytes = b"",
    length: int = 4096,
) -> bytes:
    """A qcow2 header with space for its (empty) tables."""
    head = struct.pack(
        ">4sIQIIQIIQQIIQ",
        b"QFI\xfb",
        version,
        1024 if backing else 0,
        len(backing),
        cluster_bits,
        size,
        crypt,
        l1_entries,
        l1_at,
        refcounts_at,
        refcount_clusters,
        snapshots,
        snapshots_at,
    )
    if version >= 3:
        head += struct.pack(">QQQII", incompatible, 0, 0, refcount_order, header_length)
        if header_length > 104:
            head += bytes([compression]).ljust(8, b"\0")
    head += extensions
    return put(head.ljust(length, b"\0"), 1024, backing)


DESCRIPTOR = """\
# Disk DescriptorFile
version=1
CID=7a3f0c11
parentCID={parent}
createType="{kind}"

# Extent description
RW 2048 SPARSE "disk.vmdk"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "4"
ddb.geometry.cylinders = "2"
ddb.adapterType = "ide"
"""


def descriptor(kind: str = "monolithicSparse", parent: str = NO_PARENT) -> str:
    """A descriptor as virtualisation products write it."""
    return DESCRIPTOR.format(kind=kind, parent=parent)


def sparse_header(
    *,
    version: int = 3,
    flags: int = 3,
    capacity: int = 2048,
    at: int = 1,
    sectors: int = 20,
    directory: int = 26,
    compression: int = 0,
) -> bytes:
    """The first sector of a sparse VMDK."""
    fields = (
        b"KDMV",
        version,
        flags,
        capacity,
        128,
        at,
        sectors,
        512,
        21,
        directory,
        128,
        0,
        b"\n \r\n",
        compression,
    )
    return struct.pack("<4sIIQQQQIQQQB4sH", *fields).ljust(SECTOR, b"\0")


def vmdk(text: str | bytes | None = None, *, sectors: int = 20, **header: int) -> bytes:
    """A sparse VMDK with an embedded descriptor."""
    raw = descriptor() if text is None else text
    raw = raw.encode("utf-8") if isinstance(raw, str) else raw
    data = sparse_header(sectors=sectors, **header) + raw.ljust(sectors * SECTOR, b"\0")
    return data.ljust(16 * 1024, b"\0")


def marker(kind: int, value: int = 0, size: int = 0) -> bytes:
    """A marker sector of a streamOptimized VMDK."""
    return struct.pack("<QII", value, size, kind).ljust(SECTOR, b"\0")


def stream_vmdk(
    *, footer: bytes | None = None, before: bytes | None = None, end: bytes | None = None, gap: int = 0
) -> bytes:
    """A streamOptimized VMDK whose grain directory is announced by a footer, ``gap`` bytes after the head."""
    see_footer = 0xFFFFFFFFFFFFFFFF
    data = vmdk(descriptor("streamOptimized"), directory=see_footer, compression=1) + b"\x5a" * gap
    data += marker(3, value=1) if before is None else before
    data += sparse_header(directory=40, compression=1) if footer is None else footer
    return data + (marker(0) if end is None else end)


def vhd(*, kind: int = 3, size: int = MIB, at: int = 512, name: str = "", locator: bytes = b"") -> bytes:
    """A dynamic VHD with its dynamic header."""
    footer = struct.pack(
        ">8sIIQI4sI4sQQHBB", b"conectix", 2, 0x10000, at, 0, b"test", 0, b"Wi2k", size, size, 4, 4, 17
    )
    footer = (footer + struct.pack(">I", kind)).ljust(SECTOR, b"\0")
    dynamic = struct.pack(">8sQQIII", b"cxsparse", 0xFFFFFFFFFFFFFFFF, 1536, 0x10000, 1, 2 * MIB).ljust(64, b"\0")
    dynamic += name.encode("utf-16-be").ljust(512, b"\0") + locator
    return footer + dynamic.ljust(1024, b"\0") + b"\xff" * SECTOR + footer


def fixed_vhd(
    content: bytes = bytes(MIB), *, kind: int = 2, size: int | None = None, checksum: int | None = None
) -> bytes:
    """A fixed VHD as Hyper-V, VirtualBox and Azure's tools write it: the disk, then the footer."""
    size = len(content) if size is None else size
    footer = struct.pack(
        ">8sIIQI4sI4sQQHBBI",
        b"conectix",
        2,
        0x10000,
        0xFFFFFFFFFFFFFFFF,
        0x2D5A0B1C,
        b"win ",
        0xA0000,
        b"Wi2k",
        size,
        size,
        30,
        4,
        17,
        kind,
    )
    total = ~(sum(footer) + 16 * 0x77) & 0xFFFFFFFF if checksum is None else checksum
    return content + (footer + struct.pack(">I", total) + b"\x77" * 16).ljust(SECTOR, b"\0")


def vhdx_header(sequence: int, log: bytes = bytes(16)) -> bytes:
    """One of the two headers, with its checksum."""
    header = (struct.pack("<4sIQ32x", b"head", 0, sequence) + log).ljust(4096, b"\0")
    return header[:4] + struct.pack("<I", crc32c(header)) + header[8:]


def vhdx_table(entries: Iterable[tuple[bytes, int, int, int]]) -> bytes:
    """A region table."""
    packed = [struct.pack("<16sQII", *entry) for entry in entries]
    return (struct.pack("<4sIII", b"regi", 0, len(packed), 0) + b"".join(packed)).ljust(64 * 1024, b"\0")


def vhdx(
    *,
    size: int = MIB,
    flags: int = 0,
    headers: tuple[bytes, bytes] | None = None,
    extra_regions: tuple[tuple[bytes, int, int, int], ...] = (),
    extra_items: tuple[tuple[bytes, int, int, int], ...] = (),
    second_table: bytes | None = None,
    at: int = MIB,
) -> bytes:
    """A VHDX without blocks, as short as the format permits."""
    table = vhdx_table([(BLOCKS, 2 * MIB, MIB, 1), (METADATA, at, MIB, 1), *extra_regions])
    items = [(FILE_PARAMETERS, 65536, 8, 4), (DISK_SIZE, 65544, 8, 6), *extra_items]
    metadata = struct.pack("<8sHH20x", b"metadata", 0, len(items))
    metadata += b"".join(struct.pack("<16sIII4x", *entry) for entry in items)
    first, second = headers or (vhdx_header(7), vhdx_header(8))
    data = put(b"vhdxfile", 64 * 1024, first)
    data = put(data, 128 * 1024, second)
    data = put(data, 192 * 1024, table)
    data = put(data, 256 * 1024, table if second_table is None else second_table)
    data = put(data, at, metadata)
    return put(data, at + 65536, struct.pack("<IIQ", MIB, flags, size).ljust(4096, b"\0"))


PARENT_ITEM = (PARENT_LOCATOR, 65560, 20, 4)


def vdi(*, kind: int = 1, size: int = MIB, link: bytes = b"", parent: bytes = b"") -> bytes:
    """A VDI header."""
    data = put(b"<<< Oracle VM VirtualBox Disk Image >>>\n", 64, struct.pack("<IIII", 0xBEDA107F, 0x10001, 384, kind))
    data = put(data, 368, struct.pack("<QII", size, MIB, 0))
    return put(put(data, 424, link.ljust(16, b"\0")), 440, parent.ljust(16, b"\0")).ljust(4096, b"\0")


def qed(*, backing: int = 0) -> bytes:
    """A QED header."""
    return struct.pack("<4sIIIQQQQQII", b"QED\0", 65536, 4, 1, backing, 0, 0, 65536, MIB, 0, 0).ljust(4096, b"\0")


def luks(*, version: int = 1, payload: int = 4) -> bytes:
    """A LUKS header and a little ciphertext."""
    head = struct.pack(">6sH32s32s32sI", b"LUKS\xba\xbe", version, b"aes", b"xts-plain64", b"sha256", payload)
    return head.ljust(payload * SECTOR, b"\0") + b"\x77" * 4096


def partition(kind: int = 0x83, *, flag: int = 0x80, chs: bytes = b"\x00\x02\x00", lba: int = 1) -> bytes:
    """One entry of a partition table."""
    return struct.pack("<B3sB3sII", flag, chs, kind, b"\xff\xff\xff", lba, 2048)


def mbr(*partitions: bytes, code: bytes = b"") -> bytes:
    """A disk with a boot sector."""
    sector = code.ljust(446, b"\0") + b"".join(partitions).ljust(64, b"\0") + b"\x55\xaa"
    return sector + bytes(3584)


def fat(media: int = 0xF8, tables: int = 2) -> bytes:
    """A FAT file system's boot sector, with a program where an MBR has its table."""
    sector = (b"\xeb\x3c\x90mkfs.fat" + struct.pack("<HBHBHHB", 512, 4, 1, tables, 512, 0, media)).ljust(446, b"\0")
    return sector + b"\x0e\x1f\xbe\x77" * 16 + b"\x55\xaa" + bytes(3584)


def iso(*, blocks: int = 20, kind: int = 1, identifier: bytes = b"CD001") -> bytes:
    """The start of a disc."""
    volume = put(bytes([kind]) + identifier + b"\1", 80, struct.pack("<I", blocks) + struct.pack(">I", blocks))
    volume = put(volume, 128, struct.pack("<H", 2048) + struct.pack(">H", 2048))
    return put(bytes(32 * 1024), 32 * 1024, volume.ljust(2048, b"\0")).ljust(40 * 1024, b"\0")


def udf(*identifiers: bytes, step: int = 2048) -> bytes:
    """The start of a UDF volume without ISO 9660."""
    data = bytes(80 * 1024)
    for number, identifier in enumerate(identifiers or (b"BEA01", b"NSR03", b"TEA01")):
        data = put(data, 32 * 1024 + number * step, b"\0" + identifier + b"\1")
    return data


def combined(*layers: bytes) -> bytes:
    """Return layers over one another: the later ones show where they are not zero."""
    length = max(len(layer) for layer in layers)
    result = bytearray(length)
    for layer in layers:
        for offset, byte in enumerate(layer):
            if byte:
                result[offset] = byte
    return bytes(result)


EMPTY_QCOW2 = qcow2(length=512, refcounts_at=0, refcount_clusters=0, l1_at=0, l1_entries=0)

#: One good image of each format.
GOOD = {
    "raw": b"just data, nothing in particular\n" * 200,
    "qcow2": qcow2(),
    "vhd": vhd(),
    "vhdx": vhdx(),
    "vmdk": vmdk(),
    "vdi": vdi(),
    "iso": iso(),
    "gpt": mbr(partition()),
    "luks": luks(),
}
