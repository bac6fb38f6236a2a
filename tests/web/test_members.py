"""/v2/images/{id}/members: sharing images, and who may do it."""

from typing import Any

import pytest
from uploads import execute

from ferrotype.config.limits import Limits
from ferrotype.config.policy import Policy
from ferrotype.testing.client import ADMIN, MEMBER, OCTETS, OWNER, READER, STRANGER, Client, client, person

OTHER = person("p8", "member", "reader")
MEMBER_READS = person("p9", "reader")
MEMBER_WRITES = person("p9", "member")
MEMBER_IDLE = person("p9", "auditor")


def shared(api: Client, *members: str, data: bytes | None = None, **attributes: Any) -> str:
    """Return the path of a new image of p1 that is shared with these projects."""
    path: str = api.image(data, caller=OWNER, **attributes)["self"]
    for member in members:
        assert api.post(f"{path}/members", json={"member": member}, caller=OWNER).status == 200
    return path


def test_a_new_member_is_always_pending(api: Client) -> None:
    path = shared(api)
    reply = api.post(f"{path}/members", json={"member": "p2", "status": "accepted", "x": 1}, caller=OWNER)
    # IMG-MEM-01, CL-17
    assert reply.status == 200
    assert reply.json == {
        "member_id": "p2", "image_id": path.rpartition("/")[2], "status": "pending",
        "created_at": reply.json["created_at"], "updated_at": reply.json["created_at"],
        "schema": "/v2/schemas/member",
    }  # fmt: skip
    assert api.get(f"{path}/members/p2", caller=OWNER).json == reply.json


@pytest.mark.parametrize(
    ("body", "status"),
    [
        # IMG-MEM-02, IMG-WART-11
        (b"", 400), (b"{", 400), (b"{}", 400), (b"[]", 400), (b'["member"]', 400), (b"null", 400), (b'"p2"', 400),
        (b'{"member": null}', 400), (b'{"member": ""}', 400), (b'{"member": 7}', 400), (b'{"member": ["p2"]}', 400),
        (b'{"member": {}}', 400), (b'{"member": "' + b"m" * 256 + b'"}', 400),
        (b'{"member": "' + b"m" * 255 + b'"}', 200),
        # SEC-67
        (b'{"member": "p2\\n"}', 400), (b'{"member": "\\u0000"}', 400), (b'{"member": "\\ud800"}', 400),
        # IMG-MEM-03
        (b'{"member": "p1"}', 200), (b'{"member": "unknown one"}', 200), ('{"member": "\U0001f4bf"}'.encode(), 200),
    ],
)  # fmt: skip
def test_a_member_is_a_string_of_1_to_255_characters(api: Client, body: bytes, status: int) -> None:
    path = shared(api)
    assert api.post(f"{path}/members", body=body, caller=OWNER).status == status
    assert len(api.get(f"{path}/members", caller=OWNER).json["members"]) == (status == 200)


def test_a_member_added_again_keeps_its_creation_time(api: Client) -> None:
    path = shared(api, "p9")
    first = api.get(f"{path}/members/p9", caller=OWNER).json
    api.put(f"{path}/members/p9", json={"status": "accepted"}, caller=MEMBER)
    # IMG-MEM-04
    assert api.post(f"{path}/members", json={"member": "p9"}, caller=OWNER).status == 409
    assert api.get(f"{path}/members/p9", caller=OWNER).json["status"] == "accepted"
    execute(api, "UPDATE image_members SET updated_at = updated_at - 2000000")  # Documents show whole seconds.
    before = api.get(f"{path}/members/p9", caller=OWNER).json
    assert api.delete(f"{path}/members/p9", caller=OWNER).status == 204
    assert api.get(path, caller=MEMBER).status == 404
    again = api.post(f"{path}/members", json={"member": "p9"}, caller=OWNER).json
    assert (again["status"], again["created_at"]) == ("pending", first["created_at"])
    assert again["updated_at"] > before["updated_at"]
    assert api.get(path, caller=MEMBER).status == 200


@pytest.mark.parametrize(("limit", "count"), [(2, 2), (0, 0), (-1, 130)])
def test_the_number_of_members_is_limited(tmp_path: Any, limit: int, count: int) -> None:
    with client(tmp_path, limits=Limits(image_member_quota=limit)) as api:
        path = shared(api, *(f"m{number}" for number in range(count)))
        # IMG-MEM-05, QUO-05, QUO-07, CFG-08
        if limit >= 0:
            assert api.post(f"{path}/members", json={"member": "one more"}, caller=OWNER).status == 413
        if limit > 0:  # before it is looked at whether it is a member already
            assert api.post(f"{path}/members", json={"member": "m0"}, caller=OWNER).status == 413
            api.delete(f"{path}/members/m0", caller=OWNER)
            assert api.post(f"{path}/members", json={"member": "m0"}, caller=OWNER).status == 200


def test_the_default_limit_is_128_members(api: Client) -> None:
    path = shared(api, *(f"m{number}" for number in range(128)))
    # QUO-05
    assert api.post(f"{path}/members", json={"member": "one more"}, caller=OWNER).status == 413


@pytest.mark.parametrize("visibility", ["private", "community", "public"])
def test_only_a_shared_image_has_members(api: Client, visibility: str) -> None:
    path = shared(api, "p9")
    api.patch(path, [{"op": "replace", "path": "/visibility", "value": visibility}])
    body = {"status": "accepted"}
    stranger = 404 if visibility == "private" else 403
    for caller, hidden in ((OWNER, 403), (ADMIN, 403), (MEMBER, stranger), (STRANGER, stranger)):
        # IMG-MEM-06, POL-14, SEC-67
        assert api.post(f"{path}/members", json={"member": "p2"}, caller=caller).status == hidden
        assert api.get(f"{path}/members", caller=caller).status == hidden
        assert api.put(f"{path}/members/p9", json=body, caller=caller).status == hidden
        assert api.delete(f"{path}/members/p9", caller=caller).status == hidden
        assert api.get(f"{path}/members/p9", caller=caller).status == 404


def test_members_see_themselves_and_owners_see_all(api: Client) -> None:
    path = shared(api, "p9", "p8")

    def listed(caller: Any) -> Any:
        reply = api.get(f"{path}/members?limit=1&marker=x&status=accepted", caller=caller)
        if reply.status != 200:
            return reply.status
        assert reply.json.keys() == {"members", "schema"} and reply.json["schema"] == "/v2/schemas/members"
        return [each["member_id"] for each in reply.json["members"]]

    # IMG-MEM-07
    assert listed(OWNER) == listed(ADMIN) == listed(READER) == ["p9", "p8"]
    assert listed(MEMBER) == listed(MEMBER_READS) == ["p9"]
    assert listed(STRANGER) == listed(MEMBER_IDLE) == 404


# POL-31
@pytest.mark.parametrize(
    ("rule", "listed"),
    [
        ("!", (0, 0, 0)),
        ("role:admin", (2, 0, 0)),
        ("role:admin or project_id:%(project_id)s", (2, 2, 0)),
        ("role:admin or project_id:%(member_id)s", (2, 0, 1)),
    ],
)
def test_a_list_leaves_out_members_that_the_caller_may_not_show(
    tmp_path: Any, rule: str, listed: tuple[int, ...]
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(f'"get_member": "{rule}"\n')
    with client(tmp_path, background=False, policy=Policy(file=file)) as api:
        path = shared(api, "p9", "p8")
        for caller, count in zip((ADMIN, OWNER, MEMBER), listed, strict=True):
            reply = api.get(f"{path}/members", caller=caller)
            assert (reply.status, len(reply.json["members"])) == (200, count), caller.user
            assert api.get(f"{path}/members/p9", caller=caller).status == (200 if count else 404)


def test_a_member_is_shown_to_itself_and_the_owner(api: Client) -> None:
    path = shared(api, "p9", "p8")
    for caller, member, status in [
        # IMG-MEM-08
        (OWNER, "p9", 200), (ADMIN, "p9", 200), (READER, "p9", 200), (MEMBER, "p9", 200), (MEMBER_READS, "p9", 200),
        (MEMBER, "p8", 404), (OTHER, "p9", 404), (OWNER, "p7", 404), (STRANGER, "p9", 404), (STRANGER, "p2", 404),
        (MEMBER_IDLE, "p9", 404), (OWNER, "m" * 10_000, 404),
    ]:  # fmt: skip
        assert api.get(f"{path}/members/{member}", caller=caller).status == status


@pytest.mark.parametrize(
    ("body", "status"),
    [
        # IMG-MEM-09
        (b'{"status": "accepted"}', 200), (b'{"status": "rejected"}', 200), (b'{"status": "pending"}', 200),
        (b'{"status": "accepted", "member": "p8", "x": 1}', 200), (b'{"status": "Accepted"}', 400),
        (b'{"status": "deleted"}', 400), (b'{"status": ""}', 400), (b'{"status": null}', 400),
        (b'{"status": 1}', 400),
        (b'{"status": ["accepted"]}', 400), (b"{}", 400), (b"[]", 400), (b'["status"]', 400), (b"", 400),
        (b"null", 400),
    ],
)  # fmt: skip
def test_a_member_has_one_of_three_statuses(api: Client, body: bytes, status: int) -> None:
    path = shared(api, "p9")
    before = api.get(f"{path}/members/p9", caller=MEMBER).json
    reply = api.put(f"{path}/members/p9", body=body, caller=MEMBER)
    assert reply.status == status
    after = api.get(f"{path}/members/p9", caller=MEMBER).json
    if status == 200:
        assert reply.json == after
        assert after == before | {"status": after["status"], "updated_at": after["updated_at"]}
        assert after["status"] in body.decode()
    else:
        assert after == before


def test_only_the_member_sets_its_status(api: Client) -> None:
    path = shared(api, "p9", "p8", "p1")
    for caller, member, status in [
        # IMG-MEM-10, SEC-67
        (MEMBER, "p9", 200), (ADMIN, "p9", 200), (ADMIN, "p1", 200),
        (OWNER, "p9", 403), (OWNER, "p1", 403), (OTHER, "p9", 404), (MEMBER_READS, "p9", 403),
        (OWNER, "p7", 404), (ADMIN, "p7", 404), (STRANGER, "p9", 404), (STRANGER, "p2", 404), (READER, "p9", 403),
        # POL-11: its own rule is enough
        (MEMBER_WRITES, "p9", 200), (MEMBER_IDLE, "p9", 404),
    ]:  # fmt: skip
        reply = api.put(f"{path}/members/{member}", json={"status": "accepted"}, caller=caller)
        assert reply.status == status, (caller, member)


def test_only_the_owner_removes_members(api: Client) -> None:
    path = shared(api, "p9", "p8")
    for caller, member, status in [
        # IMG-MEM-11
        (MEMBER, "p9", 403), (MEMBER, "p8", 404), (READER, "p9", 403), (STRANGER, "p9", 404), (OWNER, "p7", 404),
        (MEMBER_IDLE, "p9", 404), (OWNER, "p9", 204), (OWNER, "p9", 404), (MEMBER, "p9", 404), (ADMIN, "p8", 204),
    ]:  # fmt: skip
        assert api.delete(f"{path}/members/{member}", caller=caller).status == status, (caller, member)
    assert api.get(f"{path}/members", caller=OWNER).json["members"] == []


@pytest.mark.parametrize("status", ["pending", "accepted", "rejected"])
def test_a_member_may_read_the_image_and_nothing_else(api: Client, status: str) -> None:
    path = shared(api, "p9", data=b"data")
    api.put(f"{path}/members/p9", json={"status": status}, caller=MEMBER)
    # IMG-MEM-12, IMG-SHOW-02, IMG-POL-01
    assert api.get(path, caller=MEMBER).status == 200
    assert api.get(f"{path}/file", caller=MEMBER).body == b"data"
    assert api.get(f"{path}/file", caller=MEMBER_READS).status == 403
    for answer in (
        api.patch(path, [{"op": "replace", "path": "/name", "value": "x"}], caller=MEMBER),
        api.put(f"{path}/file", body=b"x", headers={"content-type": OCTETS}, caller=MEMBER),
        api.post(f"{path}/members", json={"member": "p2"}, caller=MEMBER),  # SEC-67
        api.put(f"{path}/tags/t", caller=MEMBER),
        api.post(f"{path}/actions/deactivate", caller=MEMBER),
        api.delete(path, caller=MEMBER),
    ):
        assert answer.status == 403
    listed = api.get("/v2/images?limit=1000", caller=MEMBER).json["images"]
    assert (path in [each["self"] for each in listed]) is (status == "accepted")


def test_invalid_bodies_and_methods_are_refused(api: Client) -> None:
    path = shared(api, "p9")
    # BOD-07, MTH-01
    for method, where in (("GET", "members"), ("GET", "members/p9"), ("DELETE", "members/p9")):
        assert api.request(method, f"{path}/{where}", body=b"{}", caller=OWNER).status == 400
    assert api.patch(f"{path}/members", [], caller=OWNER).headers["allow"] == "GET, HEAD, POST"
    assert api.post(f"{path}/members/p9", json={}, caller=OWNER).headers["allow"] == "GET, HEAD, PUT, DELETE"
    # NEG-05
    assert api.get(f"{path}/members/", caller=OWNER).status == 404
    assert api.get(f"{path}/members/p9/", caller=OWNER).status == 404


def test_members_of_a_missing_image_are_404(api: Client) -> None:
    for image in ("00000000-0000-4000-8000-000000000000", "x", shared(api, "p9").upper().rpartition("/")[2]):
        path = f"/v2/images/{image}/members"
        assert api.get(path).status == api.get(f"{path}/p9").status == api.delete(f"{path}/p9").status == 404
        assert api.post(path, json={"member": "p9"}).status == 404
        assert api.put(f"{path}/p9", json={"status": "accepted"}).status == 404


def test_a_deleted_image_has_no_members(api: Client) -> None:
    path = shared(api, "p9")
    api.delete(path, caller=OWNER)
    # IMG-DEL-05, IMG-STM-23
    for caller in (OWNER, ADMIN, MEMBER):
        assert api.get(f"{path}/members", caller=caller).status == 404
        assert api.get(f"{path}/members/p9", caller=caller).status == 404
