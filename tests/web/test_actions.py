"""POST /v2/images/{id}/actions/...: deactivate and reactivate."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from ferrotype.config.api import Api
from ferrotype.testing.client import (
    ADMIN,
    MEMBER,
    OCTETS,
    OWNER,
    READER,
    STRANGER,
    Client,
    client,
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    shown = Api(show_locations=True, show_direct_url=True)
    with client(tmp_path_factory.mktemp("service"), api=shown) as api:
        yield api


def act(api: Client, path: str, name: str, caller: Any = OWNER, **options: Any) -> int:
    reply = api.post(f"{path}/actions/{name}", caller=caller, **options)
    assert reply.status != 204 or not reply.body
    return reply.status


def test_an_active_image_is_deactivated_and_reactivated(api: Client) -> None:
    path = "/v2/images/" + api.image(b"data", caller=OWNER)["id"]
    for name, status in [
        # IMG-ACT-01, IMG-ACT-02, IMG-ACT-03, IMG-STM-09, IMG-STM-10, CL-17
        ("reactivate", "active"), ("deactivate", "deactivated"), ("deactivate", "deactivated"),
        ("reactivate", "active"),
    ]:  # fmt: skip
        assert act(api, path, name) == 204
        assert api.get(path, caller=OWNER).json["status"] == status
    # IMG-ACT-01
    assert act(api, path, "deactivate", body=b"{}") == 400
    assert act(api, path, "activate") == act(api, path, "") == api.post(f"{path}/actions", caller=OWNER).status == 404
    assert api.get(f"{path}/actions/deactivate", caller=OWNER).status == 405
    assert api.get(path, caller=OWNER).json["status"] == "active"


def test_only_an_image_with_data_can_be_deactivated(api: Client) -> None:
    path = "/v2/images/" + api.image(caller=OWNER)["id"]
    # IMG-ACT-02, POL-16
    assert act(api, path, "deactivate") == act(api, path, "reactivate") == 403
    assert act(api, path, "deactivate", ADMIN) == 403
    assert api.get(path, caller=OWNER).json["status"] == "queued"


def test_who_may_deactivate_an_image(api: Client) -> None:
    private = api.image(b"data", caller=OWNER, visibility="private")["id"]
    community = api.image(b"data", caller=OWNER, visibility="community")["id"]
    gone = "00000000-0000-4000-8000-000000000000"
    for name in ("deactivate", "reactivate"):
        for image, caller, status in [
            # IMG-ACT-03
            (private, STRANGER, 404), (community, STRANGER, 403), (community, MEMBER, 403), (private, READER, 403),
            (private, OWNER, 204), (community, ADMIN, 204), (gone, ADMIN, 404), ("x", ADMIN, 404),
        ]:  # fmt: skip
            assert act(api, f"/v2/images/{image}", name, caller) == status


def test_only_administrators_read_a_deactivated_image(api: Client) -> None:
    before = api.image(b"data", caller=OWNER)
    path = before["self"]
    api.post(f"{path}/members", json={"member": "p9"}, caller=OWNER)
    act(api, path, "deactivate")
    # IMG-ACT-04, IMG-DL-04
    for caller, status in ((OWNER, 403), (MEMBER, 403), (ADMIN, 200)):
        assert api.get(f"{path}/file", caller=caller).status == status
    # IMG-ENT-32
    shown = api.get(path, caller=OWNER).json
    assert shown["locations"] == [] and not {"direct_url", "stores"} & shown.keys()
    listed = next(i for i in api.get("/v2/images", caller=OWNER).json["images"] if i["id"] == before["id"])
    assert listed == shown
    whole = api.get(path, caller=ADMIN).json
    assert {name: whole[name] for name in ("locations", "direct_url", "stores")} == {
        name: before[name] for name in ("locations", "direct_url", "stores")
    }
    assert before["stores"] == "fast" and before["direct_url"] == before["locations"][0]["url"]
    # IMG-ACT-04: what was known of the data stays, metadata may change, data may not
    assert (shown["size"], shown["os_hash_value"]) == (4, before["os_hash_value"])
    assert api.patch(path, [{"op": "add", "path": "/name", "value": "x"}], caller=OWNER).status == 200
    assert api.put(f"{path}/tags/t", caller=OWNER).status == 204
    assert api.put(f"{path}/file", body=b"x", headers={"content-type": OCTETS}, caller=OWNER).status == 409
    assert api.delete(path, caller=OWNER).status == 204


def test_locations_are_shown_only_if_configured(api: Client) -> None:
    made, queued = api.image(b"data", caller=OWNER), api.image(caller=OWNER)
    # IMG-ENT-18, IMG-ENT-19, IMG-ENT-20, CFG-16, CFG-17
    assert made["locations"] == [{"url": made["direct_url"], "metadata": {"store": "fast"}}]
    assert queued["locations"] == [] and not {"direct_url", "stores"} & queued.keys()
    ctx = api.application.ctx
    kept = ctx.config
    try:
        for locations, direct, keys in (
            (False, False, {"stores"}), (True, False, {"stores", "locations"}),
            (False, True, {"stores", "direct_url"}),
        ):  # fmt: skip
            api.application.reload(
                replace(kept, api=replace(kept.api, show_locations=locations, show_direct_url=direct))
            )
            shown = api.get(made["self"], caller=OWNER).json
            assert shown.keys() & {"stores", "locations", "direct_url"} == keys
    finally:
        api.application.reload(kept)


def test_a_single_store_is_never_named(tmp_path: Any) -> None:
    with client(tmp_path, single=True, api=Api(show_locations=True)) as api:
        made = api.image(b"data")
        # IMG-ENT-20
        assert "stores" not in made and made["locations"][0]["metadata"] == {}
