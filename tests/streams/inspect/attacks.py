"""Attacks by content: name -> (data, format and check that must find it)."""

import struct

from generators import (
    MIB,
    PARENT_ITEM,
    SECTOR,
    combined,
    descriptor,
    extension,
    fat,
    luks,
    marker,
    mbr,
    partition,
    put,
    qcow2,
    qed,
    sparse_header,
    stream_vmdk,
    vdi,
    vhd,
    vhdx,
    vhdx_header,
    vhdx_table,
    vmdk,
)

DATA_FILE = 0x44415441
LOG = b"\x11" * 16
UNKNOWN = b"\x99" * 16
TEXT = descriptor()
FLAT = descriptor("monolithicFlat").replace('SPARSE "disk.vmdk"', 'FLAT "/etc/passwd" 0')


def text_disk(kind: str, extent: str) -> bytes:
    """A descriptor-only VMDK."""
    return descriptor(kind).replace('RW 2048 SPARSE "disk.vmdk"', extent).encode()


def with_line(line: str) -> bytes:
    """A VMDK whose descriptor has one more line."""
    return vmdk(TEXT.replace("# Extent", f"{line}\n# Extent"))


def overlong(sectors: int, text: str) -> bytes:
    """A VMDK whose descriptor fills all of its declared sectors and goes on behind them."""
    full = TEXT if len(TEXT) <= sectors * SECTOR else TEXT.replace("# Disk DescriptorFile", "#")
    space = sectors * SECTOR - len(full)
    assert space > 2
    return put(vmdk(full + "#" * (space - 1) + "\n", sectors=sectors), (1 + sectors) * SECTOR, text.encode())


NOWHERE = b"/nonexistent/hidden"
BEHIND = f'parentFileNameHint="{NOWHERE.decode()}"\n'
LENIENT = b'createType="monolithicFlat"\nRW\t2048 FLAT "' + NOWHERE + b'" 0\n'

ATTACKS: dict[str, tuple[bytes, str, str]] = {
    # SEC-01, SEC-04, IMP-110, IMG-UP-45
    "backing file": (qcow2(backing=b"/etc/passwd"), "qcow2", "backing_file"),
    "backing file in version 2": (qcow2(version=2, backing=b"/etc/passwd"), "qcow2", "backing_file"),
    "backing file as json": (
        qcow2(backing=b'json:{"driver":"file","filename":"/etc/passwd"}'),
        "qcow2",
        "backing_file",
    ),
    "backing file over nbd": (qcow2(backing=b"nbd://192.0.2.1/"), "qcow2", "backing_file"),
    "backing file in rbd": (qcow2(backing=b"rbd:pool/image"), "qcow2", "backing_file"),
    "backing file as fat": (qcow2(backing=b"fat:/"), "qcow2", "backing_file"),
    # SEC-02, IMP-110, IMG-UP-47
    "data file": (qcow2(incompatible=4, extensions=extension(DATA_FILE, b"/etc/shadow")), "qcow2", "data_file"),
    "data file by name only": (qcow2(extensions=extension(DATA_FILE, b"/etc/shadow")), "qcow2", "data_file"),
    "data file behind another extension": (
        qcow2(extensions=extension(0x6803F857, bytes(48)) + extension(DATA_FILE, b"x")),
        "qcow2",
        "data_file",
    ),
    "data file in version 2": (
        qcow2(version=2, extensions=extension(DATA_FILE, b"/etc/shadow")),
        "qcow2",
        "data_file",
    ),
    "data file bit in version 2": (put(qcow2(version=2), 72, struct.pack(">Q", 4)), "qcow2", "data_file"),
    "data file with a longer header": (
        qcow2(header_length=112, extensions=extension(DATA_FILE, b"x")),
        "qcow2",
        "data_file",
    ),
    "endless extensions": (
        qcow2(cluster_bits=21, length=128 * 1024, extensions=extension(1, bytes(100 * 1024))),
        "qcow2",
        "extensions",
    ),
    "extension beyond the cluster": (qcow2(extensions=struct.pack(">II", 1, 0xFFFFFFF0)), "qcow2", "extensions"),
    # SEC-03
    **{f"qcow2 feature {bit}": (qcow2(incompatible=1 << bit), "qcow2", "unknown_features") for bit in (5, 31, 63)},
    **{f"qcow2 version {n}": (qcow2(version=n), "qcow2", "unknown_features") for n in (0, 1, 4, 0xFFFFFFFF)},
    **{f"qcow2 header length {n}": (qcow2(header_length=n), "qcow2", "header") for n in (0, 8, 108, 1 << 31)},
    **{f"qcow2 cluster bits {n}": (qcow2(cluster_bits=n), "qcow2", "header") for n in (0, 8, 22, 63, 0xFFFFFFFF)},
    **{f"qcow2 refcount order {n}": (qcow2(refcount_order=n), "qcow2", "header") for n in (7, 64)},
    **{f"qcow2 encryption {n}": (qcow2(crypt=n), "qcow2", "header") for n in (1, 99)},
    "qcow2 unknown compression": (
        qcow2(incompatible=8, header_length=112, compression=2),
        "qcow2",
        "unknown_features",
    ),
    "qcow2 compression without a field": (qcow2(incompatible=8), "qcow2", "unknown_features"),
    # SEC-16
    **{f"qcow2 size {n}": (qcow2(size=n), "qcow2", "size") for n in (0, (1 << 63) + 1, (1 << 64) - 1)},
    "qcow2 L1 table of 2^31 entries": (qcow2(l1_entries=1 << 31), "qcow2", "tables"),
    "qcow2 L1 table beyond the end": (qcow2(l1_at=1 << 40), "qcow2", "tables"),
    "qcow2 refcount table beyond the end": (qcow2(refcounts_at=1 << 62), "qcow2", "tables"),
    "qcow2 refcount table too large": (qcow2(refcount_clusters=0xFFFFFFFF), "qcow2", "tables"),
    "qcow2 2^32 snapshots": (qcow2(snapshots=0xFFFFFFFF, snapshots_at=512), "qcow2", "tables"),
    "qcow2 snapshots beyond the end": (qcow2(snapshots=1, snapshots_at=1 << 40), "qcow2", "tables"),
    **{f"vmdk of {n} sectors": (vmdk(capacity=n), "vmdk", "size") for n in (1 << 54, (1 << 64) - 1)},
    **{f"vhd of {n} bytes": (vhd(size=n), "vhd", "size") for n in (0, (1 << 64) - 1)},
    **{f"vhdx of {n} bytes": (vhdx(size=n), "vhdx", "size") for n in (0, 65 << 40, (1 << 64) - 1)},
    **{f"vdi of {n} bytes": (vdi(size=n), "vdi", "size") for n in (0, (1 << 63) + 1)},
    # SEC-05: a header that is cut short, where a reader fills up with zeros
    "short qcow2 with a backing file": (qcow2(backing=b"/etc/passwd")[:200], "qcow2", "backing_file"),
    "short qcow2 with a data file": (qcow2(incompatible=4)[:104], "qcow2", "data_file"),
    "short qed": (qed()[:80], "qed", "banned"),
    # SEC-07, IMP-111
    **{
        f"{kind} naming {name}": (text_disk(kind, f'RW 2048 {extent} "{name}"'), "vmdk", "descriptor")
        for kind, extent in (
            ("monolithicFlat", "FLAT"),
            ("twoGbMaxExtentFlat", "FLAT"),
            ("vmfs", "VMFS"),
            ("fullDevice", "FLAT"),
            ("custom", "SPARSE"),
            ("monolithicSparse", "SPARSE"),
        )
        for name in ("/etc/passwd", "../x", "neighbour")
    },
    "descriptor with non-ASCII": (b"# \xe9\n" + FLAT.encode(), "vmdk", "descriptor"),
    "descriptor of Windows lines": (FLAT.replace("\n", "\r\n").encode(), "vmdk", "descriptor"),
    "tiny descriptor": (b'version=1\ncreateType="vmfs"\nRW 1 FLAT "/x"\n', "vmdk", "descriptor"),
    "descriptor before binary": (b"version=1\n" + FLAT.encode() + bytes(600), "vmdk", "descriptor"),
    "old sparse format": (b"COWD" + bytes(4096), "vmdk", "header"),
    # SEC-08
    "vmdk of no capacity": (vmdk(capacity=0), "vmdk", "capacity"),
    "vmdk with a flat extent": (
        vmdk(TEXT.replace('SPARSE "disk.vmdk"', 'FLAT "disk.vmdk" 0')),
        "vmdk",
        "descriptor",
    ),
    "vmdk with two extents": (with_line('RW 2048 SPARSE "other.vmdk"'), "vmdk", "descriptor"),
    "vmdk without extent": (vmdk(TEXT.replace("RW 2048", "# RW 2048")), "vmdk", "descriptor"),
    **{
        f"vmdk extent {name}": (vmdk(TEXT.replace("disk.vmdk", name)), "vmdk", "descriptor")
        for name in ("/etc/passwd", "../x", "..\\\\x", "C:x", "nbd:x", "")
    },
    # SEC-09
    "createType twice": (with_line('createType="monolithicSparse"'), "vmdk", "descriptor"),
    "createType in another case": (with_line('CREATETYPE="monolithicSparse"'), "vmdk", "descriptor"),
    "createType in a comment": (with_line('# createType="monolithicFlat"'), "vmdk", "descriptor"),
    "createType only in a comment": (
        vmdk(TEXT.replace("createType=", "#createType=")),
        "vmdk",
        "descriptor",
    ),
    "createType after the end": (
        vmdk(TEXT.encode() + b'\0createType="monolithicFlat"\n'),
        "vmdk",
        "descriptor",
    ),
    "createType over two lines": (
        vmdk(TEXT.replace("createType=", "createType=\r\n")),
        "vmdk",
        "descriptor",
    ),
    "createType with blanks": (vmdk(TEXT.replace("createType=", "createType = ")), "vmdk", "descriptor"),
    "createType unquoted on one side": (vmdk(TEXT.replace('Sparse"', "Sparse")), "vmdk", "descriptor"),
    "no createType": (vmdk(TEXT.replace("createType", "creationType")), "vmdk", "descriptor"),
    "other createType": (vmdk(descriptor("monolithicFlat")), "vmdk", "descriptor"),
    "key twice": (with_line("cid=ffffffff"), "vmdk", "descriptor"),
    "database key twice": (with_line('DDB.adapterType = "ide"\nddb.AdapterType = "x"'), "vmdk", "descriptor"),
    "tabs": (vmdk(TEXT.replace("RW 2048", "RW\t2048")), "vmdk", "descriptor"),
    "lone carriage return": (vmdk(TEXT.replace("# Extent", "#\rRW 1 FLAT x\n#")), "vmdk", "descriptor"),
    "not UTF-8": (vmdk(TEXT.replace("disk.vmdk", "disqué.vmdk").encode("latin-1")), "vmdk", "descriptor"),
    "UTF-8 look-alike of a separator": (vmdk(TEXT.replace("disk.vmdk", "..\uff0fdisk.vmdk")), "vmdk", "descriptor"),
    "UTF-8 in a key": (with_line('ddb.clé = "1"'), "vmdk", "descriptor"),
    "line separator of Unicode": (with_line("# \u2028"), "vmdk", "descriptor"),
    "direction mark": (with_line("# \u202e"), "vmdk", "descriptor"),
    "form feed": (with_line("#\x0c"), "vmdk", "descriptor"),
    "unknown field": (with_line('otherPath="neighbour"'), "vmdk", "descriptor"),
    "unknown field of a long name": (with_line("x" * 33 + '="neighbour"'), "vmdk", "descriptor"),
    **{
        f"changed blocks in {name}": (with_line(f'changeTrackPath="{name}"'), "vmdk", "descriptor")
        for name in ("/etc/passwd", "..\\x", "nbd:x")
    },
    "unknown line": (with_line("hello world"), "vmdk", "descriptor"),
    "endless descriptor": (
        vmdk(TEXT + 'ddb.comment = "' + "x" * (MIB - 600), sectors=2048),
        "vmdk",
        "descriptor",
    ),
    "descriptor of absurd length": (put(vmdk(), 36, struct.pack("<Q", 1 << 55)), "vmdk", "descriptor"),
    "descriptor elsewhere": (vmdk(at=2), "vmdk", "descriptor"),
    "descriptor of no length": (put(vmdk(), 36, bytes(8)), "vmdk", "descriptor"),
    "descriptor cut short": (vmdk()[:4096], "vmdk", "descriptor"),
    "vmdk version 4": (vmdk(version=4), "vmdk", "header"),
    "vmdk header cut short": (vmdk()[:300], "vmdk", "header"),
    # SEC-09, RUL-71: what is behind the declared end, where some readers go on
    **{
        f"descriptor of {sectors} sectors goes on with {name}": (overlong(sectors, text), "vmdk", "descriptor")
        for sectors in (1, 2, 19, 20, 21)
        for name, text in (("a comment", "#"), ("a blank line", "\n"), ("a parent", BEHIND))
    },
    "descriptor goes on with a footer": (
        put(stream_vmdk(), SECTOR, overlong(2, BEHIND)[SECTOR : 4 * SECTOR]),
        "vmdk",
        "descriptor",
    ),
    # SEC-07: a descriptor for a reader that is set to VMDK, or that detects one leniently
    **{
        f"descriptor behind {name}": (start + LENIENT, "vmdk", "descriptor")
        for name, start in (("a byte", b"\x80"), ("binary", bytes(range(1, 256)) * 400), ("text", b"hello\n" * 2000))
    },
    "descriptor of a parent only": (
        b'\x80createType="vmfs"\nparentFileNameHint="' + NOWHERE + b'"\n#' + b"x" * 64,
        "vmdk",
        "descriptor",
    ),
    # SEC-10
    "no parentCID": (vmdk(TEXT.replace("parentCID=ffffffff\n", "")), "vmdk", "descriptor"),
    "parentCID in a comment only": (vmdk(TEXT.replace("parentCID", "#parentCID")), "vmdk", "descriptor"),
    "parentCID in another spelling": (vmdk(TEXT.replace("parentCID", "parentCid")), "vmdk", "descriptor"),
    "parentCID also in a comment": (with_line("# parentCID=7a3f0c10"), "vmdk", "descriptor"),
    "parentCID also in a value": (with_line('ddb.comment = "parentCID=7a3f0c10"'), "vmdk", "descriptor"),
    "parentCID also in another spelling": (with_line("# PARENTCID=7a3f0c10"), "vmdk", "descriptor"),
    **{
        f"parentCID {value}": (vmdk(descriptor(parent=value)), "vmdk", "parent")
        for value in ("00000001", "fffffffe", "fffffffff", "000000000", "fffffff")
    },
    **{
        f"database names parent {value}": (with_line(f'ddb.uuid.parent="{value}"'), "vmdk", "parent")
        for value in ("00000000-0000-0000-0000-000000000001", "neighbour", "f")
    },
    "parent of a vmdk": (with_line('parentFileNameHint="/etc/passwd"'), "vmdk", "parent"),
    "parent of a vmdk in a comment": (with_line('#PARENTFILENAMEHINT="/etc/passwd"'), "vmdk", "parent"),
    "parent of a vmdk by number": (vmdk(descriptor(parent="7a3f0c10")), "vmdk", "parent"),
    "native parent of a vmdk": (with_line('ddb.nativeParentHint = "x"'), "vmdk", "parent"),
    # SEC-11, IMP-111
    "footer with another descriptor": (
        stream_vmdk(footer=sparse_header(at=9, directory=40, compression=1)),
        "vmdk",
        "footer",
    ),
    "footer with another version": (
        stream_vmdk(footer=sparse_header(version=1, directory=40, compression=1)),
        "vmdk",
        "footer",
    ),
    "footer with another capacity": (
        stream_vmdk(footer=sparse_header(capacity=0, directory=40, compression=1)),
        "vmdk",
        "footer",
    ),
    "footer to a footer": (
        stream_vmdk(footer=sparse_header(directory=(1 << 64) - 1, compression=1)),
        "vmdk",
        "footer",
    ),
    "footer without marker": (stream_vmdk(before=marker(1)), "vmdk", "footer"),
    "footer without end": (stream_vmdk(end=b""), "vmdk", "footer"),
    "footer that is not at a sector": (stream_vmdk(gap=5), "vmdk", "footer"),
    "footer with something behind": (stream_vmdk(end=marker(0) + b"x"), "vmdk", "footer"),
    "footer missing": (vmdk(directory=(1 << 64) - 1), "vmdk", "footer"),
    # SEC-12, IMP-114
    "differencing vhd": (vhd(kind=4), "vhd", "parent"),
    "vhd with a parent's name": (vhd(name="..\\base.vhd"), "vhd", "parent"),
    "vhd with a parent's locator": (vhd(locator=b"W2ku" + bytes(20)), "vhd", "parent"),
    "vhd that says it is fixed, with a parent": (vhd(kind=2, name="..\\base.vhd"), "vhd", "parent"),
    "vhd with a header out of sight": (vhd(at=1 << 40), "vhd", "header"),
    "vhd cut short": (vhd()[:100], "vhd", "header"),
    "differencing vhdx": (vhdx(flags=2), "vhdx", "parent"),
    "vhdx with a parent's locator": (vhdx(extra_items=(PARENT_ITEM,)), "vhdx", "parent"),
    "vhdx with a log": (vhdx(headers=(vhdx_header(7), vhdx_header(8, LOG))), "vhdx", "log"),
    "vhdx with a log in the first header": (vhdx(headers=(vhdx_header(9, LOG), vhdx_header(8))), "vhdx", "log"),
    "vhdx with a log in one of two equals": (vhdx(headers=(vhdx_header(8, LOG), vhdx_header(8))), "vhdx", "log"),
    "vhdx with a log behind a broken header": (
        vhdx(headers=(vhdx_header(7, LOG), put(vhdx_header(8), 4, b"\0\0\0\0"))),
        "vhdx",
        "log",
    ),
    "vhdx without header": (vhdx(headers=(b"", b"")), "vhdx", "header"),
    "vhdx cut short": (vhdx()[: 300 * 1024], "vhdx", "header"),
    "vhdx with two region tables": (vhdx(second_table=vhdx_table([])), "vhdx", "regions"),
    "vhdx with an unknown region": (
        vhdx(extra_regions=((UNKNOWN, 3 * MIB, MIB, 1),)),
        "vhdx",
        "unknown_features",
    ),
    "vhdx with an unknown item": (vhdx(extra_items=((UNKNOWN, 65536, 8, 4),)), "vhdx", "unknown_features"),
    "vhdx with metadata in the headers": (vhdx(at=320 * 1024), "vhdx", "metadata"),
    "vhdx with metadata beyond the end": (vhdx(at=2 * MIB)[: 2 * MIB - 1], "vhdx", "metadata"),
    "vhdx with an item twice": (vhdx(extra_items=(PARENT_ITEM, PARENT_ITEM)), "vhdx", "metadata"),
    "vhdx header only": (b"vhdxfile" + bytes(400 * 1024), "vhdx", "header"),
    "differencing vdi": (vdi(kind=4), "vdi", "parent"),
    "undo vdi": (vdi(kind=3), "vdi", "parent"),
    "vdi with a parent": (vdi(parent=b"\1" * 16), "vdi", "parent"),
    "vdi with a link": (vdi(link=b"\1" * 16), "vdi", "parent"),
    "qed": (qed(), "qed", "banned"),
    "qed with a backing file": (qed(backing=1), "qed", "banned"),
    # SEC-13, IMP-115
    "luks 9": (luks(version=9), "luks", "version"),
    "luks cut short": (luks()[:100], "luks", "header"),
    # SEC-14
    "vmdk text with a boot sector": (
        combined(b"version=1\n" + FLAT.encode()[:430], mbr(partition())),
        "vmdk",
        "descriptor",
    ),
    # SEC-15, IMP-112
    "bad boot flag": (mbr(partition(flag=0x7F)), "gpt", "mbr"),
    "no partition of a type": (mbr(partition(0)), "gpt", "mbr"),
    "bad boot flag before a GPT, as FAT on a floppy": (
        put(put(fat(media=0xF0), 446, partition(0xEE, flag=1)), 512, b"EFI PART"),
        "gpt",
        "mbr",
    ),
    "ext file system that is the name in a GPT": (
        put(put(mbr(partition(0xEE, lba=2)), 512, b"EFI PART"), 1080, b"\x53\xef"),
        "gpt",
        "gptmbr",
    ),
    "protective and another": (mbr(partition(0xEE), partition()), "gpt", "gptmbr"),
    "protective second": (mbr(bytes(16), partition(0xEE)), "gpt", "gptmbr"),
    "protective with a bad start": (mbr(partition(0xEE, chs=b"\0\1\0")), "gpt", "gptmbr"),
    "protective at a bad sector": (mbr(partition(0xEE, lba=2)), "gpt", "gptmbr"),
}
