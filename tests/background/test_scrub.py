"""Delayed delete: data of deleted images are kept for ``scrub_time`` and then deleted."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from uploads import ask, assert_consistent, copy, execute, file_of, run_cleanup

from ferrotype.admin.consistency import differences
from ferrotype.background.scrub import scrub_deleted
from ferrotype.config.api import Api
from ferrotype.config.limits import Limits
from ferrotype.db import scrub
from ferrotype.testing.client import OWNER, Client, client

HOUR = 3600


@pytest.fixture
def api(tmp_path: Path, database_url: str) -> Iterator[Client]:
    kept = Api(delayed_delete=True, scrub_time=HOUR, show_locations=True)
    limits = Limits(user_storage_quota=1000)
    with client(tmp_path, background=False, database_url=database_url, api=kept, limits=limits) as api:
        yield api


def deleted(api: Client, seconds_ago: int = 0) -> Any:
    """Return an image as it was before it was deleted ``seconds_ago``."""
    image = api.image(bytes(900), caller=OWNER, tags=["t"], a="x")
    assert api.delete(image["self"], caller=OWNER).status == 204
    execute(api, f"UPDATE images SET deleted_at = deleted_at - {seconds_ago * 1_000_000} WHERE id = '{image['id']}'")
    return image


def status(api: Client, image: Any) -> Any:
    return ask(api, f"SELECT status FROM images WHERE id = '{image['id']}'")


def sweep(api: Client) -> None:
    """Sweep, and remove the bytes that are due."""
    api.run(scrub_deleted(api.application.ctx))
    run_cleanup(api)


def test_scrub_deletes_data_after_scrub_time(api: Client, tmp_path: Path) -> None:
    old, young = deleted(api, HOUR), deleted(api, HOUR - 600)
    sweep(api)
    # IMG-DEL-06, IMG-STM-13, SCRUB-04, SCRUB-05, CFG-22, CFG-23
    assert [status(api, each) for each in (old, young)] == ["deleted", "pending_delete"]
    assert [file_of(each).exists() for each in (old, young)] == [False, True]
    for table in ("image_tags", "image_properties"):
        assert ask(api, f"SELECT count(*) FROM {table} WHERE image_id = '{old['id']}'") == 0
    assert ask(api, f"SELECT locations FROM images WHERE id = '{old['id']}'") == "[]"
    assert api.post("/v2/images", json={"id": old["id"]}).status == 409
    assert api.get(f"/v2/images?marker={old['id']}", caller=OWNER).status == 200
    assert_consistent(api, tmp_path)


def test_scrub_of_many_images_leaves_no_objects_and_no_usage(api: Client, tmp_path: Path) -> None:
    for _ in range(5):
        deleted(api, HOUR)
    assert int(ask(api, "SELECT stored FROM usage WHERE project = 'p1'")) == 0  # SCRUB-12
    sweep(api)
    assert int(ask(api, "SELECT stored FROM usage WHERE project = 'p1'")) == 0
    assert_consistent(api, tmp_path)


def test_several_nodes_at_once_do_it_once(api: Client, tmp_path: Path) -> None:
    images = [deleted(api, HOUR) for _ in range(5)]

    async def together() -> None:
        await asyncio.gather(*(scrub_deleted(api.application.ctx) for _ in range(6)))

    api.run(together())
    assert {status(api, each) for each in images} == {"deleted"}
    run_cleanup(api)
    assert_consistent(api, tmp_path)


def test_scrub_deletes_every_copy(api: Client, tmp_path: Path) -> None:
    image = api.image(b"data", caller=OWNER)
    copies = [file_of(image), copy(api, image)]
    assert api.delete(image["self"], caller=OWNER).status == 204
    execute(api, "UPDATE images SET deleted_at = 0")
    sweep(api)
    assert [each.exists() for each in copies] == [False, False]
    assert_consistent(api, tmp_path)


def test_shorter_scrub_time_applies_to_images_already_pending_delete(api: Client, tmp_path: Path) -> None:
    image = deleted(api)
    sweep(api)
    assert status(api, image) == "pending_delete"
    running = api.application.ctx.config
    api.application.reload(replace(running, api=replace(running.api, scrub_time=0, delayed_delete=False)))
    sweep(api)
    assert status(api, image) == "deleted"
    assert_consistent(api, tmp_path)


def test_scrub_finds_the_oldest_images_first_in_pages(api: Client) -> None:
    images = [deleted(api, age) for age in (10, 30, 20)]
    db = api.application.ctx.db
    found = api.run(scrub.pending(db, 5_000_000, 2))
    assert [each.id for each in found] == [images[1]["id"], images[2]["id"]]
    assert api.run(scrub.pending(db, HOUR * 1_000_000)) == []


# STOR-90, SCRUB-08
def test_a_copy_that_was_removed_is_kept_as_long_as_a_deleted_image(api: Client, tmp_path: Path) -> None:
    image = api.image(b"data", caller=OWNER)
    second = copy(api, image)
    assert api.delete(f"/v2/stores/cheap/{image['id']}").status == 204
    now = api.get(image["self"]).json
    assert (now["stores"], len(now["locations"])) == ("fast", 1)
    sweep(api)
    assert second.exists()
    assert api.run(differences(api.application.ctx, False)) == []
    execute(api, f"UPDATE blobs SET remove_at = remove_at - {(HOUR - 60) * 1_000_000} WHERE state = 'deleting'")
    sweep(api)
    assert second.exists()
    execute(api, "UPDATE blobs SET remove_at = remove_at - 60000000 WHERE state = 'deleting'")
    sweep(api)
    assert (second.exists(), file_of(image).exists()) == (False, True)
    assert_consistent(api, tmp_path)


def test_without_delayed_delete_a_copy_is_removed_at_once(tmp_path: Path) -> None:
    with client(tmp_path, background=False, api=Api(scrub_time=HOUR, show_locations=True)) as api:
        image = api.image(b"data", caller=OWNER)
        second = copy(api, image)
        assert api.delete(f"/v2/stores/cheap/{image['id']}").status == 204
        assert not second.exists()


def test_an_image_is_deleted_with_its_copies_that_are_still_kept(api: Client, tmp_path: Path) -> None:
    image = api.image(b"data", caller=OWNER)
    copy(api, image)
    assert api.delete(f"/v2/stores/cheap/{image['id']}").status == 204
    assert api.delete(image["self"], caller=OWNER).status == 204
    execute(api, "UPDATE images SET deleted_at = 0")
    execute(api, "UPDATE blobs SET remove_at = 0 WHERE state = 'deleting'")
    sweep(api)
    assert_consistent(api, tmp_path)


def test_an_image_without_data_is_deleted_at_once(api: Client) -> None:
    image = api.image(caller=OWNER)
    assert api.delete(image["self"], caller=OWNER).status == 204
    assert status(api, image) == "deleted"  # SCRUB-03
