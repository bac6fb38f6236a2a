"""The text of a VMware descriptor, by a grammar stricter than that of any reader.

So no reader can see in it what these checks do not: readers search for a key anywhere, in comments and in values too,
with regard to case or without.
"""

import re
from unicodedata import normalize

from ferrotype.streams.inspect.records import Faults

#: Descriptors of real disks have about 20 lines.
MAX_LINES = 1000
LONGEST_TEXT = 64 * 1024

#: field in lower case -> pattern of its value in lower case
FIELDS = {
    "version": re.compile(r".*"),
    "encoding": re.compile(r".*"),
    "cid": re.compile(r".*"),
    # All ones, or null: no parent.
    "parentcid": re.compile(r"f{8}|0{1,8}"),
    "isnativesnapshot": re.compile(r"no"),
    "createtype": re.compile(r"monolithicsparse|streamoptimized"),
    # ESX writes changed blocks to this file. A plain name stays beside the disk.
    "changetrackpath": re.compile(r"[^/\\:]*"),
}
PARENT_FIELDS = {"parentcid", "isnativesnapshot"}
COMMENT = re.compile(r"#.*| *")
FIELD = re.compile(r'([A-Za-z]+)=(?:"([^"]*)"|([0-9A-Za-z]+)) *')
DATABASE = re.compile(r'(ddb\.[A-Za-z0-9._:-]+) *= *"([^"]*)" *')
EXTENT = re.compile(r'(?:RW|RDONLY|NOACCESS) [0-9]+ SPARSE "([^"/\\:]+)"(?: [0-9]+)? *')
#: How VirtualBox and VMware write "no parent" into the disk data base: a null UUID, or nothing.
NULL = re.compile(r"[ {}0-]*")
#: A longer name of a field is not quoted.
LONGEST_NAME = 32


def descriptor_faults(content: bytes) -> Faults:
    """Check the text of a descriptor, which ends before the first NUL."""
    if len(content) > LONGEST_TEXT or content.count(b"\n") > MAX_LINES:
        yield "descriptor", "the descriptor is too long"
        return
    try:
        text = content.decode().replace("\r\n", "\n")
    except UnicodeDecodeError:
        yield "descriptor", "the descriptor is not UTF-8"
        return
    if not text.replace("\n", "").isprintable():
        yield "descriptor", "the descriptor has characters that cannot be printed"
        return
    yield from key_faults(content)
    yield from line_faults(text.split("\n"))


def key_faults(content: bytes) -> Faults:
    """Check the keys that some readers search for anywhere instead of reading lines."""
    folded = content.lower()
    if b"parentfilenamehint" in folded:
        yield "parent", "the descriptor names a parent"
    if folded.count(b"createtype") != 1:
        yield "descriptor", "createType is not given exactly once"
    # With exactly this spelling: readers differ in whether case counts, so they could find different ones.
    if folded.count(b"parentcid") != 1 or content.count(b"parentCID") != 1:
        yield "descriptor", "parentCID is not given exactly once, with this spelling"


def line_faults(lines: list[str]) -> Faults:
    """Check that every line is of a known kind, every key is given once, and there is one extent."""
    keys: list[str] = []
    extents = 0
    for line in lines:
        if COMMENT.fullmatch(line):
            continue
        if extent := EXTENT.fullmatch(line):
            extents += 1
            # Systems that convert names to another character set may turn a look-alike into a separator.
            if re.search(r"[/\\:]", normalize("NFKC", extent[1])):
                yield "descriptor", "the name of the extent has a separator"
        elif database := DATABASE.fullmatch(line):
            keys.append(database[1].lower())
            if "parent" in keys[-1] and not NULL.fullmatch(database[2].lower()):
                yield "parent", "the disk data base names a parent"
        elif field := FIELD.fullmatch(line):
            keys.append(field[1].lower())
            yield from field_faults(field[1], (field[2] if field[2] is not None else field[3]).lower())
        else:
            yield "descriptor", "a line of the descriptor is not of a known kind"
            return
    if len(set(keys)) < len(keys):
        yield "descriptor", "a key of the descriptor is given twice"
    if not {"createtype", "parentcid"} <= set(keys):
        yield "descriptor", "createType or parentCID is missing"
    if extents != 1:
        yield "descriptor", "the descriptor does not have exactly one extent"


def field_faults(name: str, value: str) -> Faults:
    """Check one field; ``value`` is in lower case."""
    key = name.lower()
    allowed = FIELDS.get(key)
    if allowed is None:
        shown = f"the field {name}" if len(name) <= LONGEST_NAME else "a field"
        yield "descriptor", f"{shown} of the descriptor is unknown"
    elif allowed.fullmatch(value):
        return
    elif key == "createtype":
        yield "descriptor", "createType is neither monolithicSparse nor streamOptimized"
    elif key in PARENT_FIELDS:
        yield "parent", f"the disk is a differencing one, by its field {name}"
    else:
        yield "descriptor", f"the value of the field {name} is not allowed"
