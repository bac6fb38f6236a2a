"""The records that the inspection is made of."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

#: The largest number that a database column and a JSON client can hold.
LARGEST = (1 << 63) - 1

#: (name of the check, what is wrong). Texts are ours: nothing of the image's own words is repeated.
Faults = Iterator[tuple[str, str]]


class Failure(msgspec.Struct, frozen=True):
    """One safety check that the bytes did not pass."""

    format: str
    check: str
    detail: str


class Findings(msgspec.Struct, frozen=True):
    """What the bytes are; not whether that is allowed, because what the image declares may change.

    ``formats`` is never empty: bytes that are nothing in particular are ``raw``.
    ``virtual_sizes`` has an entry for each of them that states one.
    """

    formats: tuple[str, ...]
    failures: tuple[Failure, ...]
    virtual_sizes: dict[str, int]
    size: int


@dataclass(frozen=True)
class Data:
    """What was kept of a stream: all that any format needs to be judged.

    It depends on the bytes alone, never on how they were cut into chunks.
    """

    size: int
    #: from the first byte on
    head: bytes
    #: up to the last byte; only for formats that end with something of interest
    tail: bytes
    #: offset -> bytes, for formats that point to something of interest
    regions: Mapping[int, bytes]


def nothing(data: Data) -> Faults:
    """The check of a format that has none."""
    return iter(())


@dataclass(frozen=True)
class Format:
    """How one format is recognised and judged: a row of the inspector's table."""

    name: str
    matches: Callable[[Data], bool]
    #: asked only when it matches; 0 when the format does not say
    virtual_size: Callable[[Data], int]
    #: asked only when it matches
    faults: Callable[[Data], Faults] = nothing
    #: asked only when it does not match: would a program that guesses take the bytes for it all the same?
    disguised: Callable[[Data], Faults] = nothing


def size_faults(size: int, most: int = LARGEST) -> Faults:
    """Judge the virtual size that a header states."""
    if size == 0:
        yield "size", "the virtual size is 0"
    if size > most:
        yield "size", "the virtual size is larger than any disk"
