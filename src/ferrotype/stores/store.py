"""A store as the service sees it: what is alike in all of them, around the driver that differs."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ferrotype.config.stores import StoreConfig
from ferrotype.model.blob import ObjectRef, Registered
from ferrotype.model.errors import BlobDamaged, Busy, StoreDenied, StoreError, StoreReadOnly, StoreUnavailable
from ferrotype.model.external import Validators
from ferrotype.model.urls import shown
from ferrotype.offload import Share, shielded
from ferrotype.stores.driver import (
    Batch,
    DirectoryIdentity,
    Driver,
    External,
    Health,
    InUse,
    Listed,
    LocalFile,
    Noted,
    Registrable,
    Source,
)
from ferrotype.stores.supervisor import Parts, Supervisor
from ferrotype.stores.upload import Upload

log = logging.getLogger("ferrotype.stores")

#: Seconds for which other copies are preferred to those of a store after a read from it has failed.
READ_FAILURE_SECONDS = 30.0


class Store:
    """One configured store. Its health is what the last probe found.

    ``memory`` is its share of the memory for data, ``uploads`` that of the uploads that a worker takes.
    """

    def __init__(self, config: StoreConfig, driver: Driver, memory: Share, uploads: Share):
        self.id = config.id
        self.type = config.type
        self.description = config.description
        self.weight = config.weight
        self.memory, self._uploads = memory, uploads
        self._driver = driver
        self._external = driver if isinstance(driver, External) else None
        self.health = Health(True)
        silence = "the store does not answer. Check its file system, or the network to it."
        self.supervisor = Supervisor(driver.probe, silence, self._set_health)
        if isinstance(driver, Parts):  # It waits for its parts itself, no longer than this.
            self.supervisor.timeout *= 2
        #: uploads that were given up and that the driver has not ended yet, by name of the object
        self._abandoned: dict[str, asyncio.Future[str]] = {}
        #: until when other copies are preferred, on the monotonic clock
        self.avoided_until = 0.0

    @property
    def readable(self) -> bool:
        """Whether reads can be expected to succeed: the store answers, and no read of late has failed."""
        return not self.supervisor.unresponsive and time.monotonic() >= self.avoided_until

    def on_read_failure(self) -> None:
        """A read failed, or was too slow, for a reason that has to do with the store and not with the object."""
        self.avoided_until = time.monotonic() + READ_FAILURE_SECONDS

    @property
    def properties(self) -> Mapping[str, Any]:
        """What the operators' discovery shows of the driver."""
        return self._driver.properties

    @contextmanager
    def upload_slot(self) -> Iterator[None]:
        """Count an upload during the block; raise Busy when this worker takes no more for this store."""
        if not self._uploads.try_acquire(1):
            raise Busy("This node has reached its limit of concurrent uploads. Please retry later.")
        try:
            yield
        finally:
            self._uploads.release(1)

    async def put(self, object: ObjectRef, batches: AsyncIterator[Batch], size: int | None, noted: Noted) -> str:
        """Store an object durably and return its handle; all of it, or nothing and an error.

        While the driver keeps a batch for long the back end is probed. When it does not answer, or the caller is
        cancelled and the driver does not end, the upload is given up: ``is_writing`` tells whether it still runs.
        """
        with self.named_errors():
            if self._external:
                raise StoreReadOnly(f"stores of type {self.type} never take images")
            self.supervisor.check()
            if not self.health.writable and not self.health.full:
                await self.probe()  # It may have recovered.
            if not self.health.writable and not self.health.full:
                raise StoreUnavailable(f"the store does not accept images at the moment: {self.health.reason}")
            work = Upload(batches)
            writing = asyncio.ensure_future(self._driver.put(object, work, size, noted))
            try:
                await self._supervise(object.name, writing, work)
            except BaseException as error:
                writing.cancel()
                await self._end(object.name, writing, work, patient=not isinstance(error, StoreUnavailable))
                raise
            return writing.result()

    async def _supervise(self, name: str, writing: "asyncio.Future[str]", work: "Upload") -> None:
        """Wait for a driver's ``put``; raise StoreUnavailable when it hangs, as its back end does not answer."""
        timeout = self.supervisor.timeout
        while not (await asyncio.wait([writing], timeout=timeout))[0]:
            supervisor = self._driver.part_of(name) if isinstance(self._driver, Parts) else self.supervisor
            if supervisor is None:  # Choosing a part takes no longer than a probe of each.
                continue
            if not work.is_reading:
                supervisor.check()
            missing = work.since + supervisor.timeout - time.monotonic()
            timeout = min(supervisor.timeout, missing) if missing > 0 else supervisor.timeout
            if missing <= 0:
                await supervisor.probe()
                supervisor.check()

    async def _end(self, name: str, writing: "asyncio.Future[str]", work: "Upload", patient: bool) -> None:
        """Wait until a ``put`` that was cancelled has ended, or give it up; never while it is asking for a batch."""
        timeout = self.supervisor.timeout if patient else 0.0
        try:
            while not (await asyncio.wait([writing], timeout=timeout))[0] and work.is_reading:
                timeout = 0.05
        finally:
            if writing.done():
                writing.cancelled() or writing.exception()  # Retrieved: the error that ended us is the one to report.
            else:
                self._abandon(name, writing, work)

    def _abandon(self, name: str, writing: "asyncio.Future[str]", work: "Upload") -> None:
        work.is_abandoned = True
        release = self.memory.detach(work.held)
        self._abandoned[name] = writing
        log.warning("upload given up, its thread still waits for the store: store=%s object=%s", self.id, name)

        def ended(_: "asyncio.Future[str]") -> None:
            release()
            del self._abandoned[name]
            writing.cancelled() or writing.exception()

        writing.add_done_callback(ended)

    def is_writing(self, name: str) -> bool:
        """Return whether an upload that was given up may still write to an object."""
        return name in self._abandoned

    async def open(self, url: str, size: int | None, validators: Validators | None = None) -> Source:
        """Return the object of a location, open for reading; the caller closes it.

        Raises BlobDamaged when it has not the ``size`` that was stored. ``validators`` are those of the location.
        """
        with self.named_errors():
            handle = self._handle(url)
            if self._external:
                source = await self.supervisor.call(self._external.open_unchanged, handle, validators)
            else:
                source = await self.supervisor.call(self._driver.open, handle)
            if size is not None and source.size not in (None, size):
                await source.close()
                raise BlobDamaged(f"{shown(url)} has {source.size} bytes, but {size} were stored")
        return source if source.local_file else _SupervisedSource(self, source)

    async def check(self, url: str, size: int | None, validators: Validators | None = None) -> None:
        """Read the end of an object; raise what ``open`` raises, and BlobDamaged when its last byte does not come."""
        source = await self.open(url, size, validators)
        try:
            length = size if size is not None else source.size
            if length and not [chunk async for chunk in source.read(length - 1, 1)]:
                raise BlobDamaged(f"{shown(url)} is truncated: it has fewer than {length} bytes")
        except StoreError as error:
            raise self._with_id(error) from error.__cause__
        finally:
            await shielded(source.close())

    async def delete(self, name: str, handle: str | None) -> None:
        """Remove an object; it is no error when it is absent."""
        with self.named_errors():
            await self.supervisor.call(self._driver.delete, name, handle)

    @property
    def takes_registrations(self) -> bool:
        """Whether others may register objects in this store as locations of images."""
        return isinstance(self._driver, Registrable)

    async def register(self, url: str) -> Registered:
        """Return the object that others wrote and that a URL names; raise a StoreError."""
        with self.named_errors():
            if not isinstance(self._driver, Registrable):
                raise StoreDenied("the store takes no locations of others")
            return await self.supervisor.call(self._driver.register, url)

    @property
    def reports_use(self) -> bool:
        """Whether the back end knows other users of an object."""
        return isinstance(self._driver, InUse)

    async def in_use(self, url: str) -> str | None:
        """Return who else uses the object of a location; None when it can be deleted."""
        if not isinstance(self._driver, InUse):
            return None
        with self.named_errors():
            return await self.supervisor.call(self._driver.in_use, self._handle(url))

    def list(self) -> AsyncIterator[Listed]:
        """Yield all objects that the back end holds."""
        return self._driver.list()

    def url(self, handle: str) -> str:
        """Return the URL of an object."""
        return self._driver.url(handle)

    def owns(self, url: str) -> bool:
        """Return whether a URL means an object of this store."""
        return self._driver.parse(url) is not None

    def is_same(self, url: str, other: str) -> bool:
        """Return whether two URLs mean the same object of this store."""
        handle = self._driver.parse(url)
        return handle is not None and handle == self._driver.parse(other)

    def _handle(self, url: str) -> str:
        handle = self._driver.parse(url)
        if handle is None:
            raise StoreDenied(f"{shown(url)} is not a URL of this store")
        return handle

    async def initialize(self, directory_ids: Mapping[str, str]) -> Mapping[str, str]:
        """Have a driver with directories initialize them, as ``DirectoryIdentity`` says; others have no IDs."""
        if not isinstance(self._driver, DirectoryIdentity):
            return {}
        with self.named_errors():
            return await self._driver.initialize(directory_ids)

    def set_expected_ids(self, directory_ids: Mapping[str, str]) -> None:
        """Hold a driver with directories to these IDs, as ``DirectoryIdentity`` says."""
        if isinstance(self._driver, DirectoryIdentity):
            self._driver.set_expected_ids(directory_ids)

    async def probe(self) -> None:
        """Find out whether the store can be written, and log when that changes.

        A back end that does not answer counts as one that cannot, and gets no other request before it has answered.
        """
        await self.supervisor.probe()

    def _set_health(self, health: Health) -> None:
        if health.writable and not self.health.writable:
            log.warning("store accepts images again: store=%s", self.id)
        if health.reason and health != self.health:
            state = "degraded" if health.writable else "full" if health.full else "read-only"
            log.error("store is %s: store=%s: %s", state, self.id, health.reason)
        self.health = health

    @contextmanager
    def named_errors(self) -> Iterator[None]:
        """Give StoreErrors the store's id."""
        try:
            yield
        except StoreError as error:
            raise self._with_id(error) from error.__cause__

    def _with_id(self, error: StoreError) -> StoreError:
        error.store = self.id
        return error


class _SupervisedSource:
    """A source whose reads fail, instead of waiting for ever, once its back end is unresponsive."""

    local_file: LocalFile | None = None

    def __init__(self, store: Store, source: Source):
        self._store, self._source = store, source
        self.size = source.size
        self._reads: set[AsyncGenerator[bytes, None]] = set()

    def read(self, offset: int, count: int | None) -> AsyncIterator[bytes]:
        read = self._read(offset, count)
        self._reads.add(read)
        return read

    async def _read(self, offset: int, count: int | None) -> AsyncGenerator[bytes, None]:
        chunks = self._source.read(offset, count)
        while True:
            with self._store.named_errors():
                reading = asyncio.ensure_future(anext(chunks, b""))
                try:
                    chunk = await self._store.supervisor.call(lambda reading=reading: reading)
                finally:
                    reading.cancel()  # Nothing is lost: it was abandoned, unless it is done.
            if not chunk:
                return
            yield chunk

    async def close(self) -> None:
        for read in self._reads:
            await read.aclose()
        await self._source.close()
