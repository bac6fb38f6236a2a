"""VMware disks. The descriptor, a text file, says where the data is, and it may name any file.

Only one layout is accepted: a sparse header, the descriptor right behind it, all data in the same file.

    0 magic   4 version   12 capacity   20 grain size   28 descriptor: offset, 36 length   44 entries in a table
    56 offset of the grain directory, or "see the footer"   77 compression

Offsets and lengths are in sectors, numbers little-endian. A footer is the last but one sector, between two markers,
and repeats the header. ``descriptor`` checks the text.

Readers disagree on where the descriptor ends: some read as many sectors as the header says, some a fixed number from
sector 1 on whatever the header says, and most stop at the first NUL. So everything up to the first NUL counts, and
it must end where the header says, at the latest.
"""

import re
import struct

from ferrotype.streams.inspect.descriptor import descriptor_faults
from ferrotype.streams.inspect.records import Data, Faults, Format, size_faults

MAGIC = b"KDMV"
#: An older sparse format, whose readers look for a parent in a descriptor too.
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

#: What may be in the text of a descriptor file, whose readers are lenient.
TEXT = bytes([*range(0x09, 0x0E), *range(0x1C, 0x7F)])

#: A reader that guesses formats takes a text for a descriptor when this comes after comments and blank lines.
#: Possessive ("*+"), so that an image of a million comments is matched in linear time.
GUESSED = re.compile(rb"(?:#[^\n]*+\n| ++\r?\n|\r?\n)*+version=[123]\r?\n")
#: The line of an extent in another file, as scanf() reads it: blanks of any kind and number.
EXTENT_LINE = re.compile(rb'(?:rw|rdonly|noaccess)\s++[+-]?[0-9]++\s*+[a-z]{1,10}\s++"')


def matches(data: Data) -> bool:
    return data.head.startswith(MAGIC) or is_descriptor(data.head)


def text_of(head: bytes) -> bytes:
    """Return what a reader takes for the text when the whole file is a descriptor."""
    return head[: LONGEST_DESCRIPTOR - 1].partition(b"\0")[0]


def is_descriptor(head: bytes) -> bool:
    """Whether this is a text that states a type of disk."""
    if len(head) < SHORTEST_TEXT or not is_text(head[:SECTOR]):
        return False
    _, key, value = text_of(head).lower().partition(b'createtype="')
    return bool(key) and value.find(b'"') < 64


def is_text(first: bytes) -> bool:
    return not first.translate(None, TEXT)


def reach(head: bytes) -> int:
    """Return how much of the start is needed, when ``head`` is what is known of it."""
    return REACH if head.startswith(MAGIC) or b"\0" not in head else 0


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
        yield "descriptor", "the disk is a descriptor only, its data is in other files"
        return
    if len(data.head) < SECTOR:
        yield "header", "the header is truncated"
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
        yield "descriptor", "the descriptor is truncated"
    else:
        yield from place_faults(data.head[SECTOR:REACH], length)
    if has_footer(data.head):
        yield from footer_faults(data)


def place_faults(text: bytes, length: int) -> Faults:
    """Check that all readers see the same descriptor, of ``length`` bytes at the start of ``text``; then the text."""
    content = text.partition(b"\0")[0]
    if text[len(content) : length].strip(b"\0"):
        yield "descriptor", "something is hidden behind the end of the descriptor"
    if len(content) > length:
        yield "descriptor", "the descriptor goes on where the header says that it has ended"
    yield from descriptor_faults(content)


def disguised(data: Data) -> Faults:
    """Check for what is no VMware disk here, but is one for a reader that probes formats, or is set to VMDK."""
    if data.head.startswith(OLD_MAGIC):
        yield "header", "the sparse format is obsolete"
        return
    if GUESSED.match(data.head):
        yield "descriptor", "the data begins like a descriptor, whose data is in other files"
        return
    text = text_of(data.head)
    if len(text) < SHORTEST_TEXT:
        return
    text = text.lower()
    if b"createtype" in text and (b"parentfilenamehint" in text or EXTENT_LINE.search(text)):
        yield "descriptor", "the data contains a descriptor that names other files"


def footer_faults(data: Data) -> Faults:
    """Check that the footer, which counts, says what the header says, and is where every reader looks for it."""
    if data.size < 2 * SECTOR + TAIL or len(data.tail) < TAIL:
        yield "footer", "the footer is missing"
        return
    if data.size % SECTOR:
        yield "footer", "the data does not end with a whole sector"
    tail = data.tail[-TAIL:]
    marker, footer, end = (tail[start : start + SECTOR] for start in range(0, TAIL, SECTOR))
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
