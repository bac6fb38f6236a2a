"""Records of the content inspection."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

#: The largest number that a database column and a JSON client can hold.
LARGEST = (1 << 63) - 1

#: (name of the check, what is wrong). The texts quote at most the name of a field from the data.
Faults = Iterator[tuple[str, str]]


class Failure(msgspec.Struct, frozen=True):
    """One safety check that the data fails."""

    format: str
    check: str
    detail: str


class Findings(msgspec.Struct, frozen=True):
    """What the data is. Whether an image may have it is decided later, because its declared format may change.

    ``formats`` is never empty: data of no known format is ``raw``. ``virtual_sizes`` has an entry for each format
    that states one, in bytes. ``fixed_vhd`` is the virtual size of a fixed VHD when the data ends with the footer
    of one; its start is that of a raw disk, and so are its ``formats``.
    """

    formats: tuple[str, ...]
    failures: tuple[Failure, ...]
    virtual_sizes: dict[str, int]
    size: int
    fixed_vhd: int | None = None


@dataclass(frozen=True)
class Data:
    """The parts of a stream that the checks of any format need.

    They depend on the bytes alone, never on how these were cut into chunks.
    """

    size: int
    #: from the first byte on
    head: bytes
    #: up to the last byte
    tail: bytes
    #: offset -> bytes, for formats that point to something of interest
    regions: Mapping[int, bytes]


def no_faults(data: Data) -> Faults:
    """The check of a format that has none."""
    return iter(())


@dataclass(frozen=True)
class Format:
    """How one format is recognised and checked: a row of the inspector's table."""

    name: str
    matches: Callable[[Data], bool]
    #: called only when it matches; 0 when the format does not say
    virtual_size: Callable[[Data], int]
    #: called only when it matches
    faults: Callable[[Data], Faults] = no_faults
    #: called only when it does not match: would another reader detect this format nevertheless?
    disguised: Callable[[Data], Faults] = no_faults


def size_faults(size: int, largest: int = LARGEST) -> Faults:
    """Check the virtual size that a header states."""
    if size == 0:
        yield "size", "the virtual size is 0"
    if size > largest:
        yield "size", "the virtual size is larger than any disk"
