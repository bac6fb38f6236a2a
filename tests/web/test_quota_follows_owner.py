"""An image whose owner an administrator changes is charged to the new owner."""

from pathlib import Path

import pytest
from uploads import PausedBody, ask, assert_consistent, upload, uploading

from ferrotype.config.limits import Limits
from ferrotype.testing.client import ADMIN, OWNER, STRANGER, Client, client

QUOTA = 1000


def used(api: Client) -> dict[str, int]:
    sums = "SELECT coalesce(max(stored), 0) FROM usage WHERE project = '{}'"
    return {project: int(ask(api, sums.format(project))) for project in ("p1", "p2", "")}


def give(api: Client, path: str, owner: str | None) -> None:
    reply = api.patch(path, [{"op": "replace", "path": "/owner", "value": owner}], caller=ADMIN)
    assert (reply.status, reply.json["owner"]) == (200, owner)


@pytest.mark.parametrize("owner", ["p2", None])
def test_stored_data_is_charged_to_the_new_owner(tmp_path: Path, database_url: str, owner: str | None) -> None:
    with client(tmp_path, database_url=database_url, limits=Limits(user_storage_quota=QUOTA)) as api:
        image, other = api.image(bytes(600), caller=OWNER), api.image(caller=OWNER)
        give(api, image["self"], owner)
        assert used(api) == {"p1": 0, "p2": 0, "": 0} | {owner or "": 600}
        # QUO-24, IMG-UP-27: the old owner has quota left again, the new one has not.
        assert upload(api, other, bytes(600), caller=OWNER).status == 204
        theirs = api.image(caller=ADMIN, owner=owner)
        assert upload(api, theirs, bytes(401), caller=ADMIN).status == 413
        give(api, image["self"], "p1")  # An administrator may exceed the quota of the new owner.
        assert used(api) == {"p1": 1200, "p2": 0, "": 0}
        assert api.delete(image["self"], caller=OWNER).status == 204
        assert used(api) == {"p1": 600, "p2": 0, "": 0}
        assert_consistent(api, tmp_path)


@pytest.mark.parametrize("fails", [False, True])
def test_a_running_upload_is_charged_to_the_final_owner(tmp_path: Path, database_url: str, fails: bool) -> None:
    with client(tmp_path, database_url=database_url, limits=Limits(user_storage_quota=QUOTA)) as api:
        image = api.image(caller=OWNER)
        headers = {"x-openstack-image-size": "99" if fails else "12"}
        with uploading(api, image, PausedBody(b"first ", b"second"), caller=OWNER, headers=headers) as answer:
            give(api, image["self"], "p2")
            assert used(api)["p1"] == int(headers["x-openstack-image-size"])
        assert answer.result().status == (400 if fails else 204)
        assert used(api) == {"p1": 0, "p2": 0 if fails else 12, "": 0}
        shown = api.get(image["self"], caller=STRANGER).json
        assert (shown["status"], shown["owner"]) == ("queued" if fails else "active", "p2")
        assert_consistent(api, tmp_path)
