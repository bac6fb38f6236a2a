"""Documents made from the schemas that we serve, and from what is nearly so: every one is answered, none with 5xx."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ferrotype.testing.callers_process import ConsistencyChecker, KeepAliveClient, served_to_callers
from ferrotype.testing.client import PATCH, Reply

OWNER, ADMIN, MEMBER = "ann.p1.member-reader", "al.adm.admin-member-reader", "mia.m1.member-reader"
MANY = settings(
    max_examples=80, database=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
TEXT = st.text(max_size=30)
#: What every client may send, down to signs that no alphabet has.
CLEAN = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)
EDGES = st.sampled_from(
    [-1, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 10**400, 1.0, 1.5, -0.0, 1e308]
)
ODD_TEXTS = st.sampled_from(
    ["", " ", "\0", "a\0b", "\ud800", "\U0001f600", "\ufeff", "x" * 255, "x" * 256, "x" * 65536, "%s", "{0}", "\r\n"]
)  # fmt: skip
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), EDGES, st.floats(), TEXT, ODD_TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
ODD_KEYS = st.sampled_from(
    ["os_glance_x", "deleted", "location", "properties", "x" * 256, "", "\0", "\ud800", "__class__", "self", "status"]
)


def allowed(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return what a schema allows."""
    types = schema.get("type", ["string"])
    found: list[st.SearchStrategy[Any]] = []
    for kind in [types] if isinstance(types, str) else types:
        match kind:
            case "null":
                found.append(st.none())
            case "boolean":
                found.append(st.booleans())
            case "integer":
                found.append(st.sampled_from([0, 1, 100, 2**31 - 1]))
            case "array":
                found.append(st.lists(allowed(schema["items"]), max_size=4, unique_by=str))
            case "object":
                found.append(documents(schema))
            case _ if "enum" in schema:
                found.append(st.sampled_from(schema["enum"]))
            case _ if "pattern" in schema:
                found.append(st.uuids().map(str))
            case _:
                most = schema.get("maxLength", 1000)
                found += [CLEAN, st.sampled_from([1, most]).map(lambda size: "\u00e9" * size)]
    return st.one_of(found)


def documents(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return documents that a schema allows, and every other time something in them that it does not."""
    properties = schema.get("properties", {})
    valid = st.fixed_dictionaries({}, optional={key: allowed(each) for key, each in properties.items()})
    more = st.dictionaries(CLEAN, CLEAN, max_size=2)
    keys = st.sampled_from(sorted(properties)) | ODD_KEYS | TEXT if properties else ODD_KEYS
    odd = st.just({}) | st.dictionaries(keys, ANYTHING, min_size=1, max_size=2)
    return st.tuples(more, valid, odd).map(lambda parts: parts[0] | parts[1] | parts[2])


class Fuzzed:
    """A service, its schemas, and strategies made from them."""

    def __init__(self, port: int, directory: Path):
        self.ask = KeepAliveClient(port)
        self.account = ConsistencyChecker(directory)
        self.image_schema = self.ask("GET", "/v2/schemas/image", OWNER).json
        self.member_schema = self.ask("GET", "/v2/schemas/member", OWNER).json
        self.is_image = fastjsonschema.compile(self.image_schema)
        self.is_member = fastjsonschema.compile(self.member_schema)
        properties = self.image_schema["properties"]
        self.settable = {name: each for name, each in properties.items() if not each.get("readOnly")}
        for name in ("id", "locations"):
            del self.settable[name]
        document = {"disk_format": "raw", "container_format": "bare"}
        self.image = self.ask("POST", "/v2/images", OWNER, json=document).json["self"]

    def send(self, method: str, path: str, token: str, document: Any, kind: str = "application/json") -> Reply:
        body = json.dumps(document).encode()
        reply = self.ask(method, path, token, body=body, headers={"Content-Type": kind})
        assert reply.status < 500, (document, reply.text)
        return reply

    def sees(self, path: str) -> dict[str, Any]:
        """Return an image after making sure that it is one, alone and in a list."""
        shown = self.ask("GET", path, ADMIN)
        assert shown.status == 200
        self.is_image(shown.json)  # CLI-02
        for hidden in ("true", "false"):
            listed = self.ask("GET", f"/v2/images?visibility=all&limit=2&sort=updated_at&os_hidden={hidden}", ADMIN)
            assert listed.status == 200
        document: dict[str, Any] = shown.json
        return document


@pytest.fixture(scope="module")
def api(shared_directory: Path, shared_database_url: str) -> Iterator[Fuzzed]:
    with served_to_callers(shared_directory, shared_database_url) as service:
        fuzzed = Fuzzed(service.port, shared_directory)
        try:
            yield fuzzed
        finally:
            fuzzed.ask.close()
            fuzzed.account.close()
        assert "Traceback" not in service.log.read_text()


@given(st.data(), st.sampled_from([OWNER, ADMIN]))
@MANY
def test_a_create_is_an_image_or_is_refused(api: Fuzzed, data: st.DataObject, token: str) -> None:
    document = data.draw(
        st.one_of(
            documents({"properties": api.settable}), documents(api.image_schema), st.lists(ANYTHING, max_size=2)
        )
    )
    reply = api.send("POST", "/v2/images", token, document)
    assert reply.status in (201, 400, 403, 409, 413)
    if reply.status == 201:
        shown = api.sees(reply.json["self"])
        assert shown | {"owner": None} == reply.json | {"owner": None}
        # SCH-10a..w: what was asked for is what there is.
        for name, value in document.items():
            assert shown[name] == (sorted(set(value)) if name == "tags" else value) or name in ("tags", "owner"), name
        if not shown["protected"]:
            assert api.ask("DELETE", shown["self"], ADMIN).status == 204


@given(st.data(), st.sampled_from([OWNER, ADMIN]))
@MANY
def test_a_patch_is_atomic(api: Fuzzed, data: st.DataObject, token: str) -> None:
    properties = api.image_schema["properties"]

    def operation(name: str, value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        path = "/" + name.replace("~", "~0").replace("/", "~1")
        op = st.sampled_from(["add", "add", "replace", "remove"])
        return st.fixed_dictionaries({"op": op, "path": st.just(path), "value": value})

    valid = (st.sampled_from(sorted(api.settable)) | CLEAN).flatmap(
        lambda name: operation(name, allowed(properties.get(name, {})))
    )
    odd = (st.sampled_from(sorted(properties)) | ODD_KEYS).flatmap(lambda name: operation(name, ANYTHING)) | ANYTHING
    patch = data.draw(st.lists(valid, max_size=3) | st.lists(valid | odd, min_size=1, max_size=3))
    before = api.sees(api.image)
    reply = api.send("PATCH", api.image, token, patch, PATCH)
    assert reply.status in (200, 400, 403, 404, 409, 413)
    after = api.sees(api.image)
    # IMG-PATCH-03
    assert after == (reply.json if reply.status == 200 else before)
    if after["owner"] != "p1" or after["visibility"] != "shared":
        put_back = [("owner", "p1"), ("visibility", "shared")]
        change = [{"op": "replace", "path": f"/{name}", "value": value} for name, value in put_back]
        assert api.send("PATCH", api.image, ADMIN, change, PATCH).status == 200


@given(st.data())
@MANY
def test_a_member_is_added_or_refused(api: Fuzzed, data: st.DataObject) -> None:
    schema = {"properties": {"member": {"type": "string", "maxLength": 255}, **api.member_schema["properties"]}}
    of_schema = documents(schema)
    statuses = st.sampled_from(api.member_schema["properties"]["status"]["enum"])
    document = data.draw(
        st.builds(lambda member, more: more | {"member": member}, CLEAN, of_schema) | of_schema | ANYTHING
    )
    added = api.send("POST", f"{api.image}/members", OWNER, document)
    assert added.status in (200, 400, 409)
    if added.status == 200:
        api.is_member(added.json)
        assert added.json["member_id"] == document["member"]
    api.send("POST", f"{api.image}/members", OWNER, {"member": "m1"})
    answer = data.draw(st.builds(lambda status, more: more | {"status": status}, statuses, of_schema) | ANYTHING)
    answered = api.send("PUT", f"{api.image}/members/m1", MEMBER, answer)
    assert answered.status in (200, 400)
    listed = api.ask("GET", f"{api.image}/members", OWNER)
    assert listed.status == 200
    for each in listed.json["members"]:
        api.is_member(each)
    if len(listed.json["members"]) > 100:
        assert api.ask("DELETE", api.image, ADMIN).status == 204
        api.image = api.ask("POST", "/v2/images", OWNER, json={}).json["self"]
