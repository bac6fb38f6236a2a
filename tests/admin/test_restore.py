"""``ferrotype image restore``: a delayed delete is undone, with all that the image had."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from gates import Before
from sqlalchemy import text
from uploads import ask, assert_consistent, copy, execute, file_of, run_cleanup

from ferrotype.admin.consistency import differences
from ferrotype.admin.restore import restore
from ferrotype.background.scrub import scrub_deleted
from ferrotype.cli import main
from ferrotype.config.api import Api
from ferrotype.config.limits import Limits
from ferrotype.db import scrub
from ferrotype.db.engine import Statement
from ferrotype.model.errors import Conflict, NotFound, OverLimit, StoreError
from ferrotype.testing.client import ADMIN, MEMBER, OWNER, Client, client

DATA = b"the data" * 100


@pytest.fixture
def api(tmp_path: Path, database_url: str) -> Iterator[Client]:
    kept = Api(delayed_delete=True, scrub_time=3600, show_locations=True)
    limits = Limits(user_storage_quota=1000, image_count_quota=20)
    with client(tmp_path, background=False, database_url=database_url, api=kept, limits=limits) as api:
        yield api


def restored(api: Client, image: Any) -> Any:
    return api.run(restore(api.application.ctx, image["id"]))


def delete(api: Client, image: Any, age: int = 0) -> None:
    assert api.delete(image["self"], caller=OWNER).status == 204
    execute(api, f"UPDATE images SET deleted_at = deleted_at - {age * 1_000_000} WHERE id = '{image['id']}'")


def stored(api: Client) -> int:
    return int(ask(api, "SELECT stored FROM usage WHERE project = 'p1'"))


# RUL-92, SCRUB-06, SCRUB-07, SEC-141
def test_an_image_comes_back_with_everything_it_had(api: Client, tmp_path: Path) -> None:
    data = DATA[:400]
    image = api.image(data, caller=OWNER, name="precious", tags=["t1", "t2"], os_distro="debian")
    api.post(f"{image['self']}/members", json={"member": MEMBER.project}, caller=OWNER)
    api.put(f"{image['self']}/members/{MEMBER.project}", json={"status": "accepted"}, caller=MEMBER)
    second = copy(api, image)
    execute(api, "UPDATE blobs SET project = 'p1', charged = 400 WHERE id LIKE 'copy%'")
    execute(api, "UPDATE usage SET stored = 800 WHERE project = 'p1'")
    before = api.get(image["self"]).json
    delete(api, image)
    assert (api.get(image["self"]).status, stored(api)) == (404, 0)
    assert restored(api, image).unreadable == ()
    now = api.get(image["self"], caller=OWNER).json
    assert now | {"updated_at": ""} == before | {"updated_at": ""}
    assert now["updated_at"] >= before["updated_at"]
    assert stored(api) == 800  # each copy counts
    assert api.get(f"{image['self']}/file", caller=OWNER).body == data
    for query in ("tag=t1", "os_distro=debian", "name=precious"):
        assert [each["id"] for each in api.get(f"/v2/images?{query}", caller=OWNER).json["images"]] == [image["id"]]
    assert [each["id"] for each in api.get("/v2/images", caller=MEMBER).json["images"]] == [image["id"]]
    run_cleanup(api)
    assert second.exists()
    assert_consistent(api, tmp_path)
    delete(api, image, 3601)
    run_cleanup(api)
    run_cleanup(api)
    assert (second.exists(), file_of(image).exists()) == (False, False)
    assert_consistent(api, tmp_path)


def test_only_a_deleted_image_whose_data_is_kept_can_be_restored(api: Client) -> None:
    image, empty = api.image(DATA, caller=OWNER), api.image(caller=OWNER)
    delete(api, empty)
    for each in (image, empty, {"id": "00000000-0000-4000-8000-000000000000"}, {"id": "no-uuid"}):
        with pytest.raises(NotFound):
            restored(api, each)
    delete(api, image, 3601)
    run_cleanup(api)
    with pytest.raises(NotFound):
        restored(api, image)


# RUL-92
def test_the_owners_quota_is_charged_again(api: Client, tmp_path: Path) -> None:
    image = api.image(DATA, caller=OWNER)
    delete(api, image)
    other = api.image(bytes(201), caller=OWNER)
    with pytest.raises(OverLimit):
        restored(api, image)
    assert (api.get(image["self"]).status, stored(api)) == (404, 201)
    assert ask(api, f"SELECT status FROM images WHERE id = '{image['id']}'") == "pending_delete"
    api.delete(other["self"])
    restored(api, image)
    assert stored(api) == len(DATA)
    assert api.run(differences(api.application.ctx, False)) == []


def test_the_number_of_images_counts_too(api: Client) -> None:
    image = api.image(DATA, caller=OWNER)
    delete(api, image)
    running = api.application.ctx.config
    api.application.reload(replace(running, limits=replace(running.limits, image_count_quota=1)))
    api.image(caller=OWNER)
    with pytest.raises(OverLimit):
        restored(api, image)


class Keystone:
    """Limits of every project, as Keystone would have them."""

    def __init__(self, **limits: int):
        self._limits = {"image_size_total": -1, "image_count_total": -1, "image_count_uploading": -1} | limits

    async def of(self, project: str | None) -> dict[str, int]:
        return self._limits


def test_limits_of_keystone_hold_too(api: Client) -> None:
    image = api.image(DATA, caller=OWNER)
    delete(api, image)
    api.image(caller=OWNER)
    ctx = api.application.ctx
    for limits in ({"image_size_total": 0}, {"image_count_total": 1}):
        with pytest.raises(OverLimit):
            api.run(restore(replace(ctx, unified_limits=Keystone(**limits)), image["id"]))
        assert (api.get(image["self"]).status, stored(api)) == (404, 0)
    limits = {"image_size_total": 1, "image_count_total": 2}
    assert api.run(restore(replace(ctx, unified_limits=Keystone(**limits)), image["id"])).image.status == "active"


def test_copies_that_changed_while_the_data_was_read_are_not_taken_for_verified(api: Client) -> None:
    image = api.image(DATA, caller=OWNER)
    copy(api, image)
    delete(api, image)
    ctx = api.application.ctx

    async def another_removes_a_copy() -> None:
        async with ctx.db.begin() as tx:
            await tx.run(Statement(text("UPDATE images SET locations = '[]'")))

    with pytest.raises(Conflict):
        api.run(restore(replace(ctx, db=Before(ctx.db, another_removes_a_copy)), image["id"]))
    assert api.get(image["self"]).status == 404


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing"])
def test_data_that_is_not_what_was_stored_is_not_restored(api: Client, damage: str) -> None:
    image = api.image(DATA, caller=OWNER)
    file = file_of(image)
    delete(api, image)
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(DATA[:-1] + (b"!" if damage == "flipped" else b""))
    with pytest.raises(StoreError, match=image["id"]):
        restored(api, image)
    assert (api.get(image["self"]).status, stored(api)) == (404, 0)
    file.write_bytes(DATA)
    restored(api, image)
    assert api.get(f"{image['self']}/file").body == DATA


def test_one_good_copy_is_enough_and_the_other_is_marked(api: Client) -> None:
    image = api.image(DATA, caller=OWNER)
    second = copy(api, image)
    delete(api, image)
    second.write_bytes(DATA[:-1] + b"!")
    (sentence,) = restored(api, image).unreadable
    assert "sha512" in sentence
    assert ask(api, "SELECT damaged_at FROM blobs WHERE id LIKE 'copy%'") is not None
    assert ask(api, "SELECT count(*) FROM blobs WHERE damaged_at IS NULL") == 1
    assert api.get(f"{image['self']}/file").body == DATA


def test_restoring_and_scrubbing_at_once_do_one_of_both(api: Client, tmp_path: Path) -> None:
    outcomes = set()
    for number in range(12):
        image = api.image(DATA, caller=OWNER)
        delete(api, image, 3601)

        async def both(image: Any = image, late: float = number / 4000) -> Any:
            async def scrub() -> None:
                await asyncio.sleep(late)
                await scrub_deleted(api.application.ctx)

            found, _ = await asyncio.gather(
                restore(api.application.ctx, image["id"]), scrub(), return_exceptions=True
            )
            return found

        found = api.run(both())
        reply = api.get(f"{image['self']}/file", caller=OWNER)
        if isinstance(found, Exception):
            assert isinstance(found, Conflict | NotFound), found
            assert reply.status == 404
        else:
            assert reply.body == DATA
            api.delete(image["self"], caller=OWNER)
            execute(api, "UPDATE images SET deleted_at = 1 WHERE status = 'pending_delete'")
            api.run(scrub_deleted(api.application.ctx))
        outcomes.add(type(found).__name__)
        run_cleanup(api)
        assert_consistent(api, tmp_path)
        assert stored(api) == 0
    assert "Restored" in outcomes


def test_a_stale_scrubber_spares_an_image_that_was_restored_and_deleted_again(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = api.image(DATA, caller=OWNER)
    delete(api, image, 3601)
    listed = api.run(scrub.pending(api.application.ctx.db, 3600 * 1_000_000))
    restored(api, image)
    delete(api, image)

    async def stale(*_: Any) -> Any:
        return listed

    monkeypatch.setattr(scrub, "pending", stale)
    api.run(scrub_deleted(api.application.ctx))
    assert ask(api, f"SELECT status FROM images WHERE id = '{image['id']}'") == "pending_delete"
    monkeypatch.undo()
    restored(api, image)


def test_two_restores_charge_once(api: Client) -> None:
    image = api.image(DATA, caller=OWNER)
    delete(api, image)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: _outcome(api, image), range(3)))
    assert sorted(found) == ["Restored", "refused", "refused"]
    assert stored(api) == len(DATA)


def _outcome(api: Client, image: Any) -> str:
    try:
        return type(restored(api, image)).__name__
    except (Conflict, NotFound):
        return "refused"


def test_the_command_restores_beside_the_service(tmp_path: Path) -> None:
    config = tmp_path / "api.conf"
    config.write_text(
        f"[DEFAULT]\nenabled_backends = fast:file\ndelayed_delete = true\nscrub_time = 3600\n"
        f"[glance_store]\ndefault_backend = fast\n[fast]\nfilesystem_store_datadir = {tmp_path}/fast\n"
        f"[database]\nconnection = sqlite:///{tmp_path}/ferrotype.sqlite\n"
    )
    kept = Api(delayed_delete=True, scrub_time=3600)
    with client(tmp_path, background=False, api=kept) as api:
        image = api.image(DATA, caller=OWNER)
        delete(api, image)
        words = ["image", "restore", "--config-file", str(config), image["id"]]
        done = CliRunner().invoke(main, words)
        assert (done.exit_code, done.output) == (0, f"image {image['id']} is active again: 800 bytes\n")
        assert api.get(f"{image['self']}/file", caller=ADMIN).body == DATA
        again = CliRunner().invoke(main, words)
        assert (again.exit_code, "whose data is kept" in again.output) == (1, True)
