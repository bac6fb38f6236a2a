"""Locations that do not name their store: found by URL while reading, recorded by command."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from uploads import ask, assert_consistent, copy, execute, file_of

from ferrotype.admin.attribution import attribute
from ferrotype.cli import main
from ferrotype.config.api import Api
from ferrotype.config.file_store import FileStore
from ferrotype.config.memory_store import MemoryStore
from ferrotype.config.stores import StoreConfig, Stores
from ferrotype.testing.client import OWNER, STRANGER, Client, client

SHOWN = Api(show_locations=True, show_direct_url=True)


@pytest.fixture
def api(tmp_path: Path, database_url: str) -> Iterator[Client]:
    folders = [
        StoreConfig(name, "file", weight=weight, options=FileStore(((tmp_path / name, 0),)))
        for name, weight in (("fast", 0), ("fast2", 10), ("cheap", 0))
    ]
    memory = StoreConfig("mem", "memory", options=MemoryStore())
    stores = Stores(True, "fast", (*folders, memory))
    with client(tmp_path, background=False, database_url=database_url, api=SHOWN, stores=stores) as api:
        yield api


def stored(api: Client, image: Any) -> Any:
    return msgspec.json.decode(ask(api, f"SELECT locations FROM images WHERE id = '{image['id']}'"))


def store_as(api: Client, image: Any, *locations: Any) -> Any:
    """Write locations as another service, or this one with another configuration, has written them."""
    text = msgspec.json.encode(locations).decode().replace(":", "\\:")
    execute(api, f"UPDATE images SET locations = '{text}' WHERE id = '{image['id']}'")
    return locations


def with_metadata(api: Client, image: Any, **metadata: Any) -> Any:
    return store_as(api, image, *({**each, "metadata": metadata} for each in stored(api, image)))


def run(api: Client, dry_run: bool = False, after: str = "") -> list[Any]:
    async def collect() -> list[Any]:
        return [each async for each in attribute(api.application.ctx, dry_run, after)]

    return api.run(collect())


# STOR-70, STOR-71, STOR-75, IMG-ENT-33, RUL-19
@pytest.mark.parametrize("metadata", [{}, {"store": "old-name"}, {"backend": "fast"}, {"store": ["x"]}, {"a": "b"}])
def test_reading_finds_the_store_and_writes_nothing(api: Client, metadata: dict[str, Any]) -> None:
    image = api.image(b"data", caller=OWNER, visibility="shared")
    api.patch(image["self"], [{"op": "replace", "path": "/visibility", "value": "public"}])
    before = (with_metadata(api, image, **metadata), api.get(image["self"]).json["updated_at"])
    for caller in (OWNER, STRANGER):  # One may change the image, the other may not: neither GET fails.
        shown = api.get(image["self"], caller=caller).json
        assert (shown["stores"], shown["locations"][0]["metadata"]) == ("fast", {**metadata, "store": "fast"})
        (listed,) = api.get("/v2/images?visibility=public", caller=caller).json["images"]
        assert listed == shown
        assert api.get(f"{image['self']}/file", caller=caller).body == b"data"
        assert api.get(f"{image['self']}/file?prefer=fast2,fast", caller=caller).body == b"data"
    assert api.get(f"{image['self']}/locations").json[0]["metadata"]["store"] == "fast"
    assert (tuple(stored(api, image)), api.get(image["self"]).json["updated_at"]) == before


# STOR-72, STOR-73
def test_whole_directories_are_compared_and_weights_apply(api: Client, tmp_path: Path) -> None:
    image = api.image(b"data", caller=OWNER)
    second = copy(api, image, "fast2")
    bare = [{"url": each["url"], "metadata": {}, "blob": each["blob"]} for each in stored(api, image)]
    store_as(api, image, *bare)
    shown = api.get(image["self"]).json
    assert shown["stores"] == "fast2,fast"
    assert [each["url"] for each in shown["locations"]] == [f"file://{second}", bare[0]["url"]]
    for url in (f"file://{tmp_path}/fast3/x", f"file://{tmp_path}/fast/a/x", f"file://{tmp_path}/x", "file:///%00"):
        store_as(api, image, {"url": url, "metadata": {}, "blob": None}, bare[0])
        assert api.get(image["self"]).json["stores"] == "fast"
    store_as(api, image, *({**each, "url": each["url"].replace("file:", "filesystem:")} for each in bare))
    assert api.get(image["self"]).json["stores"] == "fast2,fast"
    store_as(api, image, *bare)


def test_of_several_stores_with_the_url_the_one_that_old_metadata_name_is_taken(tmp_path: Path) -> None:
    same = FileStore(((tmp_path / "fast", 0),))
    stores = Stores(True, "fast", tuple(StoreConfig(name, "file", options=same) for name in ("fast", "twin")))
    with client(tmp_path, background=False, api=SHOWN, stores=stores) as api:
        image = api.image(b"data", caller=OWNER)
        for metadata, store in (({}, "fast"), ({"backend": "twin"}, "twin"), ({"backend": "other"}, "fast")):
            with_metadata(api, image, **metadata)
            assert api.get(image["self"]).json["stores"] == store  # STOR-70


# STOR-43
def test_a_location_of_an_unknown_store_stays_as_it_is(api: Client) -> None:
    image = api.image(b"data", caller=OWNER)
    (own,) = stored(api, image)
    store_as(api, image, {"url": "rbd://a/b/c/snap", "metadata": {"store": "ceph"}, "blob": None}, own)
    shown = api.get(image["self"]).json
    assert (shown["stores"], api.get(f"{image['self']}/file").body) == ("ceph,fast", b"data")
    (found,) = run(api)
    assert (found.store, found.url, found.changed) == (None, "rbd://a/b/c/snap", False)


def test_a_copy_of_a_renamed_store_can_be_deleted_and_patched(api: Client, tmp_path: Path) -> None:
    image = api.image(b"data", caller=OWNER)
    second = copy(api, image)
    with_metadata(api, image, store="old-name")
    assert api.delete(f"/v2/stores/old-name/{image['id']}").status == 409
    assert api.delete(f"/v2/stores/cheap/{image['id']}").status == 204
    assert not second.exists()
    assert stored(api, image)[0]["metadata"] == {"store": "fast"}
    with_metadata(api, image, store="old-name")
    value = [{**each, "metadata": {"a": "b"}} for each in api.get(image["self"]).json["locations"]]
    assert api.patch(image["self"], [{"op": "replace", "path": "/locations", "value": value}]).status == 200
    assert stored(api, image)[0]["metadata"] == {"a": "b", "store": "fast"}


# SEC-60, STOR-54
def test_credentials_in_old_urls_are_shown_nowhere(api: Client, caplog: pytest.LogCaptureFixture) -> None:
    image = api.image(b"data", caller=OWNER)
    old = "s3+https://key:sec/ret@host/bucket/id"
    store_as(api, image, {"url": old, "metadata": {}, "blob": None})
    shown = api.get(image["self"])
    assert shown.json["direct_url"] == "s3+https://host/bucket/id"
    replies = [shown, api.get("/v2/images"), api.get(f"{image['self']}/locations"), api.get(f"{image['self']}/file")]
    value = [{"url": "s3+https://host/bucket/id", "metadata": {"a": "b"}}]
    replies.append(api.patch(image["self"], [{"op": "replace", "path": "/locations", "value": value}]))
    assert [each.status for each in replies] == [200, 200, 200, 503, 200]
    assert not any("sec/ret" in each.text for each in replies)
    assert "sec/ret" not in caplog.text
    assert stored(api, image)[0]["url"] == old


# STOR-75
def test_the_command_records_the_store_once(api: Client, tmp_path: Path) -> None:
    images = [api.image(b"data", caller=OWNER) for _ in range(3)]
    deleted = api.image(b"data", caller=OWNER)
    for image in (*images[:2], deleted):
        with_metadata(api, image, store="old-name", a="b")
    times = [api.get(image["self"]).json["updated_at"] for image in images]
    execute(api, "UPDATE images SET updated_at = updated_at - 5000000")
    dry = run(api, dry_run=True)
    assert stored(api, images[0])[0]["metadata"] == {"store": "old-name", "a": "b"}
    found = run(api)
    assert found == dry
    assert sorted(each.image for each in found) == sorted(each["id"] for each in (*images[:2], deleted))
    assert {(each.store, each.changed, each.rewritten) for each in found} == {("fast", True, False)}
    assert stored(api, images[0])[0]["metadata"] == {"store": "fast", "a": "b"}
    assert [api.get(image["self"]).json["updated_at"] for image in images] != times  # as set above: not touched
    assert run(api) == []
    assert_consistent(api, tmp_path)


def test_an_interrupted_run_continues_after_an_image(api: Client) -> None:
    images = sorted((api.image(b"data", caller=OWNER) for _ in range(3)), key=lambda image: image["id"])
    for image in images:
        with_metadata(api, image)
    assert [each.image for each in run(api, after=images[0]["id"])] == [each["id"] for each in images[1:]]
    assert [each.image for each in run(api)] == [images[0]["id"]]


def test_an_image_that_changes_meanwhile_keeps_its_change(api: Client) -> None:
    image = api.image(b"data", caller=OWNER)
    with_metadata(api, image)
    ctx = api.application.ctx

    async def race() -> Any:
        steps = attribute(ctx, True, "")
        await anext(steps)
        from ferrotype.db import locations

        ((image_id, text, before),) = await locations.page(ctx.db, "")
        async with ctx.db.begin() as tx:
            assert await locations.replace(tx, image_id, text, before[:1])
            assert not await locations.replace(tx, image_id, f"{text} ", before)

    api.run(race())
    assert len(run(api)) == 1


def command(tmp_path: Path, *words: str, stores: str = "fast:file") -> Result:
    config = tmp_path / "api.conf"
    config.write_text(
        (f"[DEFAULT]\nenabled_backends = {stores}\n[glance_store]\ndefault_backend = fast\n" if stores else "")
        + f"[{'fast' if stores else 'glance_store'}]\nfilesystem_store_datadir = {tmp_path}/fast\n"
        + f"[database]\nconnection = sqlite:///{tmp_path}/ferrotype.sqlite\n"
    )
    return CliRunner().invoke(main, ["store", "attribute", "--config-file", str(config), *words])


def test_the_command_line(tmp_path: Path) -> None:
    with client(tmp_path, background=False, api=SHOWN) as api:
        image = api.image(b"data", caller=OWNER)
        url = f"file://{file_of(image)}"
        with_metadata(api, image)
        dry = command(tmp_path, "--dry-run")
        assert (dry.exit_code, dry.output) == (
            0,
            f"{image['id']}  fast  {url}\n1 locations would be changed, 0 in stores that are not configured\n",
        )
        done = command(tmp_path, "--json")
        line = {"image": image["id"], "store": "fast", "url": url, "rewritten": False, "changed": True}
        assert (done.exit_code, json.loads(done.output)) == (0, line)
        assert stored(api, image)[0]["metadata"] == {"store": "fast"}
        store_as(api, image, {"url": "rbd://u:p@a/b/c/snap", "metadata": {}, "blob": None})
        lost = command(tmp_path)
        assert (lost.exit_code, lost.output.splitlines()[0]) == (1, f"{image['id']}  ?  rbd://a/b/c/snap")
        single = command(tmp_path, stores="")
        assert (single.exit_code, "enabled_backends" in single.output) == (1, True)
