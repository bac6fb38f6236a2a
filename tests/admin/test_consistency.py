"""``ferrotype check``: every kind of difference is found, and repaired where that is safe."""

import asyncio
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from uploads import (
    PausedBody,
    ask,
    assert_consistent,
    blob_of,
    execute,
    file_of,
    ledger,
    run_cleanup,
    upload,
    uploading,
)

from ferrotype.admin.consistency import differences
from ferrotype.testing.client import OWNER, Client

OBJECT = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff-0123abcd"


def found(api: Client, repair: bool = False, remove_unknown: bool = False) -> list[tuple[str, str, bool]]:
    reported = api.run(differences(api.application.ctx, repair, remove_unknown))
    return [(each.kind, each.subject, each.repaired) for each in reported]


def test_consistent_deployment_has_no_differences(api: Client, tmp_path: Path) -> None:
    api.image(b"data", caller=OWNER)
    api.image(b"")
    with uploading(api, api.image(caller=OWNER), PausedBody(b"one", b" two")):
        assert found(api) == []  # what is being written is no difference
    assert found(api, repair=True) == []
    assert_consistent(api, tmp_path)


def test_unknown_objects_are_removed_only_with_names_of_ours(api: Client, tmp_path: Path) -> None:
    keep, gone = api.image(b"data"), api.image(b"data")
    assert api.delete(gone["self"]).status == 204
    run_cleanup(api)
    late, lost = f"{keep['id']}-0123abcd", f"{gone['id']}-0123abcd"
    strangers = ("lost+found", "README", "6f9619ff-8b86-4d01-b42d-00cf4fc964ff", "notes.part")
    for name in strangers:
        (tmp_path / "fast" / name).write_bytes(b"precious")
    for name in (late, lost):
        (tmp_path / "fast" / name).write_bytes(b"left over")
    (tmp_path / "cheap" / f".{late}.part").write_bytes(b"left over")
    subjects = sorted(strangers)
    expected = {("unknown-object", name, False) for name in (*subjects, late, lost)}
    assert set(found(api)) == expected
    assert len(found(api)) == 7
    assert (tmp_path / "fast" / late).exists()
    repaired = found(api, repair=True)
    assert {name for _, name, done in repaired if done} == {late, lost}
    assert {name for _, name, _ in found(api, repair=True, remove_unknown=True)} == set(subjects)
    assert all((tmp_path / "fast" / name).exists() for name in strangers)
    assert api.get(f"{keep['self']}/file").body == b"data"


def test_objects_of_another_database_are_removed_only_on_request(api: Client, tmp_path: Path) -> None:
    images = [api.image(b"data") for _ in range(3)]
    later = file_of(api.image(b"uploaded since the backup"))
    objects = sorted(file_of(image).name for image in images)
    for table in ("image_tags", "image_properties", "image_members", "blobs", "images", "usage"):
        execute(api, f"DELETE FROM {table}")
    few = api.image(b"all that the other database knows")
    reported = api.run(differences(api.application.ctx, True))
    assert {each.subject for each in reported if each.kind == "unknown-object"} == {*objects, later.name}
    assert all("; kept," in each.sentence() and "--remove-unknown" in each.sentence() for each in reported)
    assert all((tmp_path / "fast" / name).exists() for name in objects)
    done = found(api, repair=True, remove_unknown=True)
    assert sorted(done) == [("unknown-object", name, True) for name in sorted([*objects, later.name])]
    assert found(api) == []
    assert api.get(f"{few['self']}/file").body == b"all that the other database knows"


@pytest.mark.parametrize("loss", ["queued since", "file away", "file cut", "kept deleted"])
def test_possible_only_copy_of_a_known_image_is_never_removed(api: Client, tmp_path: Path, loss: str) -> None:
    image = api.image() if loss == "queued since" else api.image(b"data")
    if loss == "file away":
        file_of(image).unlink()
    elif loss == "file cut":
        file_of(image).write_bytes(b"dat")
    elif loss == "kept deleted":  # and restored with a later backup
        file_of(image).unlink()
        execute(api, f"UPDATE images SET deleted_at = 1, status = 'pending_delete' WHERE id = '{image['id']}'")
    only = tmp_path / "cheap" / f"{image['id']}-0123abcd"
    only.write_bytes(b"data")
    assert ("unknown-object", only.name, False) in found(api, repair=True)
    assert only.exists()
    assert ("unknown-object", only.name, True) in found(api, repair=True, remove_unknown=True)
    assert not only.exists()


def test_unknown_object_that_cannot_be_removed_is_reported(api: Client, tmp_path: Path) -> None:
    (tmp_path / "fast" / OBJECT).mkdir()
    (difference,) = api.run(differences(api.application.ctx, True, True))
    assert not difference.repaired
    assert "removing it failed" in difference.sentence()
    assert difference.to_dict()["kind"] == "unknown-object"


def test_missing_and_damaged_objects_are_reported_and_left(api: Client) -> None:
    missing, short, good = api.image(b"one"), api.image(b"two"), api.image(b"three")
    file_of(missing).unlink()
    file_of(short).write_bytes(b"t")
    expected = {("missing-object", file_of(missing).name, False), ("damaged-object", file_of(short).name, False)}
    for repair in (False, True):
        assert set(found(api, repair)) == expected
    assert {row.state for row in ledger(api)} == {"live"}
    assert api.get(f"{good['self']}/file").body == b"three"


def test_damage_flag_is_cleared_when_the_object_is_intact_again(api: Client) -> None:
    image = api.image(b"one")
    execute(api, f"UPDATE blobs SET damaged_at = 1 WHERE id = '{blob_of(api, image)}'")
    assert found(api) == [("marked-damaged", file_of(image).name, False)]
    assert found(api, repair=True) == [("marked-damaged", file_of(image).name, True)]
    assert found(api) == []


def test_object_without_an_image_is_marked_for_deletion(api: Client, tmp_path: Path) -> None:
    image = api.image(b"data", caller=OWNER)
    execute(api, f"UPDATE images SET locations = '[]' WHERE id = '{image['id']}'")
    name = file_of(image).name
    assert found(api) == [("unused-object", name, False)]
    assert found(api, repair=True) == [("unused-object", name, True)]
    run_cleanup(api)
    assert_consistent(api, tmp_path)
    assert int(ask(api, "SELECT stored FROM usage WHERE project = 'p1'")) == 0


def test_objects_in_an_unknown_store_are_reported(api: Client) -> None:
    image = api.image(b"data")
    execute(api, "UPDATE blobs SET store = 'far'")
    execute(api, f"UPDATE blobs SET name = 'other' WHERE image_id = '{image['id']}'")
    kinds = {kind for kind, _, _ in found(api)}
    assert kinds == {"no-such-store", "unknown-object"}


def test_wrong_usage_counter_is_corrected(api: Client) -> None:
    api.image(b"data", caller=OWNER)
    execute(api, "UPDATE usage SET stored = 99 WHERE project = 'p1'")
    execute(api, "INSERT INTO usage (project, stored) VALUES ('nobody', 7)")
    both = {"project p1", "project nobody"}
    assert {(kind, subject) for kind, subject, _ in found(api)} == {("wrong-count", each) for each in both}
    assert all(done for _, _, done in found(api, repair=True))
    assert found(api) == []
    assert int(ask(api, "SELECT stored FROM usage WHERE project = 'p1'")) == 4


@pytest.mark.parametrize("instead", ["nothing", "an empty one", "another's"])
def test_offline_directory_is_reported_once_without_missing_objects(
    api: Client, tmp_path: Path, instead: str
) -> None:
    images = [api.image(b"data") for _ in range(3)]
    (tmp_path / "fast").rename(tmp_path / "away")
    if instead != "nothing":
        (tmp_path / "fast").mkdir()
    if instead == "another's":
        (tmp_path / "fast" / ".ferrotype").write_text("5e35d5b1c0a84bb5a35a3d5b2a0f7f00")
        (tmp_path / "fast" / f"{images[0]['id']}-0123abcd").write_bytes(b"theirs")
    for repair in (False, True):
        (only,) = api.run(differences(api.application.ctx, repair, remove_unknown=repair))
        assert (only.kind, only.subject, only.repaired) == ("unreadable-store", "fast", False)
        assert "it is offline" in only.detail and "is its file system mounted" in only.detail
    if instead != "nothing":
        shutil.rmtree(tmp_path / "fast")
    (tmp_path / "away").rename(tmp_path / "fast")
    assert found(api) == []
    assert api.get(f"{images[0]['self']}/file").body == b"data"


def test_unreadable_store_is_reported(api: Client, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "cheap")
    (tmp_path / "cheap").write_bytes(b"")
    assert found(api) == [("unreadable-store", "cheap", False)]


@pytest.mark.slow
def test_service_under_load_has_no_differences(api: Client, tmp_path: Path) -> None:
    async def body(number: int) -> Any:
        for _ in range(3):
            yield bytes(100 * number)
            await asyncio.sleep(0.001)

    def one(number: int) -> None:
        image = api.image(caller=OWNER)
        assert upload(api, image, body(number), caller=OWNER).status == 204
        if number % 2:
            assert api.delete(image["self"], caller=OWNER).status == 204

    seen = []
    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(one, number) for number in range(40)]
        while not all(each.done() for each in work):
            seen += found(api, repair=True)
        for each in work:
            each.result()
    assert seen == []
    assert_consistent(api, tmp_path)
    assert len(ledger(api)) == 20
