"""DELETE /v2/images/{id}"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ferrotype.config.api import Api
from ferrotype.testing.client import ADMIN, MEMBER, OWNER, READER, STRANGER, Client, client


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with client(tmp_path_factory.mktemp("service"), api=Api(show_locations=True)) as api:
        yield api


def file_of(image: dict[str, Any]) -> Path:
    return Path(image["locations"][0]["url"].removeprefix("file://"))


def everything_says(api: Client, path: str, status: int, caller: Any) -> None:
    patch = [{"op": "add", "path": "/name", "value": "x"}]
    replies = [
        api.get(path, caller=caller), api.delete(path, caller=caller), api.patch(path, patch, caller=caller),
        api.get(f"{path}/file", caller=caller), api.put(f"{path}/tags/t", caller=caller),
        api.get(f"{path}/members", caller=caller), api.post(f"{path}/actions/reactivate", caller=caller),
        api.get(f"{path}/tasks", caller=caller), api.get(f"{path}/locations", caller=caller),
    ]  # fmt: skip
    assert [reply.status for reply in replies] == [status] * len(replies)


@pytest.mark.parametrize("state", ["queued", "active", "deactivated"])
def test_a_deleted_image_is_gone_with_its_data(api: Client, state: str) -> None:
    image = api.image(b"data" if state != "queued" else None, caller=OWNER, tags=["t"], a="x")
    path = image["self"]
    api.post(f"{path}/members", json={"member": "p9"}, caller=OWNER)
    if state == "deactivated":
        api.post(f"{path}/actions/deactivate", caller=OWNER)
    # IMG-DEL-01, IMG-DEL-03, IMG-STM-11, CL-17
    reply = api.delete(path, caller=OWNER)
    assert (reply.status, reply.body) == (204, b"")
    # IMG-STM-23, IMG-DEL-05
    for caller in (OWNER, ADMIN, MEMBER):
        everything_says(api, path, 404, caller)
        for query in ("a=x", "tag=t", "visibility=all", "status=deleted", f"id={image['id']}", "deleted=true"):
            found = api.get(f"/v2/images?limit=1000&{query}", caller=caller).json["images"]
            assert image["id"] not in [each["id"] for each in found]
    if state != "queued":
        assert not file_of(image).exists()
    assert api.post("/v2/images", json={"id": image["id"]}).status == 409


def test_a_protected_image_cannot_be_deleted(api: Client) -> None:
    image = api.image(b"data", caller=OWNER, protected=True)
    # IMG-DEL-02, IMG-ENT-06
    for caller in (OWNER, ADMIN):
        assert api.delete(image["self"], caller=caller).status == 403
    assert api.get(f"{image['self']}/file", caller=OWNER).body == b"data"
    api.patch(image["self"], [{"op": "replace", "path": "/protected", "value": False}], caller=OWNER)
    assert api.delete(image["self"], caller=OWNER).status == 204


def test_who_may_delete(api: Client) -> None:
    private = api.image(caller=OWNER, visibility="private")["self"]
    community = api.image(caller=OWNER, visibility="community")["self"]
    public = api.image(visibility="public", owner="p1")["self"]
    shared = api.image(caller=OWNER)["self"]
    api.post(f"{shared}/members", json={"member": "p9"}, caller=OWNER)
    for path, caller, status in [
        # IMG-DEL-02, IMG-MEM-12, SEC-71
        (private, STRANGER, 404), (community, STRANGER, 403), (public, STRANGER, 403), (shared, STRANGER, 404),
        (shared, MEMBER, 403), (private, READER, 403), (public, OWNER, 204), (shared, ADMIN, 204),
        ("/v2/images/00000000-0000-4000-8000-000000000000", ADMIN, 404), ("/v2/images/x", ADMIN, 404),
    ]:  # fmt: skip
        assert api.delete(path, caller=caller).status == status
    assert api.delete(private, body=b"{}", caller=OWNER).status == 400  # BOD-07
    assert api.get(private, caller=OWNER).status == 200


def test_an_image_with_missing_data_can_be_deleted(api: Client) -> None:
    image = api.image(b"data", caller=OWNER)
    file_of(image).unlink()
    # IMG-DEL-04
    assert api.delete(image["self"], caller=OWNER).status == 204
    assert api.get(image["self"], caller=OWNER).status == 404


def test_delayed_delete_hides_the_image_and_keeps_the_data(tmp_path: Any) -> None:
    with client(tmp_path, api=Api(delayed_delete=True, scrub_time=3600, show_locations=True)) as api:
        active, queued = api.image(b"data", caller=OWNER, tags=["t"], a="x"), api.image(caller=OWNER)
        idle = api.image(b"data", caller=OWNER)
        api.post(f"{idle['self']}/actions/deactivate", caller=OWNER)
        for image in (active, queued, idle):
            assert api.delete(image["self"], caller=OWNER).status == 204
            everything_says(api, image["self"], 404, ADMIN)
        # IMG-DEL-06, IMG-STM-12, CFG-22
        assert file_of(active).read_bytes() == b"data"
        assert not file_of(idle).exists()
        for query in ("", "?tag=t", "?a=x", "?status=pending_delete", "?visibility=all"):
            assert api.get(f"/v2/images{query}").json["images"] == []
        for image in (active, queued):
            assert api.post("/v2/images", json={"id": image["id"]}).status == 409


def test_an_invalid_id_is_404(api: Client) -> None:
    image = api.image(caller=OWNER)
    # IMG-SHOW-01, SEC-55
    for wrong in (
        "00000000-0000-4000-8000-000000000000", "x", "%2e%2e%2f%2e%2e", "..%252f", ".", "..", "{" + image["id"] + "}",
        image["id"].replace("-", ""), image["id"] + "%20", image["id"] + "%0A", image["id"] + ".", "0" * 10_240,
        image["id"].upper(), "%C3%A9", "none", image["id"] + "/",
    ):  # fmt: skip
        for method in ("GET", "DELETE"):
            assert api.request(method, f"/v2/images/{wrong}", caller=OWNER).status == 404, wrong
    for wrong in ("%00", "%C0%AE%C0%AE", "%FF"):
        assert api.get(f"/v2/images/{wrong}", caller=OWNER).status == 400
    assert api.get(image["self"], caller=OWNER, body=b"{}").status == 400
    assert api.get(f"{image['self']}?anything=%FF", caller=OWNER).json == image
