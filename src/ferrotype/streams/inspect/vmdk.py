"""VMware disks: a text, the descriptor, says where the data is, and it may say "in any file you like".

We let in one shape only: a sparse header, the descriptor right after it, all
data in the same file.

    0 magic   4 version   12 capacity   20 grain size   28 descriptor: offset, 36 length   44 entries in a table
    56 offset of the grain directory, or "see the footer"   77 compression

Offsets and lengths are in sectors, numbers little-endian. A footer is the last
but one sector, between two markers, and repeats the header.

The descriptor is read by a grammar that is stricter than anybody's reader, so
that no other reader can see in it what we do not.
"""

import re
import struct

from ferrotype.streams.inspect.records import Data, Faults, Format, size_faults

MAGIC = b"KDMV"
#: An older sparse format, which also looks for a parent in a descriptor.
OLD_MAGIC = b"COWD"
SECTOR = 512
#: A shorter text is not taken for a descriptor.
SHORTEST_TEXT = 64
LONGEST_DESCRIPTOR = 1024 * 1024
REACH = SECTOR + LONGEST_DESCRIPTOR
#: marker, footer, marker
TAIL = 3 * SECTOR
SEE_FOOTER = 0xFFFFFFFFFFFFFFFF
FOOTER_MARKER = 3

#: What may be in the text of a descriptor-only file, whose reader is lenient.
TEXT = bytes([*range(0x09, 0x0E), *range(0x1C, 0x7F)])
#: Descriptors of real disks have about 20 lines.
MOST_LINES = 1000
LONGEST_TEXT = 64 * 1024

TYPES = {"monolithicsparse", "streamoptimized"}
#: field -> the values it may have; None: any
FIELDS = {
    "version": None,
    "encoding": None,
    "cid": None,
    "parentcid": {"ffffffff"},
    "isnativesnapshot": {"no"},
    "createtype": TYPES,
}
COMMENT = re.compile(r"#.*| *")
FIELD = re.compile(r'([A-Za-z]+)=(?:"([^"]*)"|([0-9A-Za-z]+)) *')
DATABASE = re.compile(r'(ddb\.[A-Za-z0-9._:-]+) *= *"[^"]*" *')
EXTENT = re.compile(r'(?:RW|RDONLY|NOACCESS) [0-9]+ SPARSE "[^"/\\:]+"(?: [0-9]+)? *')

#: A program that guesses takes a text for a descriptor when this comes after comments and blank lines.
#: Nothing is tried twice ("*+"): an image may consist of a million comments.
GUESSED = re.compile(rb"(?:#[^\n]*+\n| ++\r?\n|\r?\n)*+version=[123]\r?\n")


def matches(data: Data) -> bool:
    return data.head.startswith(MAGIC) or is_descriptor(data.head)


def is_descriptor(head: bytes) -> bool:
    """Whether this is a text that states a type of disk."""
    if len(head) < SHORTEST_TEXT or not is_text(head[:SECTOR]):
        return False
    text = head[: LONGEST_DESCRIPTOR - 1].partition(b"\0")[0].lower()
    _, key, value = text.partition(b'createtype="')
    return bool(key) and value.find(b'"') < 64


def is_text(first: bytes) -> bool:
    return not first.translate(None, TEXT)


def reach(first: bytes) -> int:
    """Return how much of the start is needed."""
    return REACH if first.startswith(MAGIC) or is_text(first) else 0


def has_footer(head: bytes) -> bool:
    """Whether the header says that the footer counts."""
    return head.startswith(MAGIC) and struct.unpack_from("<56xQ", head)[0] == SEE_FOOTER


def virtual_size(data: Data) -> int:
    if len(data.head) < SECTOR or not data.head.startswith(MAGIC):
        return 0
    (capacity,) = struct.unpack_from("<12xQ", data.head)
    return int(capacity) * SECTOR


def faults(data: Data) -> Faults:
    if not data.head.startswith(MAGIC):
        yield "descriptor", "the disk consists of a descriptor, its data is in other files"
        return
    if len(data.head) < SECTOR:
        yield "header", "the header is cut short"
        return
    version, capacity, descriptor_at, descriptor_sectors = struct.unpack_from("<4xI4xQ8xQQ", data.head)
    if version not in (1, 2, 3):
        yield "header", "the version is unknown"
    if capacity == 0:
        yield "capacity", "the capacity is 0, so the descriptor would decide where the data is"
    else:
        yield from size_faults(capacity * SECTOR)
    length = descriptor_sectors * SECTOR
    if descriptor_at != 1:
        yield "descriptor", "the descriptor is not right behind the header"
    elif not 0 < length <= LONGEST_DESCRIPTOR:
        yield "descriptor", "there is no descriptor, or it is too long"
    elif len(data.head) < SECTOR + length:
        yield "descriptor", "the descriptor is cut short"
    else:
        yield from descriptor_faults(data.head[SECTOR : SECTOR + length])
    if has_footer(data.head):
        yield from footer_faults(data)


def disguised(data: Data) -> Faults:
    """What we do not take for a VMware disk, but a program that guesses does."""
    if data.head.startswith(OLD_MAGIC):
        yield "header", "the sparse format is obsolete"
    elif GUESSED.match(data.head):
        yield "descriptor", "the data begins like a descriptor, whose data is in other files"


def descriptor_faults(raw: bytes) -> Faults:
    """Read a descriptor by the strict grammar."""
    content, _, padding = raw.partition(b"\0")
    if padding.strip(b"\0"):
        yield "descriptor", "something is hidden behind the end of the descriptor"
    if len(content) > LONGEST_TEXT or content.count(b"\n") > MOST_LINES:
        yield "descriptor", "the descriptor is too long"
        return
    text = content.decode("latin-1").replace("\r\n", "\n")
    if not text.isascii() or not text.replace("\n", "").isprintable():
        yield "descriptor", "the descriptor has characters other than printable ASCII"
        return
    folded = text.lower()
    if "parentfilenamehint" in folded:
        yield "parent", "the descriptor names a parent"
    # Readers that search instead of parsing must find this one wherever they look.
    if folded.count("createtype") != 1:
        yield "descriptor", "createType is not given exactly once"
    yield from line_faults(text.split("\n"))


def line_faults(lines: list[str]) -> Faults:
    """Every line must be of a known kind, every key be given once, and there must be one extent."""
    keys: list[str] = []
    extents = 0
    for line in lines:
        if COMMENT.fullmatch(line):
            continue
        if EXTENT.fullmatch(line):
            extents += 1
        elif database := DATABASE.fullmatch(line):
            keys.append(database[1].lower())
        elif field := FIELD.fullmatch(line):
            key, value = field[1].lower(), field[2] if field[2] is not None else field[3]
            keys.append(key)
            yield from field_faults(key, value.lower())
        else:
            yield "descriptor", "a line of the descriptor is not of a known kind"
            return
    if len(set(keys)) < len(keys):
        yield "descriptor", "a key of the descriptor is given twice"
    if "createtype" not in keys:
        yield "descriptor", "the descriptor has no createType"
    if any("parent" in key for key in keys if key != "parentcid"):
        yield "parent", "the descriptor names a parent"
    if extents != 1:
        yield "descriptor", "the descriptor does not have exactly one extent"


def field_faults(key: str, value: str) -> Faults:
    if key not in FIELDS:
        yield "descriptor", "a field of the descriptor is unknown"
        return
    allowed = FIELDS[key]
    if allowed is None or value in allowed:
        return
    if key == "createtype":
        yield "descriptor", "the type is neither monolithicSparse nor streamOptimized"
    else:
        yield "parent", "the disk differs from another image"


def footer_faults(data: Data) -> Faults:
    """The footer counts, so it must say what the header says, and be where everybody looks for it."""
    if data.size < 2 * SECTOR + TAIL or len(data.tail) < TAIL:
        yield "footer", "the footer is missing"
        return
    marker, footer, end = (data.tail[start : start + SECTOR] for start in range(0, TAIL, SECTOR))
    header = data.head[:SECTOR]
    # All but where the grain directories are: the footer is there to say that.
    if footer[:48] != header[:48] or footer[77:79] != header[77:79]:
        yield "footer", "the footer does not repeat the header"
    if struct.unpack_from("<56xQ", footer)[0] == SEE_FOOTER:
        yield "footer", "the footer points to another footer"
    size, kind = struct.unpack_from("<8xII", marker)
    if size or kind != FOOTER_MARKER or any(marker[16:]):
        yield "footer", "the marker before the footer is invalid"
    if any(end):
        yield "footer", "the marker at the end is missing"


FORMAT = Format("vmdk", matches, virtual_size, faults, disguised)
