"""Images of every format with damage that is aimed at what readers decide on. The same seed gives the same images.

The files that they name do not exist.
"""

import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

from generators import GOOD, MIB, SECTOR, combined, descriptor, extension, fixed_vhd, mbr, partition, put, udf
from products import hyperv_vhd, hyperv_vhdx, virtualbox_vdi

HIDDEN = "hidden-parent"
PATH = f"/nonexistent/{HIDDEN}"
HINTS = (
    f'parentFileNameHint="{PATH}"',
    f'parentFileNameHint = "{PATH}"',
    f'# parentFileNameHint="{PATH}"',
    f'PARENTFILENAMEHINT="{PATH}"',
    f'ddb.comment = "parentFileNameHint=x{PATH}"',
    f'ddb.parentFileNameHint = "{PATH}"',
    f"parentFileNameHint={PATH}",
)
EXTENTS = (
    f'RW 2048 FLAT "{PATH}" 0',
    f'RW\t2048\tFLAT\t"{PATH}" 0',
    f' RW 2048 VMFS "{PATH}"',
    f'RW 2048 SPARSE "{PATH}"',
    f'RW 2048 SPARSE "{HIDDEN}.vmdk"',
    f'RW 2048 VMFSSPARSE "{PATH}"',
    f'rw 2048 FLAT "{PATH}" 0',
    f'RW +2048FLAT "{PATH}" 0',
    f'# RW 2048 FLAT "{PATH}" 0',
)
TYPES = (
    "monolithicSparse",
    "streamOptimized",
    "monolithicFlat",
    "vmfs",
    "twoGbMaxExtentSparse",
    "seSparse",
    "custom",
)
PARENT_CIDS = (
    "parentCID=ffffffff",
    "parentCID=FFFFFFFF",
    "parentCID=00000000",
    "parentCID=7a3f0c11",
    "parentcid=ffffffff",
)
JUNK = ("", "# x\n", "\n", " \n", "\x80", "x", "\ufeff", "version=1\n", "#\r\n", "\0")

Maker = Callable[[random.Random], bytes]


class Bases:
    """Images that qemu-img has made: it opens them, so that the damage is what decides."""

    def __init__(self, directory: Path, qemu_img: Path):
        self._directory, self._program = directory, qemu_img
        self.qcow2 = [
            self._create("qcow2", *options)
            for options in (
                (),
                ("-o", "compat=0.10"),
                ("-o", "cluster_size=512"),
                ("-u", "-b", PATH, "-F", "raw"),
                ("-u", "-b", PATH, "-F", "raw", "-o", "compat=0.10"),
            )
        ]
        self.qcow = [self._create("qcow"), self._create("qcow", "-u", "-b", PATH, "-F", "raw")]
        self.qed = [self._create("qed"), self._create("qed", "-u", "-b", PATH, "-F", "raw")]
        self.sparse = self._create("vmdk")
        self.stream = self._create("vmdk", "-o", "subformat=streamOptimized")
        self.dynamic = [self._create("vpc"), hyperv_vhd()]
        self.vdi = [self._create("vdi"), virtualbox_vdi()]
        self.vhdx = [hyperv_vhdx()]

    def _create(self, kind: str, *options: str) -> bytes:
        path = self._directory / "base"
        command = [self._program, "create", "-q", "-f", kind, *options, path, "1M"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        data = path.read_bytes()
        path.unlink()
        return data


def damage(data: bytes, chance: random.Random, reach: int = 600, most: int = 3) -> bytes:
    """Return ``data`` with a few bytes of its first ``reach`` changed."""
    changed = bytearray(data)
    for _ in range(chance.randint(0, most) if data else 0):
        offset = chance.randrange(min(reach, len(changed)))
        changed[offset] = chance.choice((0, 1, 2, 3, 4, 0x7F, 0x80, 0xFF, chance.randrange(256), changed[offset] ^ 1))
    return bytes(changed)


def text(chance: random.Random) -> str:
    """Return the text of a VMware descriptor, as it should be but for a few lines."""
    kind = chance.choice(TYPES[:2]) if chance.random() < 0.8 else chance.choice(TYPES)
    lines = descriptor(kind).replace("disk.vmdk", f"{HIDDEN}.vmdk").split("\n")
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        edit = chance.randrange(8)
        place = chance.randrange(len(lines) + 1)
        if edit < 3:
            lines.insert(place, chance.choice(HINTS))
        elif edit < 5:
            lines.insert(place, chance.choice(EXTENTS))
        elif edit == 5:
            lines[place - 1] = chance.choice(PARENT_CIDS)
        elif edit == 6:
            lines.insert(place, chance.choice(PARENT_CIDS))
        else:
            del lines[place - 1]
    return chance.choice(("\n", "\n", "\n", "\r\n", "\r")).join(lines)


def sparse_vmdk(bases: Bases) -> Maker:
    def make(chance: random.Random) -> bytes:
        base = chance.choice((bases.sparse, bases.sparse, bases.stream))
        raw = text(chance).encode()
        sectors = chance.choice((1, 2, 3, 4, 19, 20, 20, 20, 21, 40))
        if chance.random() < 0.4:  # A descriptor that is full: what comes behind it?
            body = descriptor().encode()
            space = sectors * SECTOR - len(body)
            raw = (
                (body + b"#" * (space - 1) + b"\n" if space > 0 else body) + chance.choice((b"", b"\0", b"\n")) + raw
            )
        if chance.random() < 0.2:
            raw = put(raw, chance.randrange(len(raw)), b"\0")
        data = put(base, SECTOR, raw.ljust(min(sectors, 20) * SECTOR, b"\0"))
        data = put(data, 36, struct.pack("<Q", sectors))
        if chance.random() < 0.25:
            field = chance.choice((4, 8, 12, 28, 36, 44, 56, 77))
            data = put(
                data,
                field,
                struct.pack("<Q", chance.choice((0, 1, 2, 3, 21, 2048, (1 << 64) - 1)))[: chance.choice((1, 4, 8))],
            )
        if chance.random() < 0.1:
            data = put(data, 0, b"COWD")
        if chance.random() < 0.1:
            data += bytes(chance.choice((1, 511, 512)))
        return damage(data, chance, 900, 1)

    return make


def descriptor_file(chance: random.Random) -> bytes:
    """A VMDK that is a text only, or something that a lenient reader takes for one."""
    words = text(chance)
    if chance.random() < 0.7:
        words += chance.choice(EXTENTS + HINTS) + "\n"
    for kind in TYPES[:2]:
        if chance.random() < 0.8:
            words = words.replace(kind, chance.choice(TYPES[2:6]))
    if chance.random() < 0.3:
        words = words.replace(
            'createType="', chance.choice(("createType=x", 'CREATETYPE="', "createType= ", 'createType ="'))
        )
    raw = (chance.choice(JUNK) + words).encode()
    if chance.random() < 0.3:
        raw = chance.choice((b"\x80", b"#", b"\xff\xfe")) * chance.choice((1, 511, 512, 5000, 70000)) + b"\n" + raw
    return damage(raw, chance, len(raw), 1)


def qcow2(bases: Bases) -> Maker:
    def make(chance: random.Random) -> bytes:
        data = chance.choice(bases.qcow2)
        if chance.random() < 0.5:
            field, size = chance.choice(((4, 4), (8, 8), (16, 4), (20, 4), (32, 4), (72, 8), (96, 4), (100, 4)))
            value = chance.choice((0, 1, 2, 3, 4, 5, 8, 16, 72, 104, 112, 512, 1 << (8 * size - 1)))
            data = put(data, field, value.to_bytes(size, "big"))
        if chance.random() < 0.4:
            names = [(0x44415441, PATH.encode()), (0xE2792ACA, b"raw"), (0x6803F857, bytes(48)), (1, b"x" * 400)]
            area = b"".join(extension(*chance.choice(names)) for _ in range(chance.randint(1, 4)))
            data = put(data, chance.choice((72, 104, 112)), area)
            if chance.random() < 0.7:
                data = put(data, 79, bytes([data[79] | 4]))
        if chance.random() < 0.1:
            data = data[: chance.randrange(600)]
        return damage(data, chance, 120)

    return make


def simple(bases: list[bytes], places: tuple[int, ...] = (0,)) -> Maker:
    """Return a maker of images with damage at one of ``places``."""

    def make(chance: random.Random) -> bytes:
        data = chance.choice(bases)
        place = chance.choice(places)
        return data[:place] + damage(data[place:], chance)

    return make


def two_in_one(bases: Bases) -> Maker:
    """Return a maker of images that are of several formats at once."""
    first = [*bases.qcow2, bases.sparse, *bases.qed, *bases.dynamic]

    def make(chance: random.Random) -> bytes:
        other = chance.choice((GOOD["iso"], udf(), mbr(partition()), mbr(partition(0xEE)), GOOD["vdi"][:512]))
        return damage(combined(other, chance.choice(first)[: 128 * 1024]), chance)

    return make


def makers(bases: Bases) -> dict[str, tuple[int, str, Maker]]:
    """Return name -> (weight, what qemu-img calls the format, maker)."""
    volumes = [GOOD["gpt"], mbr(partition(0xEE), partition()), mbr(), GOOD["iso"], GOOD["luks"], udf()]
    return {
        "vmdk": (40, "vmdk", sparse_vmdk(bases)),
        "vmdk descriptor": (15, "vmdk", descriptor_file),
        "qcow2": (20, "qcow2", qcow2(bases)),
        "qcow": (3, "qcow", simple(bases.qcow)),
        "qed": (3, "qed", simple(bases.qed)),
        "vhd": (5, "vpc", simple(bases.dynamic, (0, 512, 1024))),
        "fixed vhd": (2, "vpc", simple([fixed_vhd(), fixed_vhd(mbr(partition()))], (0, MIB))),
        "vdi": (3, "vdi", simple(bases.vdi)),
        "vhdx": (2, "vhdx", simple(bases.vhdx, (0, 65536, 131072, 196608, 2 * MIB, 2 * MIB + 65536))),
        "two in one": (4, "vmdk", two_in_one(bases)),
        "others": (3, "raw", simple(volumes, (0, 446, 510))),
    }
