"""All stores of a configuration: which driver each type has, and which store holds what."""

import asyncio
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from msgspec.structs import replace

from ferrotype.config import ConfigError
from ferrotype.config.plugins import summary
from ferrotype.config.stores import StoreConfig
from ferrotype.config.stores import Stores as StoresConfig
from ferrotype.model.image import Location
from ferrotype.offload import Budget, ThreadPools
from ferrotype.stores.driver import Driver, Factory
from ferrotype.stores.file import FileDriver
from ferrotype.stores.memory import MemoryDriver
from ferrotype.stores.store import Store

#: Uploads that one worker takes at once.
MAX_UPLOADS = 512


def _imported(module: str, name: str) -> Factory:
    """Return the factory of a driver whose library is imported only where such a store is configured."""

    def make(store: str, options: Any, pools: ThreadPools) -> Driver:
        driver: Driver = getattr(import_module(module), name)(store, options, pools)
        return driver

    return make


#: One row for each type of store.
DRIVERS: Mapping[str, Factory] = {
    "file": FileDriver,
    "memory": MemoryDriver,
    "s3": _imported("ferrotype.stores.s3", "S3Driver"),
    "gcs": _imported("ferrotype.stores.gcs", "GcsDriver"),
    "azure": _imported("ferrotype.stores.azure", "AzureDriver"),
}


class Stores:
    """All stores by id, in the order of the configuration."""

    def __init__(self, stores: Mapping[str, Store], default: str, multi: bool):
        self._stores = dict(stores)
        self.default = default
        self.multi = multi
        #: whether any back end knows other users of its objects
        self.report_use = any(store.reports_use for store in self)

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

    def attribute(self, locations: tuple[Location, ...]) -> tuple[Location, ...]:
        """Return locations that name their stores, as ``_attributed`` finds them."""
        for location in locations:
            if location.store not in self._stores:
                return tuple(map(self._attributed, locations))
        return locations

    def _attributed(self, location: Location) -> Location:
        """Return a location that names its store: by its URL, if the metadata name no store of this node (STOR-70).

        Of several stores that know the URL, the one that ``backend`` names (as Glance did before Train), else the
        first one. A location whose store is not found is returned as it is.
        """
        if location.store in self._stores:
            return location
        owners = [store.id for store in self if store.owns(location.url)]
        if not owners:
            return location
        hint = location.metadata.get("backend")
        found = hint if hint in owners else owners[0]
        return replace(location, metadata={**location.metadata, "store": found})

    def registrar(self, url: str) -> Store | None:
        """Return the store that takes a URL as a location of others' data; None when there is none."""
        return next((store for store in self if store.takes_registrations and store.owns(url)), None)

    async def probe(self) -> None:
        """Probe every store; one that fails or hangs never keeps the others from being probed."""
        await asyncio.gather(*(store.probe() for store in self))


def open_stores(config: StoresConfig, pools: ThreadPools, others: Mapping[str, Factory] | None = None) -> Stores:
    """Return the configured stores; nothing is written yet.

    ``others`` make the drivers of types that need more than their options, such as a client for HTTP.
    """
    uploads = Budget(MAX_UPLOADS)
    factories = {**DRIVERS, **(others or {})}

    def opened(entry: StoreConfig) -> Store:
        driver = _driver(entry, factories, pools)
        return Store(entry, driver, pools.budget.share(entry.id), uploads.share(entry.id))

    return Stores({entry.id: opened(entry) for entry in config.entries}, config.default, config.multi)


def _driver(entry: StoreConfig, factories: Mapping[str, Factory], pools: ThreadPools) -> Driver:
    if entry.driver is None:
        return factories[entry.type](entry.id, entry.options, pools)
    try:
        driver: Driver = entry.driver(entry.id, entry.options, pools)
    except Exception as error:
        reason = summary(error)
        raise ConfigError([f"The driver of the store {entry.id!r} of type {entry.type} failed: {reason}."]) from error
    return driver
