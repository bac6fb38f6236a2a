"""Images as products write them that cannot be installed here: their headers, field by field."""

import struct

from descriptors import VIRTUALBOX, VMWARE
from generators import MIB, SECTOR, fixed_vhd, put, stream_vmdk, vhd, vhdx_table, vmdk

from ferrotype.streams.inspect.vhdx import (
    BLOCKS,
    DISK_IDENTITY,
    DISK_SIZE,
    FILE_PARAMETERS,
    LOGICAL_SECTOR,
    METADATA,
    PHYSICAL_SECTOR,
    crc32c,
)

#: Behind which a VMDK may have its first grain.
GRAINS = 128 * SECTOR


def virtualbox_vmdk() -> bytes:
    """``VBoxManage createmedium --format VMDK``, with null UUIDs for the parent."""
    return vmdk(VIRTUALBOX.format(kind="monolithicSparse", access="RW", name="disk.vmdk"), version=1).ljust(
        GRAINS, b"\0"
    )


def virtualbox_stream() -> bytes:
    """The disk of an appliance that VirtualBox exports."""
    text = VIRTUALBOX.format(kind="streamOptimized", access="RDONLY", name="disk001.vmdk").encode()
    return put(stream_vmdk(gap=GRAINS), SECTOR, text)


def vmware_vmdk() -> bytes:
    """A disk of VMware Workstation with changed block tracking and a name that is not ASCII."""
    return vmdk(VMWARE.format(kind="monolithicSparse", access="RW", name="Größe.vmdk")).ljust(GRAINS, b"\0")


def virtualbox_vdi() -> bytes:
    """``VBoxManage createmedium --format VDI``, with null UUIDs for link and parent."""
    head = struct.pack("<64sIIIII", b"<<< Oracle VM VirtualBox Disk Image >>>\n", 0xBEDA107F, 0x10001, 400, 1, 0)
    head = head.ljust(340, b"\0") + struct.pack("<IIIIII", MIB, 2 * MIB, 0, 0, 0, SECTOR)
    head = head.ljust(368, b"\0") + struct.pack("<QIIII", 4 * MIB, MIB, 0, 4, 0)
    head += bytes(range(16)) + bytes(range(16, 32)) + bytes(32)
    return put(head, MIB, b"\xff" * 16).ljust(2 * MIB, b"\0")


def summed(block: bytes, offset: int) -> bytes:
    """Return a footer or header of a VHD with its checksum at ``offset``."""
    return put(block, offset, struct.pack(">I", ~sum(block) & 0xFFFFFFFF))


def hyperv_vhd() -> bytes:
    """``New-VHD -Dynamic``, with .vhd: footer, dynamic header, table of two empty blocks, footer."""
    data = vhd(size=4 * MIB)
    geometry = struct.pack(">HBB", 120, 4, 17)
    footer = summed(put(put(data[:SECTOR], 56, geometry), 28, b"win "), 64)
    dynamic = summed(put(data[SECTOR : 3 * SECTOR], 28, struct.pack(">I", 2)), 36)
    return footer + dynamic + b"\xff" * SECTOR + footer


def azure_vhd() -> bytes:
    """``Convert-VHD -VHDType Fixed``, which is what Azure imports."""
    return fixed_vhd(bytes(4 * MIB))


def with_crc(block: bytes) -> bytes:
    """Return a header or table of a VHDX with its checksum."""
    return put(block, 4, struct.pack("<I", crc32c(put(block, 4, bytes(4)))))


def hyperv_vhdx() -> bytes:
    """``New-VHD -Dynamic``, with .vhdx: log, metadata and block table one MiB each, no block."""
    headers = [
        with_crc(
            struct.pack("<4sIQ16s16s16sHHIQ", b"head", 0, number, *ids, bytes(16), 0, 1, MIB, MIB).ljust(4096, b"\0")
        )
        for number, ids in ((4, (b"\1" * 16, b"\2" * 16)), (5, (b"\3" * 16, b"\4" * 16)))
    ]
    table = with_crc(vhdx_table([(BLOCKS, 3 * MIB, MIB, 1), (METADATA, 2 * MIB, MIB, 1)]))
    values = [
        (FILE_PARAMETERS, struct.pack("<II", 32 * MIB, 0), 4),
        (DISK_SIZE, struct.pack("<Q", 4 * MIB), 6),
        (DISK_IDENTITY, bytes(range(16)), 6),
        (LOGICAL_SECTOR, struct.pack("<I", 512), 6),
        (PHYSICAL_SECTOR, struct.pack("<I", 4096), 6),
    ]
    metadata, items = struct.pack("<8sHH20x", b"metadata", 0, len(values)), b""
    for identity, value, flags in values:
        metadata += struct.pack("<16sIII4x", identity, 65536 + len(items), len(value), flags)
        items += value
    data = put(b"vhdxfile" + "Microsoft Windows 10.0.20348.0".encode("utf-16-le"), 64 * 1024, headers[0])
    data = put(put(put(data, 128 * 1024, headers[1]), 192 * 1024, table), 256 * 1024, table)
    return put(data, 2 * MIB, metadata.ljust(65536, b"\0") + items).ljust(4 * MIB, b"\0")
