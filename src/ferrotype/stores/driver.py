"""What a backend is: something that keeps, yields and deletes bytes, all or nothing."""

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, Protocol

from msgspec import Struct

from ferrotype.offload import Crew

Batch = Sequence[bytes]


class LocalFile:
    """An object that is a file on this machine, open for reading: the server can send it without reading it.

    Reading may wait as long as its file system does, so it is done in ``threads``. Whoever gets it closes it.
    """

    __slots__ = ("fd", "sent", "size", "threads")

    def __init__(self, fd: int, size: int, threads: Executor):
        self.fd, self.size, self.threads = fd, size, threads
        #: bytes that went to a client
        self.sent = 0

    def close(self) -> None:
        """Close the file; once more does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Health(Struct, frozen=True):
    """What the last probe found. ``reason`` says what an operator has to mend.

    ``full``: nothing is broken, there is no room. Room may come at any moment, so writing is tried all the same.
    """

    writable: bool
    reason: str = ""
    full: bool = False


class Driver(Protocol):
    """One configured backend. Names are ours: lower-case letters, digits and dashes.

    Drivers raise the StoreErrors of ``model.errors`` from their causes.
    """

    #: keys and values that ``/v2/info/stores/detail`` shows; from configuration and memory alone
    properties: Mapping[str, Any]

    async def settle(self, marks: Mapping[str, str], fresh: bool) -> Mapping[str, str]:
        """Make what objects are kept in where it is missing, unless it is known and therefore only away.

        ``marks`` are those of known places, ``fresh`` says that no object was ever kept in this store: then nothing
        can be away. Return the marks of places that are new; before this nothing is made.
        """

    def expect(self, marks: Mapping[str, str]) -> None:
        """Hold known places to their marks as ``settle`` does, and make nothing: what follows only looks."""

    async def put(self, name: str, batches: AsyncIterator[Batch], size: int | None) -> str:
        """Keep an object and return its URL. When this returns, the bytes are durable.

        ``size`` is what the source announced, if it did. On any failure nothing is left behind that
        ``delete`` of the same name would not remove. An object of this name that exists already is left as
        it is, and the new one fails.
        """

    async def get(self, url: str, size: int | None) -> LocalFile | None:
        """Return the object as an open file; None where this backend has no files.

        ``size`` is what was stored: an object of another size is BlobDamaged.
        """

    async def delete(self, name: str) -> None:
        """Remove an object and whatever a broken-off ``put`` of that name left. Absent is fine."""

    async def probe(self) -> Health:
        """Find out whether objects can be written now; leave nothing behind."""

    def names(self) -> AsyncIterator[str]:
        """Yield the name of every object there is, unfinished ones included."""

    def owns(self, url: str) -> str | None:
        """Return the name of the object that a URL of this backend means; None for any other URL."""


#: (configuration record of the type, threads for blocking calls) -> driver
Factory = Callable[[Any, Crew], Driver]
