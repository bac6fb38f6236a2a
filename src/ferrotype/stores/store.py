"""A store as the service sees it: what is alike in all of them, around the driver that differs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from ferrotype.config.stores import StoreConfig
from ferrotype.config.stores import Stores as StoresConfig
from ferrotype.model.errors import StoreError, StoreReadOnly, StoreUnavailable
from ferrotype.model.image import Location
from ferrotype.offload import Crew
from ferrotype.stores.driver import Batch, Driver, Factory, Health, LocalFile
from ferrotype.stores.file import FileDriver

T = TypeVar("T")

log = logging.getLogger("ferrotype.stores")

#: Seconds that a backend has to answer a probe, and after which it is probed when it owes another answer.
PATIENCE = 5.0

DRIVERS: Mapping[str, Factory] = {"file": FileDriver}


class Store:
    """One configured store. Its health is what the last probe found."""

    def __init__(self, config: StoreConfig, driver: Driver):
        self.id = config.id
        self.type = config.type
        self.description = config.description
        self.weight = config.weight
        self._driver = driver
        self.patience = PATIENCE
        self.health = Health(True)
        #: a probe that has not been answered yet
        self._asked: asyncio.Future[Health] | None = None
        #: it should have been answered by now
        self._silent = False
        self._settling: asyncio.Future[Mapping[str, str]] | None = None

    @property
    def properties(self) -> Mapping[str, Any]:
        """What the operator's discovery shows of the driver."""
        return self._driver.properties

    async def put(self, name: str, batches: AsyncIterator[Batch], size: int | None) -> str:
        """Keep an object durably and return its URL; all of it, or nothing and an error."""
        with self._translated():
            if not self.health.writable and not self.health.full:
                raise StoreReadOnly(f"it does not take images at present: {self.health.reason}")
            return await self._driver.put(name, batches, size)

    async def get(self, location: Location, size: int | None) -> LocalFile | None:
        """Return the data of a location as an open file."""
        with self._translated():
            return await self._answer(self._driver.get(location.url, size))

    async def delete(self, name: str) -> None:
        """Remove an object; one that is absent is fine."""
        with self._translated():
            await self._answer(self._driver.delete(name))

    async def _answer(self, question: Coroutine[Any, Any, T]) -> T:
        """Return the backend's answer, however long it takes, as long as the backend answers probes.

        Once it does not, nobody waits for what it was asked; nor does whoever is cancelled.
        """
        asked = asyncio.ensure_future(question)
        try:
            while not (await asyncio.wait([asked], timeout=self.patience))[0]:
                await self.probe()
                if self._silent:
                    raise StoreUnavailable(self.health.reason)
        except BaseException:  # Cancelled or given up: what comes of it after all is put away.
            asked.add_done_callback(_put_away)
            raise
        return asked.result()

    async def settle(self, marks: Mapping[str, str], fresh: bool) -> Mapping[str, str]:
        """Have the backend settle in, as ``Driver.settle`` says; one that does not answer in time does it later."""
        self._settling = self._settling or asyncio.ensure_future(self._driver.settle(marks, fresh))
        answered, _ = await asyncio.wait([self._settling], timeout=self.patience)
        if not answered:
            return {}
        settling, self._settling = self._settling, None
        with self._translated():
            return settling.result()

    def expect(self, marks: Mapping[str, str]) -> None:
        """Hold the backend's places to these marks, as ``Driver.expect`` says."""
        self._driver.expect(marks)

    def names(self) -> AsyncIterator[str]:
        """Yield the names of all objects there are."""
        return self._driver.names()

    def owns(self, url: str) -> str | None:
        """Return the name of the object that the URL means in this store, or None."""
        return self._driver.owns(url)

    async def probe(self) -> None:
        """Find out whether the store can be written, and log when that changes.

        A backend that does not answer counts as one that cannot. Nobody waits for it, and it is asked for nothing
        else, before it has answered.
        """
        if self._asked is None:
            self._asked = asyncio.ensure_future(self._driver.probe())
            self._asked.add_done_callback(self._answered)
        answered, _ = await asyncio.wait([self._asked], timeout=self.patience)
        if not answered:
            self._silent = True
            self._found(Health(False, "it does not answer. Check its file system, or the network to it."))

    def _answered(self, asked: "asyncio.Future[Health]") -> None:
        """Take note of the answer to a probe, however late it comes."""
        self._asked, self._silent = None, False
        if asked.cancelled():
            return
        try:
            health = asked.result()
        except StoreError as error:
            health = Health(False, str(error))
        self._found(health)

    def _found(self, health: Health) -> None:
        if health.writable and not self.health.writable:
            log.warning("Store %s takes images again.", self.id)
        if health.reason and health != self.health:
            how = "is in trouble" if health.writable else "is full" if health.full else "is read-only now"
            log.error("Store %s %s: %s", self.id, how, health.reason)
        self.health = health

    @contextmanager
    def _translated(self) -> Iterator[None]:
        if self._silent:
            raise self._named(StoreUnavailable(self.health.reason))
        try:
            yield
        except StoreError as error:
            raise self._named(error) from error.__cause__

    def _named(self, error: StoreError) -> StoreError:
        error.store = self.id
        return error


def _put_away(answer: asyncio.Future[Any]) -> None:
    """Take note of an answer that nobody waited for."""
    if not answer.cancelled() and answer.exception() is None and isinstance(answer.result(), LocalFile):
        answer.result().close()


class Stores:
    """All stores by id, in the order of the configuration."""

    def __init__(self, stores: Mapping[str, Store], default: str, multi: bool):
        self._stores = dict(stores)
        self.default = default
        self.multi = multi

    def __iter__(self) -> Iterator[Store]:
        return iter(self._stores.values())

    def get(self, store_id: str | None) -> Store | None:
        """Return a store, or None when this node has none of that id."""
        return self._stores.get(store_id or "")

    def weight(self, location: Location) -> int:
        """Return how much a location's store is preferred; 0 for a store that this node does not know."""
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


def open_stores(config: StoresConfig, crew: Crew) -> Stores:
    """Return the configured stores; nothing is written yet."""
    stores = {entry.id: Store(entry, DRIVERS[entry.type](entry.options, crew)) for entry in config.entries}
    return Stores(stores, config.default, config.multi)
