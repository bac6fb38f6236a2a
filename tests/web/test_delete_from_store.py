"""DELETE /v2/stores/{store}/{image}: deletes a copy, but never the last readable one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from uploads import PausedBody, assert_consistent, copy, execute, file_of, ledger, run_cleanup, uploading

from ferrotype.config.api import Api
from ferrotype.testing.client import ADMIN, OWNER, READER, STRANGER, Client, client

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def api(directory: Path) -> Iterator[Client]:
    with client(directory, background=False, api=Api(show_locations=True)) as api:
        yield api


def delete(api: Client, store: str, image: Any, **options: Any) -> int:
    return api.delete(f"/v2/stores/{store}/{image['id']}", **options).status


def test_a_copy_is_deleted_with_its_data(api: Client, directory: Path) -> None:
    for gone, stays in (("fast", "cheap"), ("cheap", "fast")):
        image = api.image(b"the data", caller=OWNER)
        files = {"fast": file_of(image), "cheap": copy(api, image)}
        reply = api.delete(f"/v2/stores/{gone}/{image['id']}")
        # IMG-DFS-04, STOR-80
        assert (reply.status, reply.body) == (204, b"")
        now = api.get(image["self"]).json
        assert (now["status"], now["stores"], len(now["locations"])) == ("active", stays, 1)
        assert now["updated_at"] >= image["updated_at"]
        assert (files[gone].exists(), files[stays].exists()) == (False, True)
        assert api.get(f"{image['self']}/file").body == b"the data"
        assert delete(api, stays, image) == 403
    assert_consistent(api, directory)


def test_errors_come_in_the_order_of_the_api(api: Client) -> None:
    image = api.image(b"the data", caller=OWNER)
    copy(api, image)
    unknown = {"id": NOBODY}
    # IMG-DFS-01, STOR-82, STOR-83, SEC-57
    for store in ("none", "os_glance_staging_store", "os_glance_tasks_store", "a,b"):
        assert delete(api, store, image) == 409
        assert delete(api, store, unknown) == 409
    assert delete(api, "fast", unknown) == 404
    assert delete(api, "fast", {"id": "no-uuid"}) == 404
    # IMG-DFS-02, STOR-84
    assert [delete(api, "fast", image, caller=who) for who in (OWNER, READER, STRANGER)] == [403, 403, 404]
    assert delete(api, "fast", image, body=b"x") == 400  # IMG-DFS-04, STOR-91
    assert len(api.get(image["self"]).json["locations"]) == 2
    # IMG-DFS-03, STOR-85
    api.post(f"{image['self']}/actions/deactivate")
    assert delete(api, "fast", image) == 409
    assert delete(api, "fast", api.image()) == 409
    saving = api.image()
    with uploading(api, saving, PausedBody(b"x")):
        assert delete(api, "fast", saving) == 409


def test_the_last_copy_cannot_be_deleted(api: Client) -> None:
    image = api.image(b"the data")
    for store in ("fast", "cheap"):
        reply = api.delete(f"/v2/stores/{store}/{image['id']}")
        # IMG-DFS-03, STOR-86, SEC-58
        assert (reply.status, "only store containing it" in reply.text) == (403, True)
    assert api.get(f"{image['self']}/file").body == b"the data"


def test_the_copies_of_an_only_store_cannot_be_deleted(api: Client) -> None:
    image = api.image(b"the data")
    copy(api, image, "fast")
    assert delete(api, "fast", image) == 403  # SEC-58
    assert delete(api, "cheap", image) == 404  # IMG-DFS-03, STOR-87
    assert len(api.get(image["self"]).json["locations"]) == 2


def test_a_missing_copy_can_be_deleted(api: Client, directory: Path) -> None:
    image = api.image(b"the data")
    copy(api, image).unlink()
    assert delete(api, "cheap", image) == 204  # STOR-88
    assert_consistent(api, directory)


def test_the_only_readable_copy_cannot_be_deleted(api: Client) -> None:
    image = api.image(b"the data")
    other = copy(api, image)
    other.write_bytes(b"cut")
    assert delete(api, "fast", image) == 409  # SEC-58
    assert delete(api, "cheap", image) == 204
    assert api.get(f"{image['self']}/file").body == b"the data"


def test_concurrent_deletes_leave_one_copy(api: Client, directory: Path) -> None:
    for _ in range(10):
        image = api.image(b"the data")
        copy(api, image)
        with ThreadPoolExecutor(4) as pool:
            statuses = list(pool.map(lambda store, image=image: delete(api, store, image), ["fast", "cheap"] * 2))
        assert sorted(statuses) == [204, 403, 403, 403]  # SEC-58
        assert api.get(f"{image['self']}/file").body == b"the data"
    assert_consistent(api, directory)


def test_a_failed_removal_is_retried(api: Client, directory: Path) -> None:
    image = api.image(b"the data")
    other = copy(api, image)
    other.unlink()
    other.mkdir()
    assert delete(api, "cheap", image) == 204  # STOR-88
    assert [row.state for row in ledger(api) if row.name == other.name] == ["deleting"]
    other.rmdir()
    execute(api, "UPDATE blobs SET remove_at = 0 WHERE state = 'deleting'")
    run_cleanup(api)
    assert_consistent(api, directory)


def test_other_methods_of_the_path_are_refused(api: Client) -> None:
    image = api.image(b"x")
    # STOR-89
    for method in ("GET", "PUT", "POST", "PATCH"):
        reply = api.request(method, f"/v2/stores/fast/{image['id']}", caller=ADMIN)
        assert (reply.status, reply.headers["allow"]) == (405, "DELETE")
    assert [api.get(path).status for path in ("/v2/stores", "/v2/stores/fast")] == [404, 404]


def test_with_one_store_the_path_is_404(tmp_path: Path) -> None:
    with client(tmp_path, single=True) as api:
        image = api.image(b"x")
        # IMG-DFS-01, STOR-81
        assert [delete(api, store, image) for store in ("fast", "os_glance_default")] == [404, 404]
