"""PATCH /v2/images/{id}: the effect of operations, and who may do them."""

from dataclasses import replace
from typing import Any

import pytest
from uploads import execute

from ferrotype.config.limits import Limits
from ferrotype.testing.client import (
    ADMIN,
    MEMBER,
    OCTETS,
    OWNER,
    READER,
    STRANGER,
    Client,
    client,
    person,
)

OLD = {"content-type": "application/openstack-images-v2.0-json-patch"}
COLLEAGUE = person("p1", "member", "reader", user="another")


def path_of(image: dict[str, Any]) -> str:
    return f"/v2/images/{image['id']}"


def op(op: str, path: str, value: Any = "x") -> dict[str, Any]:
    return {"op": op, "path": path} if op == "remove" else {"op": op, "path": path, "value": value}


def test_the_response_is_the_whole_image(api: Client) -> None:
    made = api.image(caller=OWNER, name="before", os_distro="debian", tags=["a"])
    changed = api.patch(
        path_of(made),
        [
            op("replace", "/name", "after"), op("add", "/visibility", "private"), op("replace", "/protected", True),
            op("add", "/os_hidden", True), op("replace", "/tags", ["b", "b", "c"]), op("add", "/disk_format", None),
            op("replace", "/container_format", "ovf"), op("add", "/min_disk", 5), op("replace", "/min_ram", 6.0),
            op("add", "/color", "blue"), op("remove", "/os_distro"), op("add", "/kernel_id", None),
        ],
        caller=OWNER,
    )  # fmt: skip
    # IMG-PATCH-03, IMG-PATCH-11, IMG-PATCH-12, IMG-PATCH-13, IMG-PATCH-24, CL-06, CL-07, CL-17
    assert changed.status == 200
    expected = made | {
        "name": "after", "visibility": "private", "protected": True, "os_hidden": True, "tags": ["b", "c"],
        "disk_format": None, "container_format": "ovf", "min_disk": 5, "min_ram": 6, "color": "blue",
        "kernel_id": None, "updated_at": changed.json["updated_at"],
    }  # fmt: skip
    del expected["os_distro"]
    assert changed.json == expected
    assert isinstance(changed.json["min_ram"], int)
    assert api.get(path_of(made), caller=OWNER).json == expected


@pytest.mark.parametrize(
    ("operations", "status", "shown"),
    [
        # IMG-PATCH-11, IMG-PATCH-12, IMG-PATCH-13
        ([op("replace", "/a", "2")], 200, {"a": "2"}), ([op("add", "/a", "2")], 200, {"a": "2"}),
        ([op("replace", "/b", "2")], 409, {}), ([op("remove", "/b")], 409, {}),
        ([op("remove", "/a")], 200, {"a": None}),
        *(([op("remove", f"/{name}")], 403, {}) for name in ("name", "tags", "visibility", "disk_format", "min_ram")),
        ([op("replace", "/name", "x")], 200, {"name": "x"}), ([op("add", "/name", None)], 200, {"name": None}),
        # IMG-PATCH-03: operations see earlier ones, and all of them happen or none does
        ([op("add", "/b", "2"), op("replace", "/b", "3")], 200, {"b": "3"}),
        ([op("remove", "/a"), op("add", "/a", "2")], 200, {"a": "2"}),
        ([op("remove", "/a"), op("replace", "/a", "2")], 409, {}), ([op("remove", "/a")] * 2, 409, {}),
        ([op("add", "/b", "2"), op("remove", "/b")], 200, {"b": None}),
        ([op("replace", "/name", "x"), op("add", "/tags", ["t"]), op("remove", "/b")], 409, {}),
        ([op("add", "/b", "2"), op("replace", "/owner", "p1")], 403, {}),
        ([op("add", "/visibility", "private"), op("add", "/visibility", "public")], 403, {}),
    ],
)  # fmt: skip
def test_operations_apply_in_order_and_atomically(
    api: Client, operations: list[dict[str, Any]], status: int, shown: dict[str, Any]
) -> None:
    made = api.image(caller=OWNER, a="1")
    assert api.patch(path_of(made), operations, caller=OWNER).status == status
    now = api.get(path_of(made), caller=OWNER).json
    assert {name: now.get(name) for name in shown} == shown
    unchanged = {name: value for name, value in made.items() if name not in (*shown, "updated_at")}
    assert {name: now[name] for name in unchanged} == unchanged


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        # IMG-PATCH-06, IMG-PATCH-12, CLI-07
        ({"replace": "/name", "value": "x"}, 200), ({"add": "/name", "value": "x"}, 409),
        ({"add": "/disk_format", "value": "raw"}, 409), ({"add": "/a", "value": "x"}, 409),
        ({"add": "/b", "value": "x"}, 200), ({"replace": "/a", "value": "x"}, 200),
        ({"replace": "/b", "value": "x"}, 409), ({"remove": "/a"}, 200), ({"remove": "/b"}, 409),
        ({"remove": "/name"}, 403),
    ],
)  # fmt: skip
def test_with_the_older_media_type_add_refuses_existing_attributes(
    api: Client, operation: dict[str, Any], status: int
) -> None:
    made = api.post("/v2/images", json={"a": "1"}, caller=OWNER).json
    assert api.patch(path_of(made), [operation], headers=OLD, caller=OWNER).status == status


def aged(api: Client, image: dict[str, Any]) -> dict[str, Any]:
    """Return an image after its last change was moved two seconds into the past: documents show whole seconds."""
    execute(api, f"UPDATE images SET updated_at = updated_at - 2000000 WHERE id = '{image['id']}'")
    found: dict[str, Any] = api.get(path_of(image), caller=OWNER).json
    return found


def test_every_patch_but_an_empty_one_updates_the_time(api: Client) -> None:
    made = aged(api, api.image(caller=OWNER, name="x"))
    # IMG-PATCH-02
    assert api.patch(path_of(made), [], caller=OWNER).json == made
    # IMG-ENT-30
    changed = api.patch(path_of(made), [op("replace", "/name", "x")], caller=OWNER).json
    assert changed["updated_at"] > made["updated_at"] and changed["created_at"] == made["created_at"]
    assert changed == made | {"updated_at": changed["updated_at"]}
    changed = aged(api, changed)
    api.put(path_of(made) + "/tags/t", caller=OWNER)
    tagged = api.get(path_of(made), caller=OWNER).json
    assert tagged["updated_at"] > changed["updated_at"]
    api.post(path_of(made) + "/members", json={"member": "p9"}, caller=OWNER)
    assert api.get(path_of(made), caller=OWNER).json == tagged


def test_an_empty_patch_is_still_authorized(api: Client) -> None:
    # IMG-PATCH-02, IMG-PATCH-20
    assert api.patch("/v2/images/00000000-0000-4000-8000-000000000000", []).status == 404
    assert api.patch(path_of(api.image(caller=OWNER, visibility="community")), [], caller=STRANGER).status == 403


def test_only_an_administrator_changes_the_owner(api: Client) -> None:
    for form in ({}, OLD):
        for verb in ("add", "replace"):
            for value in ("p2", "p1", None, ""):
                made = api.image(caller=OWNER)
                change = {verb: "/owner", "value": value} if form else op(verb, "/owner", value)
                # IMG-PATCH-17, IMG-WART-02, SEC-67
                status = api.patch(path_of(made), [change], caller=OWNER, headers=form).status
                assert status == (409 if form and verb == "add" else 403)
                assert api.get(path_of(made), caller=OWNER).json == made
    for value, shown in {"p2": "p2", "": None}.items():
        changed = api.patch(path_of(api.image(caller=OWNER)), [op("add", "/owner", value)], caller=ADMIN)
        assert (changed.status, changed.json["owner"]) == (200, shown)  # IMG-ENT-05
    assert api.patch(path_of(api.image(caller=OWNER)), [op("replace", "/owner", None)]).json["owner"] is None


def test_the_policy_is_asked_about_the_new_visibility(api: Client) -> None:
    made = api.image(caller=OWNER)

    def become(visibility: str, caller: Any = OWNER) -> int:
        return api.patch(path_of(made), [op("replace", "/visibility", visibility)], caller=caller).status

    # IMG-PATCH-16, IMG-ENT-04, SEC-67
    assert [become(each) for each in ("public", "community", "private", "shared")] == [403, 200, 200, 200]
    assert become("public", ADMIN) == 200
    assert become("public") == 403
    assert [become("private"), become("public")] == [200, 403]


def test_members_are_kept_while_an_image_is_not_shared(api: Client) -> None:
    made = api.image(caller=OWNER)
    path, theirs = path_of(made), f"{path_of(made)}/members/p9"
    api.post(f"{path}/members", json={"member": "p9"}, caller=OWNER)
    api.put(theirs, json={"status": "accepted"}, caller=MEMBER)

    def listed() -> bool:
        return made["id"] in [each["id"] for each in api.get("/v2/images?limit=1000", caller=MEMBER).json["images"]]

    assert listed()
    api.patch(path, [op("replace", "/visibility", "private")], caller=OWNER)
    # IMG-PATCH-16, IMG-MEM-06
    assert (api.get(path, caller=MEMBER).status, listed()) == (404, False)
    api.patch(path, [op("replace", "/visibility", "shared")], caller=OWNER)
    assert (api.get(path, caller=MEMBER).status, listed()) == (200, True)
    assert api.get(theirs, caller=OWNER).json["status"] == "accepted"


@pytest.mark.parametrize("name", ["disk_format", "container_format"])
def test_formats_are_fixed_once_there_is_data(api: Client, name: str) -> None:
    made = api.image(caller=OWNER)
    assert api.patch(path_of(made), [op("replace", f"/{name}", made[name])], caller=OWNER).status == 200
    api.put(f"{path_of(made)}/file", body=b"data", headers={"content-type": OCTETS}, caller=OWNER)
    # IMG-PATCH-15, IMG-ENT-09, IMG-ENT-10
    assert api.patch(path_of(made), [op("replace", f"/{name}", made[name])], caller=OWNER).status == 403
    assert api.patch(path_of(made), [op("add", f"/{name}", None)], caller=ADMIN).status == 403
    api.post(f"{path_of(made)}/actions/deactivate", caller=OWNER)
    assert api.patch(path_of(made), [op("replace", f"/{name}", made[name])], caller=OWNER).status == 403
    # IMG-PATCH-19, IMG-ACT-04
    assert api.patch(path_of(made), [op("replace", "/name", "x"), op("add", "/a", "x")], caller=OWNER).status == 200


def test_who_may_change_what_they_see(api: Client) -> None:
    private = api.image(caller=OWNER, visibility="private")
    community = api.image(caller=OWNER, visibility="community")
    public = api.image(visibility="public", owner="p1")
    shared = api.image(caller=OWNER)
    api.post(f"{path_of(shared)}/members", json={"member": "p9"}, caller=OWNER)
    change = [op("replace", "/name", "x")]
    for image, caller, status in [
        # IMG-PATCH-20, IMG-MEM-12
        (private, STRANGER, 404), (community, STRANGER, 403), (public, STRANGER, 403), (shared, STRANGER, 404),
        (shared, MEMBER, 403), (private, READER, 403), (public, OWNER, 200), (shared, ADMIN, 200),
        (private, COLLEAGUE, 200),  # IMG-POL-07
        ({"id": "not-an-id"}, OWNER, 404), ({"id": "0" * 10_000}, ADMIN, 404),
    ]:  # fmt: skip
        assert api.patch(path_of(image), change, caller=caller).status == status


def test_locations_cannot_be_patched(api: Client) -> None:
    path = path_of(api.image(b"data", caller=OWNER))
    place = {"url": "http://example.com/x", "metadata": {}}
    for change in (
        op("add", "/locations/-", place), op("add", "/locations/0", place), op("replace", "/locations", [place]),
        op("replace", "/locations", []), op("remove", "/locations/0"),
    ):  # fmt: skip
        # IMG-LOCP-01
        assert api.patch(path, [change], caller=ADMIN).status == 403


def test_sending_unchanged_tags_is_allowed(tmp_path: Any) -> None:
    with client(tmp_path, limits=Limits(image_tag_quota=3, image_property_quota=3)) as api:
        made = api.image(caller=OWNER, tags=["a", "b", "c"], p1="1", p2="2", p3="3")
        lower = Limits(image_tag_quota=1, image_property_quota=1)
        api.application.reload(replace(api.application.ctx.config, limits=lower))
        same = op("replace", "/tags", made["tags"])
        # CL-08, IMG-PROP-09: also where the limit is lower now than it was
        assert api.patch(path_of(made), [op("replace", "/name", "x"), same], caller=OWNER).status == 200
        assert (
            api.patch(path_of(made), [op("replace", "/p1", "new"), op("remove", "/p2")], caller=OWNER).status == 200
        )


@pytest.mark.parametrize(
    ("operations", "status"),
    [
        # IMG-PATCH-14, IMG-PATCH-23, IMG-PROP-09, QUO-03, QUO-04
        ([op("add", "/tags", ["c", "d", "e"])], 413), ([op("add", "/tags", ["a", "c"])], 200),
        ([op("add", "/tags", ["a"] * 9)], 200), ([op("add", "/p3")], 413),
        ([op("add", "/p3"), op("remove", "/p1")], 200),
        ([op("add", "/p2", "y")], 200), ([op("add", "/p3"), op("remove", "/p3")], 200),
        ([op("remove", "/p1"), op("add", "/p3"), op("add", "/p4")], 413),
    ],
)  # fmt: skip
def test_a_patch_is_subject_to_the_quotas(tmp_path: Any, operations: list[dict[str, Any]], status: int) -> None:
    with client(tmp_path, limits=Limits(image_tag_quota=2, image_property_quota=2)) as api:
        made = api.image(caller=OWNER, tags=["a", "b"], p1="1", p2="2")
        reply = api.patch(path_of(made), operations, caller=OWNER, headers={"accept": "application/json"})
        assert reply.status == status, reply.text
        if status == 413:
            assert reply.json["code"].startswith("413")
            assert api.get(path_of(made), caller=OWNER).json == made


def test_a_negative_quota_is_unlimited_and_zero_allows_nothing(tmp_path: Any) -> None:
    names = [f"n{number}" for number in range(200)]
    both = [op("add", "/tags", names), *(op("add", f"/{name}") for name in names)]
    with client(tmp_path, limits=Limits(image_tag_quota=-1, image_property_quota=-1)) as api:
        # QUO-07
        assert api.patch(path_of(api.image()), both).status == 200
    with client(tmp_path, limits=Limits(image_tag_quota=0, image_property_quota=0)) as api:
        assert api.patch(path_of(api.image()), [op("add", "/tags", ["a"])]).status == 413
        assert api.patch(path_of(api.image()), [op("add", "/a")]).status == 413
        assert api.patch(path_of(api.image()), [op("add", "/tags", []), op("add", "/name")]).status == 200
