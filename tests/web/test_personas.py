"""The access matrix of the default policy."""

from collections.abc import Callable
from typing import Any

import pytest

from ferrotype.testing.client import (
    ADMIN,
    MEMBER,
    OCTETS,
    OWNER,
    READER,
    SERVICE,
    STRANGER,
    Client,
    person,
)

AUDITOR = person("p1", "auditor")
#: In the order of the table's columns.
PERSONAS = (ADMIN, OWNER, READER, AUDITOR, STRANGER, MEMBER, SERVICE)
PATCH_NAME = [{"op": "replace", "path": "/name", "value": "x"}]
NO_ROLES = person("p1")
LONELY = person("p1", "member")  # member without reader


def image(api: Client, kind: str, data: bytes | None = b"data", **attributes: Any) -> str:
    """Return the path of a new image of p1: P private, S shared with p9, C community, U public."""
    visibility = {"P": "private", "S": "shared", "C": "community", "U": "public"}[kind]
    path: str = api.image(data, owner="p1", visibility=visibility, **attributes)["self"]
    if kind == "S":
        api.post(f"{path}/members", json={"member": "p9"})
    return path


def queued(api: Client, kind: str) -> str:
    return image(api, kind, None)


Call = Callable[[Client, str, Any], int]


def call(method: str, suffix: str = "", **options: Any) -> Call:
    return lambda api, path, caller: api.request(method, path + suffix, caller=caller, **options).status


def patch(api: Client, path: str, caller: Any) -> int:
    return api.patch(path, PATCH_NAME, caller=caller).status


UPLOAD = call("PUT", "/file", body=b"x", headers={"content-type": OCTETS})
MATRIX: list[tuple[str, Call, Callable[[Client, str], str], str, str]] = [
    # operation, call, image, kinds, and for each persona one status for all kinds or one for each
    ("show", call("GET"), image, "PSCU", "200 200 200 404 404/404/200/200 404/200/200/200 404"),
    ("download", call("GET", "/file"), image, "PSCU", "200 200 403 404 404/404/200/200 404/200/200/200 404"),
    ("patch", patch, image, "PSCU", "200 200 403 404 404/404/403/403 404/403/403/403 404"),
    ("upload", UPLOAD, queued, "PSCU", "204 204 403 404 404/404/403/403 404/403/403/403 404"),
    ("delete", call("DELETE"), image, "PSCU", "204 204 403 404 404/404/403/403 404/403/403/403 404"),
    ("deactivate", call("POST", "/actions/deactivate"), image, "PSCU",
     "204 204 403 404 404/404/403/403 404/403/403/403 404"),
    ("reactivate", call("POST", "/actions/reactivate"), image, "PSCU",
     "204 204 403 404 404/404/403/403 404/403/403/403 404"),
    ("tag", call("PUT", "/tags/t"), image, "PSCU", "204 204 403 404 404/404/403/403 404/403/403/403 404"),
    ("list members", call("GET", "/members"), image, "S", "200 200 200 404 404 200 404"),
    ("show member", call("GET", "/members/p9"), image, "S", "200 200 200 404 404 200 404"),
    ("add member", call("POST", "/members", json={"member": "p5"}), image, "S", "200 200 403 404 404 403 404"),
    ("accept", call("PUT", "/members/p9", json={"status": "accepted"}), image, "S", "200 403 403 404 404 200 404"),
    ("remove member", call("DELETE", "/members/p9"), image, "S", "204 204 403 404 404 403 404"),
    ("tasks", call("GET", "/tasks"), image, "PSCU", "200 200 200 404 404/404/200/200 404/200/200/200 404"),
    ("locations", call("GET", "/locations"), image, "PU", "200 403 403 404 404/403 404/403 */200"),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "ask", "make", "kinds", "row"), MATRIX, ids=[row[0] for row in MATRIX])
def test_the_matrix_of_personas(
    api: Client, operation: str, ask: Call, make: Callable[[Client, str], str], kinds: str, row: str
) -> None:
    # IMG-POL-01, IMG-POL-02, IMG-POL-03, IMG-POL-04, POL-10, POL-11, POL-12, POL-14
    for caller, cell in zip(PERSONAS, row.split(), strict=True):
        wanted = cell.split("/")
        for kind, status in zip(kinds, wanted * len(kinds) if len(wanted) == 1 else wanted, strict=True):
            if status == "*":  # Decided elsewhere: what a service may see of foreign private images.
                continue
            assert ask(api, make(api, kind), caller) == int(status), (operation, kind, caller)


def test_who_may_list_and_create(api: Client) -> None:
    listed = [api.get("/v2/images", caller=caller).status for caller in PERSONAS]
    assert listed == [200, 200, 200, 403, 200, 200, 403]
    for document, wanted in [
        ({}, [201, 201, 403, 403, 201, 201, 403]),
        ({"owner": "p1"}, [201, 201, 403, 403, 403, 403, 403]),
        ({"visibility": "public"}, [201, 403, 403, 403, 403, 403, 403]),
        ({"visibility": "community"}, [201, 201, 403, 403, 201, 201, 403]),
    ]:
        # IMG-POL-03, POL-13, IMG-CREATE-03, IMG-CREATE-04
        assert [api.post("/v2/images", json=document, caller=each).status for each in PERSONAS] == wanted


def test_a_member_role_without_reader_can_write(api: Client) -> None:
    path = image(api, "P")
    # IMG-POL-04, POL-03, POL-11
    assert api.get("/v2/images", caller=LONELY).status == 403
    assert api.get(path, caller=LONELY).status == 404
    assert api.get(f"{path}/members", caller=LONELY).status == 404
    assert api.get(f"{path}/file", caller=LONELY).body == b"data"
    assert patch(api, path, LONELY) == 200
    assert UPLOAD(api, queued(api, "P"), LONELY) == 204
    assert api.delete(path, caller=LONELY).status == 204


def test_a_caller_without_roles_has_no_access(api: Client) -> None:
    for kind in "PSCU":
        path = image(api, kind)
        assert api.get("/v2/images", caller=NO_ROLES).status == 403
        for status in (
            api.get(path, caller=NO_ROLES).status, api.get(f"{path}/file", caller=NO_ROLES).status,
            patch(api, path, NO_ROLES), api.delete(path, caller=NO_ROLES).status,
        ):  # fmt: skip
            assert status == 404  # POL-11


def test_only_administrators_change_an_ownerless_image(api: Client) -> None:
    for kind, statuses in {
        "private": (404, 404, 200),
        "shared": (200, 200, 200),
        "community": (200, 200, 200),
    }.items():
        path = api.image(b"data", owner=None, visibility=kind)["self"]
        # IMG-POL-06
        assert tuple(api.get(path, caller=each).status for each in (OWNER, STRANGER, ADMIN)) == statuses
        assert patch(api, path, OWNER) == (404 if kind == "private" else 403)
        assert api.delete(path, caller=OWNER).status == (404 if kind == "private" else 403)
        listed = [each["self"] for each in api.get("/v2/images?limit=1000", caller=STRANGER).json["images"]]
        assert path not in listed
        assert patch(api, path, ADMIN) == 200


def test_a_caller_without_project_does_not_own_ownerless_images(api: Client) -> None:
    drifter = person(None, "member", "reader")
    path = api.image(owner=None)["self"]
    # AUT-06, IMG-WART-15
    assert patch(api, path, drifter) == 403
    assert api.delete(path, caller=drifter).status == 403
    assert api.get(image(api, "P"), caller=drifter).status == 404
    assert api.get(image(api, "U"), caller=drifter).status == 200


def test_every_user_of_a_project_has_its_rights(api: Client) -> None:
    colleague = person("p1", "member", "reader", user="other-user")
    path = image(api, "P")
    # IMG-POL-07
    assert (api.get(path, caller=colleague).status, patch(api, path, colleague)) == (200, 200)
    assert api.delete(path, caller=colleague).status == 204


def test_a_refusal_does_not_reveal_what_exists(api: Client) -> None:
    foreign, nothing = image(api, "P"), "/v2/images/00000000-0000-4000-8000-000000000000"
    for method, suffix, options in [
        ("GET", "", {}), ("DELETE", "", {}), ("GET", "/file", {}), ("PUT", "/tags/t", {}), ("GET", "/members", {}),
        ("GET", "/members/p2", {}), ("POST", "/members", {"json": {"member": "p2"}}), ("GET", "/tasks", {}),
        ("PUT", "/members/p2", {"json": {"status": "accepted"}}), ("POST", "/actions/deactivate", {}),
    ]:  # fmt: skip
        # SEC-71
        texts = [
            api.request(method, path + suffix, caller=STRANGER, **options).text.replace(path.rpartition("/")[2], "ID")
            for path in (foreign, nothing)
        ]
        assert texts[0] == texts[1] and texts[0].startswith("404"), (method, suffix)
