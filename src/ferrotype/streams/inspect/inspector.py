"""Observes a stream, keeps the few bytes that determine its format, and examines them at the end."""

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from ferrotype.streams.inspect import gpt, iso, luks, qcow2, qed, vdi, vhd, vhdx, vmdk
from ferrotype.streams.inspect.records import LARGEST, Data, Failure, Faults, Findings, Format

log = logging.getLogger(__name__)
T = TypeVar("T")
Chunk = bytes | bytearray | memoryview

FORMATS: tuple[Format, ...] = (
    qcow2.FORMAT,
    vhd.FORMAT,
    vhdx.FORMAT,
    vmdk.FORMAT,
    vdi.FORMAT,
    qed.FORMAT,
    iso.FORMAT,
    gpt.FORMAT,
    luks.FORMAT,
)

#: The first bytes decide how many more are kept.
FIRST = 512
#: What is kept of the start of every stream.
HEAD = max(iso.REACH, gpt.REACH)
TAIL = max(vmdk.TAIL, vhd.FOOTER)


class Inspector:
    """Finds the format of a stream of bytes.

    Feed it every byte in order, in chunks of any size, then call ``finish``. It never raises because of the data,
    and holds less than 3 MiB. What it finds after a part of a stream is true of that part only.
    """

    def __init__(self) -> None:
        self._size = 0
        self._head = bytearray()
        self._reach = FIRST
        #: nothing behind this offset is kept but the tail
        self._end = FIRST
        self._tail = b""
        self._regions: list[tuple[int, int, bytearray]] = []

    def feed(self, chunks: Iterable[Chunk]) -> None:
        """Inspect the next chunks. May be called in any thread, one call at a time."""
        long: Chunk | None = None
        for chunk in chunks:
            length = len(chunk)
            if self._size < self._end:
                self._keep(memoryview(chunk))
            self._size += length
            if length >= TAIL:
                long = chunk
            elif length:
                before = self._tail if long is None else bytes(long[-TAIL:])
                self._tail, long = (before + bytes(chunk))[-TAIL:], None
        # The chunks need not outlive the call, so their end is copied; once a call, because once a chunk costs more.
        if long is not None:
            self._tail = bytes(long[-TAIL:])

    def finish(self) -> Findings:
        """Return what the bytes seen so far are."""
        regions = {offset: bytes(kept) for offset, _, kept in self._regions}
        return examine(Data(size=self._size, head=bytes(self._head), tail=self._tail, regions=regions))

    def _keep(self, rest: memoryview) -> None:
        """Keep what is needed of the next bytes."""
        end = self._size + len(rest)
        while rest and len(self._head) < self._reach:
            piece = rest[: self._reach - len(self._head)]
            self._head += piece
            rest = rest[len(piece) :]
            if len(self._head) == self._reach:
                self._look_ahead()
        start = end - len(rest)
        for offset, length, kept in self._regions:
            skip = offset + len(kept) - start
            if 0 <= skip < len(rest):
                kept += rest[skip : skip + length - len(kept)]

    def _look_ahead(self) -> None:
        """Decide, when all of the head that was wanted is there, what else to keep."""
        head = bytes(self._head)
        reach = max(HEAD, vmdk.reach(head), vhdx.reach(head))
        if reach > self._reach:
            self._reach = self._end = reach
            return
        for offset, length in vhdx.regions_needed(head):
            self._regions.append((offset, length, bytearray()))
            self._end = max(self._end, offset + length)


def examine(data: Data) -> Findings:
    """Return what ``data`` is."""
    failures: list[Failure] = []

    def guarded(format: Format, question: Callable[[Data], T], default: T) -> T:
        # Fail closed: data that makes a check raise is refused.
        try:
            return question(data)
        except Exception:
            log.warning("inspection failed: format=%s", format.name, exc_info=True)
            failures.append(Failure(format.name, "unreadable", "the bytes could not be read"))
            return default

    def add_failures(format: Format, faults: Callable[[Data], Faults]) -> None:
        none: list[tuple[str, str]] = []
        for check, detail in guarded(format, lambda data: list(faults(data)), none):
            failures.append(Failure(format.name, check, detail))

    found = [format for format in FORMATS if guarded(format, format.matches, False)]
    if {format.name for format in found} == {"iso", "gpt"}:
        # A hybrid image boots from disks and from discs. Its partition table describes the image itself
        # and is made for firmware, so the rules for the table of a disk do not apply.
        found = [iso.FORMAT]

    fixed_vhd = guarded(vhd.FORMAT, vhd.fixed_size, None)
    sizes = {format.name: guarded(format, format.virtual_size, 0) for format in found} or {"raw": data.size}
    for format in FORMATS:
        add_failures(format, format.faults if format in found else format.disguised)
    return Findings(
        formats=tuple(sizes),
        failures=tuple(failures),
        virtual_sizes={name: size for name, size in sizes.items() if size <= LARGEST},
        size=data.size,
        fixed_vhd=fixed_vhd,
    )
