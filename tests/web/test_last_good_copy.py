"""Concurrent deletes of copies that each found another readable copy first (TOCTOU)."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from gates import Gate
from uploads import ask, execute, file_of

from ferrotype.admin.consistency import differences
from ferrotype.config.api import Api
from ferrotype.config.file_store import FileStore
from ferrotype.config.stores import StoreConfig, Stores
from ferrotype.model.errors import Conflict
from ferrotype.service.locations import delete_from_store
from ferrotype.testing.client import ADMIN, Client, client


def image_with_copies(api: Client, directory: Path, *stores: str) -> Any:
    """Return an image whose data are in the first store and in these."""
    image = api.image(b"the data")
    first, of = file_of(image), image["id"]
    locations = msgspec.json.decode(ask(api, f"SELECT locations FROM images WHERE id = '{image['id']}'"))
    for number, store in enumerate(stores, 1):
        path = directory / store / f"{first.name[:-8]}{number:08}"
        shutil.copy(first, path)
        locations.append({"url": f"file://{path}", "metadata": {"store": store}, "blob": f"{store}-{of[:8]}"})
        execute(
            api,
            "INSERT INTO blobs (id, store, name, image_id, purpose, state, charged, size, created_at, attempts)"
            f" VALUES ('{store}-{of[:8]}', '{store}', '{path.name}', '{of}', 'data', 'live', 0, 8, 0, 0)",
        )
    written = msgspec.json.encode(locations).decode()
    execute(api, f"UPDATE images SET locations = '{written}' WHERE id = '{image['id']}'".replace(":", "\\:"))
    return api.get(image["self"]).json


def test_concurrent_deletes_never_rely_on_each_others_copies(tmp_path: Path, database_url: str) -> None:
    names = ("fast", "cheap", "third")
    stores = tuple(StoreConfig(each, "file", options=FileStore(((tmp_path / each, 0),))) for each in names)
    many, shown = Stores(True, "fast", stores), Api(show_locations=True)
    with client(tmp_path, background=False, database_url=database_url, stores=many, api=shown) as api:
        ctx = api.application.ctx

        async def delete_concurrently(image: Any, *of: str) -> list[Any]:
            gated = replace(ctx, db=Gate(ctx.db, len(of)))
            deletes = (delete_from_store(gated, ADMIN, store, image["id"]) for store in of)
            return await asyncio.gather(*deletes, return_exceptions=True)

        image = image_with_copies(api, tmp_path, "cheap", "third")
        damaged = Path(image["locations"][2]["url"].removeprefix("file://"))
        damaged.write_bytes(b"cut")
        # IMG-DFS-03, SEC-58
        outcomes = api.run(delete_concurrently(image, "fast", "cheap"))
        assert [type(each) for each in outcomes if each] == [Conflict]
        assert api.get(f"{image['self']}/file").body == b"the data"
        kept = {each["metadata"]["store"] for each in api.get(image["self"]).json["locations"]}
        assert len(kept) == 2 and "third" in kept

        image = image_with_copies(api, tmp_path, "cheap", "third")
        assert api.run(delete_concurrently(image, "cheap", "third")) == [None, None]  # both relied on the same copy
        assert api.get(f"{image['self']}/file").body == b"the data"
        damaged.write_bytes(b"the data")
        assert api.run(differences(ctx, False)) == []
