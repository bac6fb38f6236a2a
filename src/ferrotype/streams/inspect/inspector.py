"""The watcher of a stream: keeps the few bytes that tell what it is, and looks at them when it ends."""

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from ferrotype.streams.inspect import gpt, iso, luks, qcow2, qed, vdi, vhd, vhdx, vmdk
from ferrotype.streams.inspect.records import LARGEST, Data, Failure, Faults, Findings, Format

log = logging.getLogger(__name__)
T = TypeVar("T")

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

#: These bytes decide how much of the rest is kept.
FIRST = 512


class Inspector:
    """Finds out what a stream of bytes is.

    Feed it every byte in order, in chunks of any size, then ask. It never
    raises because of what it is fed, and holds less than 2 MiB. What it finds
    after a part of a stream is true of that part only.
    """

    def __init__(self) -> None:
        self._size = 0
        self._head = bytearray()
        self._reach = FIRST
        self._tail_kept = False
        self._tail = b""
        self._regions: list[tuple[int, int, bytearray]] = []

    def feed(self, chunks: Iterable[bytes | bytearray | memoryview]) -> None:
        """Look at the next chunks. May be called in any thread, by one at a time."""
        for chunk in chunks:
            rest = memoryview(chunk)
            self._size += len(rest)
            while rest and len(self._head) < self._reach:
                piece = rest[: self._reach - len(self._head)]
                self._head += piece
                rest = rest[len(piece) :]
                if len(self._head) == self._reach:
                    self._look_ahead()
            if rest:
                self._keep(rest)

    def finish(self) -> Findings:
        """Return what the bytes seen so far are."""
        tail = (bytes(self._head[-vmdk.TAIL :]) + self._tail)[-vmdk.TAIL :]
        regions = {offset: bytes(kept) for offset, _, kept in self._regions}
        return examine(Data(size=self._size, head=bytes(self._head), tail=tail, regions=regions))

    def _look_ahead(self) -> None:
        """Decide, when a part of the head is complete, what else to keep."""
        head = bytes(self._head)
        if len(head) == FIRST:
            self._reach = max(iso.REACH, vmdk.reach(head), vhdx.reach(head))
            return
        self._tail_kept = vmdk.has_footer(head)
        self._regions = [(offset, length, bytearray()) for offset, length in vhdx.further(head)]

    def _keep(self, rest: memoryview) -> None:
        """Keep what is wanted of ``rest``, which ends where the stream is now."""
        start = self._size - len(rest)
        for offset, length, kept in self._regions:
            skip = offset + len(kept) - start
            if 0 <= skip < len(rest):
                kept += rest[skip : skip + length - len(kept)]
        if self._tail_kept:
            self._tail = (self._tail + bytes(rest[-vmdk.TAIL :]))[-vmdk.TAIL :]


def examine(data: Data) -> Findings:
    """Return what ``data`` is."""
    failures: list[Failure] = []

    def ask(format: Format, question: Callable[[Data], T], otherwise: T) -> T:
        # A reader that stumbles must not let the bytes through: whatever stopped it counts against them.
        try:
            return question(data)
        except Exception:
            log.warning("the %s inspection stopped at bytes it could not read", format.name, exc_info=True)
            failures.append(Failure(format.name, "unreadable", "the bytes could not be read"))
            return otherwise

    def note(format: Format, faults: Callable[[Data], Faults]) -> None:
        nothing_more: list[tuple[str, str]] = []
        for check, detail in ask(format, lambda data: list(faults(data)), nothing_more):
            failures.append(Failure(format.name, check, detail))

    found = [format for format in FORMATS if ask(format, format.matches, False)]
    if {format.name for format in found} == {"iso", "gpt"}:
        # An image that starts from disks as well as from discs. Its partition table describes the
        # image itself and is made to please firmware, so it is not held to the rules of a disk.
        found = [iso.FORMAT]

    sizes = {format.name: ask(format, format.virtual_size, 0) for format in found} or {"raw": data.size}
    for format in FORMATS:
        note(format, format.faults if format in found else format.disguised)
    return Findings(
        formats=tuple(sizes),
        failures=tuple(failures),
        virtual_sizes={name: size for name, size in sizes.items() if size <= LARGEST},
        size=data.size,
    )
