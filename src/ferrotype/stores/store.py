"""A store as the service sees it: what is alike in all of them, around the driver that differs."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from ferrotype.config.stores import StoreConfig
from ferrotype.config.stores import Stores as StoresConfig
from ferrotype.model.blob import ObjectRef
from ferrotype.model.errors import BlobDamaged, StoreDenied, StoreError, StoreReadOnly, StoreUnavailable
from ferrotype.model.image import Location
from ferrotype.offload import ThreadPools, shielded
from ferrotype.stores.driver import (
    Batch,
    DirectoryIdentity,
    Driver,
    Factory,
    Health,
    Listed,
    LocalFile,
    Noted,
    Source,
)
from ferrotype.stores.file import FileDriver
from ferrotype.stores.memory import MemoryDriver

T = TypeVar("T")

log = logging.getLogger("ferrotype.stores")

#: Seconds that a back end has to answer a probe, and after which it is probed while it owes another answer.
PROBE_TIMEOUT = 5.0
#: Seconds for which other copies are preferred to those of a store after a read from it has failed.
READ_FAILURE_SECONDS = 30.0

#: One row for each type of store.
DRIVERS: Mapping[str, Factory] = {"file": FileDriver, "memory": MemoryDriver}


class Store:
    """One configured store. Its health is what the last probe found."""

    def __init__(self, config: StoreConfig, driver: Driver):
        self.id = config.id
        self.type = config.type
        self.description = config.description
        self.weight = config.weight
        self._driver = driver
        self.probe_timeout = PROBE_TIMEOUT
        self.health = Health(True)
        self._pending_probe: asyncio.Future[Health] | None = None
        #: a probe was not answered in time
        self._unresponsive = False
        self._initializing: asyncio.Future[Mapping[str, str]] | None = None
        #: until when other copies are preferred, on the monotonic clock
        self.avoided_until = 0.0

    @property
    def readable(self) -> bool:
        """Whether reads can be expected to succeed: the store answers, and no read of late has failed."""
        return not self._unresponsive and time.monotonic() >= self.avoided_until

    def on_read_failure(self) -> None:
        """A read failed, or was too slow, for a reason that has to do with the store and not with the object."""
        self.avoided_until = time.monotonic() + READ_FAILURE_SECONDS

    @property
    def properties(self) -> Mapping[str, Any]:
        """What the operators' discovery shows of the driver."""
        return self._driver.properties

    async def put(self, object: ObjectRef, batches: AsyncIterator[Batch], size: int | None, noted: Noted) -> str:
        """Store an object durably and return its handle; all of it, or nothing and an error."""
        with self.named_errors():
            if not self.health.writable and not self.health.full:
                raise StoreReadOnly(f"the store does not accept images at the moment: {self.health.reason}")
            return await self._driver.put(object, batches, size, noted)

    async def open(self, url: str, size: int | None) -> Source:
        """Return the object of a location, open for reading; the caller closes it.

        Raises BlobDamaged when it has not the ``size`` that was stored.
        """
        with self.named_errors():
            source = await self.call(self._driver.open(self._handle(url)))
            if size is not None and source.size not in (None, size):
                await source.close()
                raise BlobDamaged(f"{url} has {source.size} bytes, but {size} were stored")
        return source if source.local_file else _SupervisedSource(self, source)

    async def check(self, url: str, size: int | None) -> None:
        """Read the end of an object; raise what ``open`` raises, and BlobDamaged when its last byte does not come."""
        source = await self.open(url, size)
        try:
            length = size if size is not None else source.size
            if length and not [chunk async for chunk in source.read(length - 1, 1)]:
                raise BlobDamaged(f"{url} is truncated: it has fewer than {length} bytes")
        except StoreError as error:
            raise self._with_id(error) from error.__cause__
        finally:
            await shielded(source.close())

    async def delete(self, name: str, handle: str | None) -> None:
        """Remove an object; it is no error when it is absent."""
        with self.named_errors():
            await self.call(self._driver.delete(name, handle))

    async def call(self, request: Awaitable[T]) -> T:
        """Return the back end's answer, however long it takes, as long as it answers probes.

        A back end that does not answer them is unresponsive: every caller gets StoreUnavailable at once.
        """
        call = asyncio.ensure_future(request)
        try:
            while not (await asyncio.wait([call], timeout=self.probe_timeout))[0]:
                await self.probe()
                if self._unresponsive:
                    raise StoreUnavailable(self.health.reason)
        except BaseException:  # Cancelled, or unresponsive: a late result is discarded.
            call.add_done_callback(_discard_late_result)
            raise
        return call.result()

    def list(self) -> AsyncIterator[Listed]:
        """Yield all objects that the back end holds."""
        return self._driver.list()

    def url(self, handle: str) -> str:
        """Return the URL of an object."""
        return self._driver.url(handle)

    def owns(self, url: str) -> bool:
        """Return whether a URL means an object of this store."""
        return self._driver.parse(url) is not None

    def _handle(self, url: str) -> str:
        handle = self._driver.parse(url)
        if handle is None:
            raise StoreDenied(f"{url} is not a URL of this store")
        return handle

    async def initialize(self, directory_ids: Mapping[str, str], store_is_empty: bool) -> Mapping[str, str]:
        """Have a driver with directories initialize them, as ``DirectoryIdentity`` says; others have no IDs.

        One that does not answer in time is asked again by the next call.
        """
        if not isinstance(self._driver, DirectoryIdentity):
            return {}
        request = self._initializing or asyncio.ensure_future(self._driver.initialize(directory_ids, store_is_empty))
        self._initializing = request
        answered, _ = await asyncio.wait([request], timeout=self.probe_timeout)
        if not answered:
            return {}
        self._initializing = None
        with self.named_errors():
            return request.result()

    def set_expected_ids(self, directory_ids: Mapping[str, str]) -> None:
        """Hold a driver with directories to these IDs, as ``DirectoryIdentity`` says."""
        if isinstance(self._driver, DirectoryIdentity):
            self._driver.set_expected_ids(directory_ids)

    async def probe(self) -> None:
        """Find out whether the store can be written, and log when that changes.

        A back end that does not answer counts as one that cannot, and gets no other request before it has answered.
        """
        if self._pending_probe is None:
            self._pending_probe = asyncio.ensure_future(self._driver.probe())
            self._pending_probe.add_done_callback(self._on_probe_result)
        answered, _ = await asyncio.wait([self._pending_probe], timeout=self.probe_timeout)
        if not answered:
            self._unresponsive = True
            self._set_health(Health(False, "the store does not answer. Check its file system, or the network to it."))

    def _on_probe_result(self, probe: "asyncio.Future[Health]") -> None:
        """Record the answer to a probe, however late it comes."""
        self._pending_probe, self._unresponsive = None, False
        if probe.cancelled():
            return
        try:
            health = probe.result()
        except StoreError as error:
            health = Health(False, str(error))
        self._set_health(health)

    def _set_health(self, health: Health) -> None:
        if health.writable and not self.health.writable:
            log.warning("store accepts images again: store=%s", self.id)
        if health.reason and health != self.health:
            state = "degraded" if health.writable else "full" if health.full else "read-only"
            log.error("store is %s: store=%s: %s", state, self.id, health.reason)
        self.health = health

    @contextmanager
    def named_errors(self) -> Iterator[None]:
        """Give StoreErrors the store's id; while the back end is unresponsive, raise StoreUnavailable at once."""
        if self._unresponsive:
            raise self._with_id(StoreUnavailable(self.health.reason))
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

    async def read(self, offset: int, count: int | None) -> AsyncIterator[bytes]:
        chunks = self._source.read(offset, count)
        while True:
            with self._store.named_errors():
                reading = asyncio.ensure_future(anext(chunks, b""))
                try:
                    chunk = await self._store.call(reading)
                finally:
                    reading.cancel()  # Nothing is lost: it was abandoned, unless it is done.
            if not chunk:
                return
            yield chunk

    async def close(self) -> None:
        await self._source.close()


#: closings that run in the background
_closing: set[asyncio.Future[None]] = set()


def _discard_late_result(call: "asyncio.Future[Any]") -> None:
    """Retrieve a result that came too late; close it if it is a source."""
    if call.cancelled() or call.exception() is not None:
        return
    close = getattr(call.result(), "close", None)
    if close is not None:
        closing = asyncio.ensure_future(close())
        _closing.add(closing)
        closing.add_done_callback(_closing.discard)


class Stores:
    """All stores by id, in the order of the configuration."""

    def __init__(self, stores: Mapping[str, Store], default: str, multi: bool):
        self._stores = dict(stores)
        self.default = default
        self.multi = multi

    def __iter__(self) -> Iterator[Store]:
        return iter(self._stores.values())

    def get(self, store_id: str | None) -> Store | None:
        """Return a store, or None when this node has none with that id."""
        return self._stores.get(store_id or "")

    def weight(self, location: Location) -> int:
        """Return the weight of a location's store; 0 for a store that this node does not have."""
        store = self._stores.get(location.store or "")
        return store.weight if store else 0

    def of(self, location: Location) -> Store | None:
        """Return the store that holds a location's data, by its id or else by its URL."""
        if location.store in self._stores:
            return self._stores[location.store or ""]
        return next((store for store in self if store.owns(location.url)), None)

    async def probe(self) -> None:
        """Probe every store; one that fails or hangs never keeps the others from being probed."""
        await asyncio.gather(*(store.probe() for store in self))


def open_stores(config: StoresConfig, pools: ThreadPools) -> Stores:
    """Return the configured stores; nothing is written yet."""
    stores = {entry.id: Store(entry, DRIVERS[entry.type](entry.id, entry.options, pools)) for entry in config.entries}
    return Stores(stores, config.default, config.multi)
