"""What a store driver provides: it keeps, returns, lists and deletes objects, each of them whole or not at all.

A driver is one module with a class that has the methods of ``Driver``; ``stores.stores.DRIVERS`` has a row for it.
What only some back ends can do is a protocol of its own (``DirectoryIdentity`` here, ``Parts`` in ``supervisor``),
which a driver has or has not.
"""

import os
from asyncio import Future
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from ferrotype.model.blob import ObjectRef, Registered
from ferrotype.model.external import Validators
from ferrotype.offload import ThreadPools

#: Chunks of data that move together. They are never joined.
Batch = Sequence[bytes]

#: Largest chunk that ``Source.read`` yields, in bytes.
READ_SIZE = 1 << 20

#: Records the handle of an object that is being written, as soon as the back end has one.
Noted = Callable[[str], Awaitable[None]]


class LocalFile:
    """An open file of this machine, which the server can send without reading it.

    Reading may block as long as its file system does, so it is done in ``threads``.
    """

    __slots__ = ("_calls", "_closed", "fd", "sent", "size", "threads")

    def __init__(self, fd: int, size: int, threads: Executor):
        self.fd, self.size, self.threads = fd, size, threads
        #: bytes that went to a client
        self.sent = 0
        self._closed = False
        #: calls in threads that use the descriptor
        self._calls: set[Future[Any]] = set()

    def keep_open_for(self, call: "Future[Any]") -> None:
        """Keep the descriptor open until a call has ended that may be abandoned. The call must not be cancelled."""
        self._calls.add(call)
        call.add_done_callback(self._on_call_end)

    def _on_call_end(self, call: "Future[Any]") -> None:
        self._calls.discard(call)
        if self._closed:
            self.close()

    def close(self) -> None:
        """Close the file as soon as no thread uses it; closing it again does nothing."""
        self._closed = True
        if self.fd >= 0 and not self._calls:  # A thread could use another file that gets the same number.
            os.close(self.fd)
            self.fd = -1


class Source(Protocol):
    """An object that is open for reading. The caller of ``open`` closes it."""

    #: bytes; None where the back end does not say
    size: int | None
    #: the same data as a file, where there is one
    local_file: LocalFile | None

    def read(self, offset: int, count: int | None) -> AsyncIterator[bytes]:
        """Yield ``count`` bytes from ``offset`` on, or all that follow, in chunks of at most ``READ_SIZE``.

        Fewer come only where the object ends before. Several reads may run at once; each can be cancelled, and raises
        a StoreError at whatever chunk the back end fails.
        """

    async def close(self) -> None:
        """Release what the object holds; closing it again does nothing."""


class Listed(Struct, frozen=True):
    """One object that a back end holds. ``handle`` is None, and ``size`` what is there so far, while unfinished."""

    name: str
    handle: str | None
    size: int


class Health(Struct, frozen=True):
    """What the last probe found. ``reason`` names the problem and the remedy.

    ``full``: the back end works and has no free space. Space may be freed at any moment, so writing is still tried.
    """

    writable: bool
    reason: str = ""
    full: bool = False


class Driver(Protocol):
    """One configured back end. It raises the StoreErrors of ``model.errors`` and keeps no state between transfers.

    An object has *our* name (``ObjectRef.name``: lower-case letters, digits and dashes, used once) and the back end's
    *handle* for it, a string of at most 1,024 characters.
    """

    #: keys and values that ``/v2/info/stores/detail`` shows; from configuration and memory alone
    properties: Mapping[str, Any]

    async def put(self, object: ObjectRef, batches: AsyncIterator[Batch], size: int | None, noted: Noted) -> str:
        """Store an object and return its handle. When this returns, the data is durable.

        ``size`` is what the client announced, if it did. Call ``noted`` before the first byte where ``delete`` could
        not find the object by its name alone. After any failure ``delete`` of the name removes whatever is left. A
        name that exists already is refused and left as it is.

        What a driver keeps in memory beyond the last batch it must acquire from the store's share of the memory,
        ``pools.budget.share(store)``.
        """

    async def open(self, handle: str) -> Source:
        """Return an object, open for reading; raise BlobNotFound, or BlobDamaged for what is no object."""

    async def stat(self, handle: str) -> int | None:
        """Return the size of an object in bytes, None where the back end does not say; raise as ``open`` does."""

    async def delete(self, name: str, handle: str | None) -> None:
        """Remove an object and what an interrupted ``put`` left of it. It is no error when nothing is there.

        Without ``handle`` (the writer crashed before it was noted) the object is found by its name.
        """

    def list(self) -> AsyncIterator[Listed]:
        """Yield every object that the back end holds, unfinished ones included."""

    async def probe(self) -> Health:
        """Find out whether objects can be written now; leave nothing behind."""

    def url(self, handle: str) -> str:
        """Return the URL that a location shows for an object. It never holds credentials."""

    def parse(self, url: str) -> str | None:
        """Return the handle that a URL of this store means; None for any other URL, and for what is no URL.

        Names are compared whole: ``/x/store`` is not the place of an object in ``/x/store2`` (STOR-73).
        """


@runtime_checkable
class DirectoryIdentity(Protocol):
    """A driver whose places may be replaced by others, such as the mount points of file systems.

    Each place has an ID, kept in it and in the database. Where the two differ, the place is offline.
    """

    async def initialize(self, directory_ids: Mapping[str, str]) -> Mapping[str, str]:
        """Create the places that are new, and return the IDs that are to be recorded for them.

        ``directory_ids`` are the known IDs by path. A known place that is absent or has another ID is offline, unless
        the operator has asked for it to be used: then it gets a new ID, which is returned too. One that does not
        answer is looked at again by the next call. Before this call the driver creates nothing.
        """

    def set_expected_ids(self, directory_ids: Mapping[str, str]) -> None:
        """Hold the places to these IDs without creating anything."""


@runtime_checkable
class External(Protocol):
    """A driver of files that others keep: registered by their URLs, never written or deleted, and they may change.

    Its ``probe`` returns ``Health(False)`` without a reason: that is not a failure.
    """

    async def open_unchanged(self, handle: str, expected: Validators | None) -> Source:
        """Return the file, open for reading; raise BlobDamaged, also in mid-read, when it differs from ``expected``.

        Where nothing is known of the file (None), it must stay the one that it is now.
        """


@runtime_checkable
class Registrable(Protocol):
    """A driver whose objects others may write and register as locations of images. The service never deletes them.

    The URL was checked by ``rules.locations.check_url``. Who may register it was decided before: the driver is asked
    last, and what it connects to is its own responsibility (RUL-95).
    """

    async def register(self, url: str) -> Registered:
        """Return the object that a URL of this store names: ``open`` of its handle reads the data.

        Raises BlobNotFound, StoreDenied for a URL that the store does not take, and StoreUnavailable.
        """


@runtime_checkable
class InUse(Protocol):
    """A driver whose back end knows other users of an object, such as clones of it or attached volumes."""

    async def in_use(self, handle: str) -> str | None:
        """Return who uses an object, as in "2 clones"; None when it can be deleted, or does not exist."""


#: (id of the store, configuration record of its type, threads for blocking calls) -> driver
Factory = Callable[[str, Any, ThreadPools], Driver]
