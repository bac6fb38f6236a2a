"""PATCH /v2/images/{id}: checks of the document, before the image is looked up."""

from typing import Any

import msgspec
import pytest

from ferrotype.testing.client import OWNER, PATCH, Client

NOWHERE = "/v2/images/00000000-0000-4000-8000-000000000000"
OLD = "application/openstack-images-v2.0-json-patch"
READ_ONLY = (
    "id", "status", "checksum", "size", "virtual_size", "created_at", "updated_at", "os_hash_algo", "os_hash_value",
    "direct_url", "self", "file", "schema", "stores",
)  # fmt: skip
RESERVED = ("location", "deleted", "deleted_at", "os_glance_x", "os_glancefoo", "os_glance")


def ask(api: Client, path: str, operations: Any, kind: str = PATCH) -> Any:
    return api.request(
        "PATCH", path, body=msgspec.json.encode(operations), headers={"content-type": kind}, caller=OWNER
    )


def add(path: Any, value: Any = "x") -> list[dict[str, Any]]:
    return [{"op": "add", "path": path, "value": value}]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (PATCH, 200), (OLD, 200), (PATCH + "; charset=utf-8", 200), (PATCH + " ;x=y", 200),
        (PATCH.upper(), 415), ("application/json-patch+json", 415), ("application/json", 415), ("", 415),
        ("application/openstack-images-v2.2-json-patch", 415), (f"{PATCH}x", 415),
    ],
)  # fmt: skip
def test_only_the_two_patch_media_types_are_accepted(api: Client, kind: str, status: int) -> None:
    # IMG-PATCH-01
    reply = ask(api, f"/v2/images/{api.image(caller=OWNER)['id']}", [], kind)
    assert reply.status == status
    if status == 415:
        assert reply.headers["accept-patch"] == f"{OLD}, {PATCH}"  # HDR-07


def test_a_missing_media_type_is_refused_before_the_look_up(api: Client) -> None:
    # IMG-PATCH-01
    assert api.request("PATCH", NOWHERE, body=b"[]").status == 415


@pytest.mark.parametrize(
    ("operations", "status"),
    [
        # IMG-PATCH-02
        ({}, 400), (None, 400), ("x", 400), ([[]], 400), ([None], 400), (["add"], 400), ([7], 400),
        # IMG-PATCH-05, SEC-110, CL-88
        ([{"path": "/a", "value": "x"}], 400), ([{"op": None, "path": "/a", "value": "x"}], 400),
        ([{"op": ["add"], "path": "/a", "value": "x"}], 400), ([{"op": "Add", "path": "/a", "value": "x"}], 400),
        *(([{"op": op, "path": "/a", "from": "/b", "value": "x"}], 400) for op in ("test", "move", "copy", "")),
        ([{"op": "add", "value": "x"}], 400), ([{"op": "remove"}], 400), ([{"op": "add", "path": "/a"}], 400),
        ([{"op": "replace", "path": "/a"}], 400), ([{"op": "remove", "path": "/a", "value": 7, "more": 1}], 404),
        ([{"op": "add", "path": "/a", "value": "x", "more": 1}], 404),
        # IMG-PATCH-07, IMG-WART-11
        *((add(path), 400) for path in (7, None, ["/a"], {}, "", "a", " /a", "/a/", "//a/", "/a//b", "a/b")),
        *((add(path), 400) for path in ("/a~", "/~2", "/~~0", "/~~1", "/~~01", "/a~/b")),
        *((add(path), 404) for path in ("//a", "///a", "/ a ", "/a~1b", "/a~0b", "/~01", "/~1")),
        *((add(path), 400) for path in ("/", "//", "/ ")),  # IMG-PROP-03
        # IMG-PATCH-08, SEC-110
        *((add(path), 400) for path in ("/tags/-", "/tags/0", "/a/b", "/name/x")),
        *((add(path, {"url": "x", "metadata": {}}), 400) for path in ("/locations", "/locations/0/url")),
        (add("/locations/999", {"url": "x", "metadata": {}}), 404), (add("/locations/-", "x"), 400),
        ([{"op": "replace", "path": "/locations/0", "value": []}], 400),
        ([{"op": "remove", "path": "/locations"}], 400),
        ([{"op": "replace", "path": "/locations", "value": []}], 404),
        ([{"op": "replace", "path": "/locations", "value": ["x"]}], 400),
        # IMG-PATCH-10, IMG-PATCH-24
        *((add("/" + name, None), 404) for name in ("name", "disk_format", "container_format", "kernel_id")),
        *((add("/" + name, None), 400) for name in ("visibility", "protected", "os_hidden", "tags", "min_ram", "a")),
        *((add("/name", value), 400) for value in (7, "n" * 256, True, [], {})),
        *((add("/a", value), 400) for value in (7, 1.5, True, [], {}, "v" * 65536)),
        (add("/visibility", "all"), 400), (add("/protected", "true"), 400), (add("/disk_format", "gpt"), 400),
        (add("/tags", ["t" * 256]), 400), (add("/tags", "t"), 400), (add("/kernel_id", "x"), 400),
        (add("/os_distro", None), 400), (add("/owner", "o" * 256), 400), (add("/owner", 7), 400),
        # IMG-PROP-02
        (add("/" + "k" * 255), 404), (add("/" + "k" * 256), 400),
        # IMG-PATCH-18
        *((add("/min_disk", value), 400) for value in (-1, 2**31, 2**70, 1.5, "1", True)),
        (add("/min_ram", 2**31 - 1), 404),
    ],
)  # fmt: skip
def test_the_document_is_checked_before_the_look_up(api: Client, operations: Any, status: int) -> None:
    # IMG-PATCH-04: whatever is well-formed is about an image that does not exist
    reply = ask(api, NOWHERE, operations)
    assert reply.status == status, reply.text


@pytest.mark.parametrize(
    ("operations", "status"),
    [
        # IMG-PATCH-06
        ([{"add": "/a", "value": "x"}], 404), ([{"replace": "/name", "value": "x"}], 404), ([{"remove": "/a"}], 404),
        ([{"value": "x"}], 400), ([{}], 400), ([{"add": "/a", "remove": "/a", "value": "x"}], 400),
        ([{"add": "/a", "replace": "/a", "remove": "/a", "value": "x"}], 400), ([{"add": "/a"}], 400),
        ([{"replace": "/a"}], 400), ([{"op": "add", "path": "/a", "value": "x"}], 400), ([{"move": "/a"}], 400),
        ([{"add": 7, "value": "x"}], 400), ([{"add": "a", "value": "x"}], 400),
        ([{"add": "/a/b", "value": "x"}], 400),
        ([{"add": "/status", "value": "active"}], 403), ([{"remove": "/os_glance_x"}], 403), ([None], 400),
    ],
)  # fmt: skip
def test_the_older_media_type_names_the_operation_by_its_key(api: Client, operations: Any, status: int) -> None:
    reply = ask(api, NOWHERE, operations, OLD)
    assert reply.status == status, reply.text


@pytest.mark.parametrize("name", [*READ_ONLY, *RESERVED])
def test_reserved_names_are_refused_in_any_escaping(api: Client, name: str) -> None:
    before = api.image(b"data", caller=OWNER)
    path = f"/v2/images/{before['id']}"
    for written in (f"/{name}", f"//{name}", f"/ {name} "):
        for op in ("add", "replace", "remove"):
            # IMG-PATCH-09, IMG-PATCH-22, IMG-PROP-04, IMG-PROP-05, SEC-73, IMG-WART-03
            assert ask(api, path, [{"op": op, "path": written, "value": "x"}]).status == 403
            assert ask(api, path, [{op: written, "value": "x"}], OLD).status == 403
    assert ask(api, path, add(f"/{name}/0")).status == 400
    assert ask(api, NOWHERE, add(f"/{name}")).status == 403  # IMG-PATCH-04
    # IMG-PATCH-03
    assert ask(api, path, [*add("/name", "renamed"), *add(f"/{name}")]).status == 403
    assert api.get(path, caller=OWNER).json == before


def test_case_and_escapes_make_different_names(api: Client) -> None:
    path = f"/v2/images/{api.image(caller=OWNER)['id']}"
    # SEC-73
    shown = ask(
        api, path, [*add("/STATUS"), *add("/os~0glance_x"), *add("/os~1glance_x"), *add("/stat\u200bus")]
    ).json
    assert (shown["STATUS"], shown["os~glance_x"], shown["os/glance_x"], shown["stat\u200bus"]) == ("x",) * 4
    assert shown["status"] == "queued"


@pytest.mark.parametrize("name", ["image_id", "extra_properties", "base", "member", "delete", "get_data", "context"])
def test_internal_names_are_ordinary_properties(api: Client, name: str) -> None:
    made = api.image(caller=OWNER)
    path = f"/v2/images/{made['id']}"
    assert ask(api, path, [{"op": "replace", "path": f"/{name}", "value": "x"}]).status == 409
    # IMG-PATCH-21, IMG-WART-03
    shown = ask(api, path, add(f"/{name}", "value"))
    assert (shown.status, shown.json["id"], shown.json[name]) == (200, made["id"], "value")
    gone = ask(api, path, [{"op": "remove", "path": f"/{name}"}]).json
    assert gone == made | {"updated_at": gone["updated_at"]}


def test_the_number_of_operations_is_limited(api: Client) -> None:
    path = f"/v2/images/{api.image(caller=OWNER)['id']}"
    # SEC-110
    assert ask(api, path, add("/a") * 1000).status == 200
    for first, count in ((add("/a"), 1000), ([7], 1000), (add("/status"), 100_000)):
        reply = ask(api, path, first + add("/a") * count)
        assert (reply.status, f"at most 1000 operations; this one has {count + 1}" in reply.text) == (400, True)


@pytest.mark.parametrize(
    "body",
    [b"", b"[", b"[] x", b"\xef\xbb\xbf[]", b'[{"op": "add", "path": "/a", "value": "\\u0000"}]', b"[" * 100_000,
     b'[{"op": "add", "path": "/\\u0000", "value": "x"}]', b'[{"op": "add", "path": "/a", "value": "\\ud800"}]'],
)  # fmt: skip
def test_a_body_other_than_json_is_refused(api: Client, body: bytes) -> None:
    # BOD-03, BOD-04, BOD-06
    path = f"/v2/images/{api.image(caller=OWNER)['id']}"
    assert api.request("PATCH", path, body=body, headers={"content-type": PATCH}, caller=OWNER).status == 400
