"""Property tests of create, patch, members and tags: a response, and after a refusal no change."""

import string
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ferrotype.model.image import BASE_ATTRIBUTES
from ferrotype.testing.client import OWNER, PATCH, Client

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ID = "5f1c4a52-6f1a-4b0e-9c38-0d8f3f6f2a11"

texts = st.text(max_size=20) | st.sampled_from(["", "x", ID, "\0", "a" * 300, "public", "raw", "accepted", "-1"])
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0, 2**31, 2**64, 1.0])
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from([*sorted(BASE_ATTRIBUTES), "kernel_id", "os_distro", "os_glance_x", "location", "a"]) | texts
paths = st.builds("/{}".format, names) | st.builds("/{}/{}".format, names, names) | texts
operations = (
    st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "replace", "remove", "move"]), "path": paths, "value": values}
    )
    | st.dictionaries(st.sampled_from(["op", "path", "value", "add", "remove"]), paths | values, max_size=3)
    | values
)


def listed(api: Client) -> Any:
    return api.get("/v2/images?limit=1000&visibility=all").json["images"]


@QUICK
@given(document=st.dictionaries(names, values, max_size=5) | values)
def test_any_document_creates_an_image_or_nothing(api: Client, document: Any) -> None:
    before = listed(api)
    reply = api.post("/v2/images", json=document, caller=OWNER)
    # SEC-107, SEC-109, IMG-WART-11
    assert reply.status == 201 or 400 <= reply.status < 500, reply.text
    if reply.status != 201:
        assert listed(api) == before
        return
    path = reply.json["self"]
    try:
        shown = api.get(path, caller=OWNER).json
        assert shown == reply.json
        for name, value in document.items():
            if name == "tags":
                assert set(shown[name]) == set(value)
            else:
                assert shown[name] == value
        assert [each for each in listed(api) if each not in before] == [shown]
    finally:
        api.delete(path)
        api.patch(path, [{"op": "replace", "path": "/protected", "value": False}])
        api.delete(path)


@pytest.mark.slow
@QUICK
@given(patch=st.lists(operations, max_size=4) | values, old=st.booleans())
def test_any_patch_is_atomic(api: Client, patch: Any, old: bool) -> None:
    made = api.image(b"data", caller=OWNER, a="1", tags=["t"])
    path = made["self"]
    kind = PATCH.replace("v2.1", "v2.0") if old else PATCH
    reply = api.patch(path, patch, headers={"content-type": kind}, caller=OWNER)
    # SEC-110, IMG-PATCH-03, IMG-WART-11
    assert reply.status == 200 or 400 <= reply.status < 500, reply.text
    after = api.get(path, caller=OWNER).json
    assert after == (made if reply.status != 200 else reply.json)
    assert after["id"] == made["id"] and after["os_hash_value"] == made["os_hash_value"]
    assert after["owner"] == "p1" and after["visibility"] != "public"


@pytest.mark.slow
@QUICK
@given(body=st.binary(max_size=40) | values, what=st.sampled_from(["members", "members/p9"]))
def test_any_member_is_added_or_refused(api: Client, body: Any, what: str) -> None:
    path = api.image(caller=OWNER)["self"]
    api.post(f"{path}/members", json={"member": "p9"}, caller=OWNER)
    before = api.get(f"{path}/members").json
    sent = {"body": body} if isinstance(body, bytes) else {"json": body}
    for document in (sent, {"json": {"member": body if not isinstance(body, bytes) else None}}):
        reply = api.request("POST" if what == "members" else "PUT", f"{path}/{what}", **document)
        # IMG-MEM-02, IMG-MEM-09
        assert reply.status == 200 or 400 <= reply.status < 500, reply.text
        if reply.status != 200:
            assert api.get(f"{path}/members").json == before


@QUICK
@given(tag=st.text(min_size=1, max_size=20))
def test_any_tag_is_kept_exactly_or_refused(api: Client, tag: str) -> None:
    path = api.image(caller=OWNER)["self"]
    reply = api.put(f"{path}/tags/{tag.replace('%', '%25').replace('?', '%3F')}", caller=OWNER)
    # IMG-TAG-02
    if reply.status == 204:
        assert api.get(path).json["tags"] == [tag]
    else:
        assert reply.status in (400, 404) and api.get(path).json["tags"] == []
        assert "/" in tag or any(character < " " or character == "\x7f" for character in tag)


# -- a model ------------------------------------------------------------------------------------

FEW = ["name", "tags", "a", "b", "os_distro"]
PLAIN = string.ascii_lowercase[:3]


def expected(image: dict[str, Any], patch: list[dict[str, Any]], only_new: bool) -> dict[str, Any] | None:
    """Return what a patch makes of an image, or None where it must be refused."""
    after = dict(image)
    for step in patch:
        name, op = step["path"][1:], step["op"]
        base = name in ("name", "tags")
        if op == "remove":
            if base or name not in after:
                return None
            del after[name]
            continue
        if (op == "replace" and name not in after) or (op == "add" and only_new and name in after):
            return None
        after[name] = sorted(set(step["value"])) if name == "tags" else step["value"]
    return after


def steps(name: str) -> st.SearchStrategy[dict[str, Any]]:
    value = st.lists(st.sampled_from(PLAIN), max_size=3) if name == "tags" else st.sampled_from(PLAIN)
    return st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "replace", "remove"]), "path": st.just(f"/{name}"), "value": value}
    )


patches = st.lists(st.sampled_from(FEW).flatmap(steps), max_size=5)


@pytest.mark.slow
@settings(QUICK, max_examples=60)
@given(walk=st.lists(st.tuples(patches, st.booleans()), max_size=6))
def test_any_sequence_of_patches_ends_like_a_dictionary(api: Client, walk: list[Any]) -> None:
    made = api.image(caller=OWNER)
    model: dict[str, Any] = {"name": None, "tags": []}
    for patch, only_new in walk:
        form = [{each["op"]: each["path"], "value": each["value"]} for each in patch] if only_new else patch
        kind = PATCH.replace("v2.1", "v2.0") if only_new else PATCH
        reply = api.patch(made["self"], form, headers={"content-type": kind}, caller=OWNER)
        wanted = expected(model, patch, only_new)
        # IMG-PATCH-03, IMG-PATCH-11, IMG-PATCH-12, IMG-PATCH-13
        assert (reply.status == 200) is (wanted is not None)
        model = wanted or model
        shown = api.get(made["self"], caller=OWNER).json
        shown["tags"].sort()
        assert {name: shown[name] for name in FEW if name in shown} == model
        for name in ("a", "b", "os_distro"):
            for value in PLAIN:
                found = api.get(f"/v2/images?{name}={value}&id={made['id']}", caller=OWNER).json["images"]
                assert bool(found) is (model.get(name) == value)
        for tag in PLAIN:
            found = api.get(f"/v2/images?tag={tag}&id={made['id']}", caller=OWNER).json["images"]
            assert bool(found) is (tag in model["tags"])
