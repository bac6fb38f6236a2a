"""GET /v2/images/{id}/file: who gets the data, from which copy, and what happens when copies are lost or altered."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from uploads import PausedBody, ask, assert_consistent, blob_of, copy, execute, file_of, uploading

from ferrotype.admin.consistency import differences
from ferrotype.config.api import Api
from ferrotype.testing.client import ADMIN, MEMBER, OWNER, READER, STRANGER, Client, client

NOBODY = "/v2/images/00000000-0000-4000-8000-000000000000/file"


@pytest.fixture(scope="module")
def api(directory: Path) -> Iterator[Client]:
    with client(directory, background=False, api=Api(show_locations=True)) as api:
        yield api


@pytest.fixture(autouse=True)
def no_store_is_avoided(api: Client) -> None:
    """What one test has done to a store must not change the order of reading in the next one."""
    for store in api.application.ctx.stores:
        store.avoided_until = 0.0


def marked(api: Client, blob: str) -> bool:
    return bool(ask(api, f"SELECT count(*) FROM blobs WHERE id = '{blob}' AND damaged_at IS NOT NULL"))


def get(api: Client, image: Any, query: str = "", **options: Any) -> Any:
    return api.get(f"{image['self']}/file{query}", **options)


def test_the_data_have_their_headers(api: Client) -> None:
    image = api.image(b"the data")
    for query, headers in (("", {}), ("?limit=3&x=y", {"accept": "text/html"})):
        reply = get(api, image, query, headers=headers)
        # IMG-DL-01, HDR-08
        assert (reply.status, reply.body) == (200, b"the data")
        assert reply.headers["content-type"] == "application/octet-stream"
        assert reply.headers["content-md5"] == image["checksum"]
        assert reply.headers["content-length"] == "8"
        assert reply.headers["x-content-type-options"] == "nosniff"
    assert get(api, image, body=b"x").status == 400  # IMG-DL-01
    head = api.request("HEAD", f"{image['self']}/file")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "8")


def test_an_image_without_data_has_no_content(api: Client) -> None:
    queued, saving, staged = api.image(), api.image(), api.image()
    execute(api, f"UPDATE images SET status = 'uploading' WHERE id = '{staged['id']}'")
    with uploading(api, saving, PausedBody(b"some", b"thing")):
        for image in (queued, saving, staged):
            for headers in ({}, {"range": "bytes=0-1"}):
                reply = get(api, image, headers=headers)
                assert (reply.status, reply.body) == (204, b"")  # IMG-DL-02, IMG-DL-14
    execute(api, f"UPDATE images SET status = 'queued' WHERE id = '{staged['id']}'")


def test_who_may_download(api: Client) -> None:
    private, shared, public = (
        api.image(b"x", caller=OWNER, visibility=each) for each in ("private", "shared", "community")
    )
    api.post(f"{shared['self']}/members", json={"member": "p9"}, caller=OWNER)
    # IMG-DL-05
    expected = {
        (private["id"], OWNER): 200, (private["id"], ADMIN): 200, (private["id"], READER): 403,
        (private["id"], STRANGER): 404, (private["id"], MEMBER): 404,
        (shared["id"], MEMBER): 200, (shared["id"], STRANGER): 404,
        (public["id"], STRANGER): 200, (public["id"], READER): 403,
    }  # fmt: skip
    found = {key: api.get(f"/v2/images/{key[0]}/file", caller=key[1]).status for key in expected}
    assert found == expected
    assert api.get(NOBODY).status == 404


def test_only_administrators_download_deactivated_images(api: Client) -> None:
    image = api.image(b"x", caller=OWNER)
    api.post(f"{image['self']}/actions/deactivate")
    # IMG-DL-04
    assert [get(api, image, caller=who).status for who in (OWNER, ADMIN, STRANGER)] == [403, 200, 404]


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link(path: Path) -> None:
    moved = path.with_name(f"{path.name}-elsewhere")
    path.rename(moved)
    path.symlink_to(moved)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"!")


DAMAGES = {
    "removed": (Path.unlink, "does not exist"),
    "truncated": (lambda path: os.truncate(path, 3), "has 3 bytes, but 8 were stored"),
    "emptied": (lambda path: os.truncate(path, 0), "has 0 bytes, but 8 were stored"),
    "longer": (longer, "has 9 bytes, but 8 were stored"),
    "a link": (link, "Too many levels of symbolic links"),
    "a pipe": (fifo, "is not a regular file"),
    "a directory": (folder, "is not a regular file"),
}


# IMG-DL-03, IMG-WART-16, STOR-42, SEC-56, SEC-62
@pytest.mark.parametrize("damage", DAMAGES)
def test_missing_data_are_logged_and_marked_damaged(
    api: Client, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    image = api.image(b"the data")
    harm, reason = DAMAGES[damage]
    path = file_of(image)
    content = path.read_bytes()
    harm(path)
    for headers in ({}, {"range": "bytes=0-1"}):
        reply = get(api, image, headers=headers)
        assert (reply.status, "cannot be" in reply.text, str(path) in reply.text) == (503, True, False)
        assert "retry-after" in reply.headers
    assert reason in caplog.text
    assert "Restore the object from a backup" in caplog.text
    assert marked(api, blob_of(api, image))
    assert api.get(image["self"]).json["status"] == "active"
    kinds = {each.kind for each in api.run(differences(api.application.ctx, False)) if each.subject == path.name}
    assert kinds == {"missing-object" if damage == "removed" else "damaged-object"}
    # Once repaired it is served again, and the mark can be removed.
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.with_name(f"{path.name}-elsewhere").unlink(missing_ok=True)
    path.write_bytes(content)
    assert get(api, image).body == b"the data"
    mended = api.run(differences(api.application.ctx, True))
    assert [each.kind for each in mended if each.subject == path.name] == ["marked-damaged"]
    assert not marked(api, blob_of(api, image))
    assert api.delete(image["self"]).status == 204


def test_an_offline_store_marks_nothing_damaged(
    api: Client, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = api.image(b"the data")
    (directory / "fast").rename(directory / "unmounted")
    assert get(api, image).status == 503  # IMG-DL-06
    assert "No such file or directory" in caplog.text
    (directory / "unmounted").rename(directory / "fast")
    assert not marked(api, blob_of(api, image))
    assert get(api, image).body == b"the data"


@pytest.mark.parametrize("damage", DAMAGES)
def test_another_copy_is_served_instead(api: Client, damage: str) -> None:
    image = api.image(b"the data")
    first, second = file_of(image), copy(api, image)
    assert (first.parent.name, second.parent.name) == ("fast", "cheap")
    DAMAGES[damage][0](first)
    # IMG-DL-06, STOR-42, SEC-62
    reply = get(api, image, headers={"range": "bytes=4-"})
    assert (reply.status, reply.body) == (206, b"data")
    assert marked(api, blob_of(api, image))
    assert not marked(api, f"copy-{image['id'][:8]}")
    second.unlink()
    assert get(api, image).status == 503


def test_copies_are_tried_by_weight_and_by_preference(api: Client) -> None:
    image = api.image(b"the data")
    fast, cheap = file_of(image), copy(api, image)
    fast.write_bytes(b"the fast")
    cheap.write_bytes(b"the slow")
    served = {
        "": b"fast", "?prefer=cheap": b"slow", "?prefer=cheap,fast": b"slow", "?prefer=fast,cheap": b"fast",
        "?prefer=%20cheap%20,,": b"slow", "?prefer=": b"fast", "?prefer=,%20,": b"fast",
        "?prefer=fast&prefer=cheap": b"slow", "?prefer=cheap,cheap,fast": b"slow",
    }  # fmt: skip
    # IMG-ENT-31, STOR-60, IMG-DL-30, IMG-DL-32, IMG-DL-33, IMG-DL-34, IMG-WART-12, STOR-28, STOR-29
    assert {query: get(api, image, query).body[4:] for query in served} == served
    assert get(api, image, "?prefer=cheap", headers={"range": "bytes=4-5"}).body == b"sl"
    assert api.get(image["self"]).json["stores"] == "fast,cheap"  # STOR-27
    cheap.unlink()
    assert get(api, image, "?prefer=cheap").body == b"the fast"
    only_fast = api.image(b"x")
    assert get(api, only_fast, "?prefer=cheap").body == b"x"  # IMG-DL-32
    assert get(api, image, "?prefer=cheap", caller=STRANGER).status == 404


# IMG-DL-31, IMG-DL-34, SEC-57, IMG-WART-08
@pytest.mark.parametrize("store", ["none", "fast,none", "os_glance_staging_store", "os_glance_tasks_store", "FAST"])
def test_preferring_an_unknown_store_is_refused(api: Client, store: str) -> None:
    assert get(api, api.image(b"x"), f"?prefer={store}").status == 400


def test_prefer_is_refused_with_one_store(tmp_path: Path) -> None:
    with client(tmp_path, single=True) as api:
        image = api.image(b"x")
        assert get(api, image, "?prefer=x").status == 400  # IMG-DL-31, STOR-28
        assert get(api, image, "?prefer=").body == b"x"  # IMG-DL-30
        assert_consistent(api, tmp_path)


def test_a_copy_in_another_nodes_store_is_skipped(api: Client) -> None:
    image = api.image(b"the data")
    copy(api, image)
    execute(
        api,
        f"UPDATE images SET locations = replace(locations, '\"fast\"', '\"far\"') WHERE id = '{image['id']}'",
    )
    execute(
        api,
        f"UPDATE images SET locations = replace(locations, '/fast/', '/far/') WHERE id = '{image['id']}'",
    )
    # STOR-43
    assert get(api, image).body == b"the data"
    assert set(api.get(image["self"]).json["stores"].split(",")) == {"cheap", "far"}
