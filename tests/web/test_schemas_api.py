"""/v2/schemas: the schemas of images and members."""

from typing import Any

import fastjsonschema
import pytest

from ferrotype.config.api import Api
from ferrotype.config.formats import Formats
from ferrotype.config.schema import SHIPPED_SCHEMA
from ferrotype.testing.client import ADMIN, OWNER, READER, SERVICE, STRANGER, Client, client, person

UUID = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"
TEXT = {"type": "string"}
MAYBE = {"type": ["null", "string"]}
READ_ONLY = {"readOnly": True}
DISK = ["ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop"]
CONTAINER = ["ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"]
STATUSES = [
    "queued", "saving", "active", "killed", "deleted", "uploading", "importing", "pending_delete", "deactivated",
]  # fmt: skip
LOCATION = {
    "type": "object",
    "required": ["url", "metadata"],
    "properties": {
        "url": TEXT | {"maxLength": 255},
        "metadata": {"type": "object"},
        "validation_data": {
            "type": "object",
            "writeOnly": True,
            "additionalProperties": False,
            "required": ["os_hash_algo", "os_hash_value"],
            "properties": {
                "checksum": TEXT | {"minLength": 32, "maxLength": 32},
                "os_hash_algo": TEXT | {"maxLength": 64},
                "os_hash_value": TEXT | {"maxLength": 128},
            },
        },
    },
}
# SCH-10a..w
BASE: dict[str, Any] = {
    "id": TEXT | {"pattern": UUID},
    "name": MAYBE | {"maxLength": 255},
    "status": TEXT | READ_ONLY | {"enum": STATUSES},
    "visibility": TEXT | {"enum": ["community", "public", "private", "shared"]},
    "protected": {"type": "boolean"},
    "os_hidden": {"type": "boolean"},
    "checksum": MAYBE | READ_ONLY | {"maxLength": 32},
    "os_hash_algo": MAYBE | READ_ONLY | {"maxLength": 64},
    "os_hash_value": MAYBE | READ_ONLY | {"maxLength": 128},
    "owner": MAYBE | {"maxLength": 255},
    "size": READ_ONLY | {"type": ["null", "integer"]},
    "virtual_size": READ_ONLY | {"type": ["null", "integer"]},
    "container_format": MAYBE | {"enum": [None, *CONTAINER]},
    "disk_format": MAYBE | {"enum": [None, *DISK]},
    "created_at": TEXT | READ_ONLY,
    "updated_at": TEXT | READ_ONLY,
    "tags": {"type": "array", "items": TEXT | {"maxLength": 255}},
    "min_ram": {"type": "integer"},
    "min_disk": {"type": "integer"},
    **dict.fromkeys(("direct_url", "self", "file", "schema", "stores"), TEXT | READ_ONLY),
    "locations": {"type": "array", "items": LOCATION},
}
# SCH-21
SHIPPED: dict[str, Any] = {
    **dict.fromkeys(("kernel_id", "ramdisk_id"), MAYBE | {"pattern": UUID}),
    **dict.fromkeys(
        ("instance_uuid", "architecture", "os_distro", "os_version", "description", "cinder_encryption_key_id"), TEXT
    ),
    "cinder_encryption_key_deletion_policy": TEXT | {"enum": ["on_image_deletion", "do_not_delete"]},
}
MEMBER: dict[str, Any] = {
    "name": "member",
    "properties": {
        "member_id": TEXT,
        "image_id": TEXT | {"pattern": UUID},
        "created_at": TEXT,
        "updated_at": TEXT,
        "status": TEXT | {"enum": ["pending", "accepted", "rejected"]},
        "schema": TEXT | READ_ONLY,
    },
}
DESCRIBED = {"rel": "describedby", "href": "{schema}"}


def bare(document: Any) -> Any:
    """Return the document without its descriptions, which are free English."""
    if isinstance(document, dict):
        kept = {name: bare(value) for name, value in document.items()}
        if isinstance(kept.get("description"), str):
            del kept["description"]
        return kept
    return [bare(each) for each in document] if isinstance(document, list) else document


def schema(api: Client, name: str) -> Any:
    reply = api.get(f"/v2/schemas/{name}")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")  # SCH-01
    return reply.json


def image_schema(**more: Any) -> dict[str, Any]:
    custom = {name: each | {"is_base": False} for name, each in SHIPPED.items()}
    return {
        "name": "image",
        "properties": BASE | custom,
        "additionalProperties": TEXT,
        "links": [
            {"rel": "self", "href": "{self}"}, {"rel": "enclosure", "href": "{file}"}, DESCRIBED,
        ],
        **more,
    }  # fmt: skip


def test_the_schema_of_an_image_is_the_published_one(api: Client) -> None:
    # SCH-04, SCH-10a, SCH-10w, SCH-11, SCH-12, SCH-13, SCH-14, SCH-20, SCH-21, CL-27
    assert bare(schema(api, "image")) == image_schema()


def test_the_schema_of_a_list_holds_the_whole_schema_of_an_image(api: Client) -> None:
    # SCH-15
    assert bare(schema(api, "images")) == {
        "name": "images",
        "properties": {
            "images": {"type": "array", "items": image_schema()}, "first": TEXT, "next": TEXT, "schema": TEXT,
        },
        "links": [{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"}, DESCRIBED],
    }  # fmt: skip
    assert schema(api, "images")["properties"]["images"]["items"] == schema(api, "image")


def test_the_schemas_of_members_are_the_published_ones(api: Client) -> None:
    # SCH-16, SCH-17
    assert bare(schema(api, "member")) == MEMBER
    assert bare(schema(api, "members")) == {
        "name": "members",
        "properties": {"members": {"type": "array", "items": MEMBER}, "schema": TEXT},
        "links": [DESCRIBED],
    }


@pytest.mark.parametrize("name", ["image", "images", "member", "members"])
def test_a_schema_is_readable_without_roles_and_read_only(api: Client, name: str) -> None:
    path = f"/v2/schemas/{name}"
    # SCH-01, SCH-03
    no_role = person("p3", "auditor")
    assert len({api.get(path, caller=each).body for each in (ADMIN, OWNER, READER, STRANGER, SERVICE, no_role)}) == 1
    # SCH-02 as RUL-11 has it
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        reply = api.request(method, path)
        assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")
    head = api.request("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert api.get(path, body=b"{}").status == 400
    assert api.get(f"{path}/").status == 404


def test_other_schemas_are_404(api: Client) -> None:
    # SCH-02
    for path in ("/v2/schemas", "/v2/schemas/", "/v2/schemas/location", "/v2/schemas/image/x"):
        assert api.get(path).status == 404


def test_configured_formats_and_properties_are_in_the_schema(tmp_path: Any) -> None:
    configured = {"cores": {"type": "integer", "description": "How many."}}
    changed = Api(schema_properties=configured, schema_required=("cores",))
    with client(tmp_path, api=changed, formats=Formats(disk_formats=("raw",), container_formats=())) as api:
        shown = schema(api, "image")
        # SCH-20, SCH-23, CFG-30, CFG-31, CFG-71
        assert shown["properties"]["cores"] == configured["cores"] | {"is_base": False}
        assert "kernel_id" not in shown["properties"]
        assert shown["required"] == ["cores"]
        assert schema(api, "images")["properties"]["images"]["items"]["required"] == ["cores"]
        assert shown["properties"]["disk_format"]["enum"] == [None, "raw"]
        assert shown["properties"]["container_format"]["enum"] == [None]
        assert configured["cores"].keys() == {"type", "description"}


def test_descriptive_keywords_are_not_validated(tmp_path: Any) -> None:
    odd = {"when": {"type": "string", "format": "date-time"}, "who": {"type": "string", "format": "no-such-format"}}
    with client(tmp_path, api=Api(schema_properties=SHIPPED_SCHEMA | odd)) as api:
        # SCH-04
        assert api.post("/v2/images", json={"when": "soon", "who": "me"}).status == 201


def test_patterns_are_not_anchored(tmp_path: Any) -> None:
    loose = {"colour": {"type": "string", "pattern": "ue"}, "sure": {"type": "string", "pattern": "^ue$"}}
    with client(tmp_path, api=Api(schema_properties=loose)) as api:
        # SCH-04
        assert api.post("/v2/images", json={"colour": "blueish"}).status == 201
        assert api.post("/v2/images", json={"colour": "red"}).status == 400
        assert api.post("/v2/images", json={"sure": "ue\n"}).status == 400


def test_responses_match_the_published_schema(api: Client) -> None:
    made = api.image(b"data", caller=OWNER, tags=["t"], os_distro="x", kernel_id=None, any="thing")
    path = made["self"]
    api.post(f"{path}/members", json={"member": "p9"}, caller=OWNER)
    for name, where in (
        ("image", path), ("images", "/v2/images"), ("member", f"{path}/members/p9"), ("members", f"{path}/members"),
    ):  # fmt: skip
        # CLI-02, CL-28
        fastjsonschema.compile(schema(api, name))(api.get(where, caller=OWNER).json)
        assert api.get(where, caller=OWNER).json["schema"] == f"/v2/schemas/{name}"
