"""Data of others: objects in a memory store that no image of the service has, and the service with such a store."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ferrotype.config.api import Api
from ferrotype.config.file_store import FileStore
from ferrotype.config.memory_store import MemoryStore
from ferrotype.config.stores import StoreConfig, Stores
from ferrotype.model.blob import ObjectRef
from ferrotype.stores.driver import Batch
from ferrotype.stores.memory import MemoryDriver
from ferrotype.stores.store import Store
from ferrotype.testing.client import Client, client

PATCH_LOCATIONS = Api(show_locations=True, show_direct_url=True)


class ClonedDriver(MemoryDriver):
    """Objects in memory that others may use, as a back end with clones and snapshots knows it."""

    #: who uses an object, by its handle; an exception is raised
    users: dict[str, Any]

    async def in_use(self, handle: str) -> str | None:
        found = self.users.get(handle)
        if isinstance(found, Exception):
            raise found
        return found if handle in self._objects else None


def stores(directory: Path, multi: bool = True) -> Stores:
    """Return ``fast`` and ``cheap``, which are directories, ``mem`` and ``spare``; or a single memory store."""
    mem = StoreConfig("mem" if multi else "os_glance_default", "memory", options=MemoryStore())
    spare = StoreConfig("spare", "memory", options=MemoryStore())
    if not multi:
        return Stores(False, mem.id, (mem,))
    folders = [
        StoreConfig(name, "file", weight=weight, options=FileStore(((directory / name, 0),)))
        for name, weight in (("fast", 10), ("cheap", 0))
    ]
    return Stores(True, "fast", (*folders, mem, spare))


@contextmanager
def service(directory: Path, multi: bool = True, **changes: Any) -> Iterator[Client]:
    """Run a service that shows locations and takes those of its memory store."""
    sections: dict[str, Any] = {"api": PATCH_LOCATIONS, "stores": stores(directory, multi)} | changes
    with client(directory, background=False, **sections) as api:
        yield api


def store(api: Client, store_id: str = "mem") -> Store:
    """Return a memory store of the service."""
    stores = api.application.ctx.stores
    found = stores.get(store_id if stores.multi else stores.default)
    assert found
    return found


def put(api: Client, name: str, data: bytes, store_id: str = "mem") -> str:
    """Put an object into a store as others would, and return its URL."""

    async def batches() -> AsyncIterator[Batch]:
        yield [data]

    async def noted(handle: str) -> None:
        return None

    async def write() -> str:
        driver = store(api, store_id)._driver
        return driver.url(await driver.put(ObjectRef(name, "", None), batches(), len(data), noted))

    return api.run(write())


def change(api: Client, url: str, data: bytes | None) -> None:
    """Change an object of the memory store behind the service's back, or remove it."""
    driver: Any = store(api)._driver
    handle = driver.parse(url)
    if data is None:
        del driver._objects[handle]
    else:
        driver._objects[handle] = data


def exists(api: Client, url: str) -> bool:
    """Return whether the memory store has an object."""
    driver: Any = store(api)._driver
    return driver.parse(url) in driver._objects


def clone_aware(api: Client) -> dict[str, Any]:
    """Let the memory store report users of its objects; return them by handle, to be filled."""
    found = store(api)
    old: Any = found._driver
    driver = ClonedDriver.__new__(ClonedDriver)
    driver.__dict__ = old.__dict__
    driver.users = {}
    found._driver = driver
    api.application.ctx.stores.report_use = True
    return driver.users
