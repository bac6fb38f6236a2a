"""Requests exactly as common clients send them."""

import hashlib

import pytest

from ferrotype.testing.client import OCTETS, OWNER, client

#: glanceclient's for a request without a body, and its Accept for everything.
LEFT_OVER = {"content-type": OCTETS, "accept": "*/*", "accept-encoding": "gzip, deflate"}
PATCH_V20 = "application/openstack-images-v2.0-json-patch"
DATA = b"0123456789" * 1000


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with client(tmp_path_factory.mktemp("clients")) as api:
        api.caller = OWNER
        yield api


def test_glanceclient_creates_uploads_and_downloads(api):
    document = {"name": "x", "disk_format": "raw", "container_format": "bare"}
    made = api.post("/v2/images", json=document, headers=LEFT_OVER | {"x-image-meta-store": "no-such-store"})
    assert made.status == 201  # CLI-04: the choice of a store means nothing yet
    path = made.json["self"]
    assert api.get(f"{path}/file", headers=LEFT_OVER).status == 204  # CLI-04
    chunks = [DATA[at : at + 1000] for at in range(0, len(DATA), 1000)]
    sent = LEFT_OVER | {"x-openstack-image-size": str(len(DATA)), "x-image-meta-store": "cheap"}
    assert api.put(f"{path}/file", body=chunks, headers=sent).status == 204  # CLI-04, CLI-08
    shown = api.get(path, headers=LEFT_OVER).json
    assert (shown["status"], shown["stores"]) == ("active", "cheap")
    data = api.get(f"{path}/file", headers=LEFT_OVER)
    assert hashlib.new(shown["os_hash_algo"], data.body).hexdigest() == shown["os_hash_value"]  # CLI-04
    assert hashlib.md5(data.body).hexdigest() == shown["checksum"] == data.headers["content-md5"]
    for action in ("deactivate", "reactivate"):
        empty = LEFT_OVER | {"content-length": "0"}
        assert api.post(f"{path}/actions/{action}", headers=empty).status == 204  # CL-12, CLI-08
    assert api.delete(path, headers=LEFT_OVER | {"content-length": "0"}).status == 204


def test_the_sdk_adds_existing_attributes(api):
    image = api.image()
    operations = [{"op": "add", "path": f"/{name}", "value": value} for name, value in (
        ("name", "new"), ("min_ram", 5), ("visibility", "private"), ("protected", False), ("tags", ["a"]),
    )]  # fmt: skip
    changed = api.patch(image["self"], operations, headers={"accept": ""})
    assert changed.status == 200, changed.text  # CLI-06
    assert (changed.json["name"], changed.json["min_ram"], changed.json["tags"]) == ("new", 5, ["a"])


def test_the_sdk_finds_an_image_by_its_name(api):
    image = api.image(name="needle", os_hidden=True)
    assert api.get("/v2/images/needle").status == 404  # CL-11, CLI-05
    assert api.get("/v2/images?name=needle").json["images"] == []
    found = api.get("/v2/images?name=needle&os_hidden=True").json["images"]
    assert [each["id"] for each in found] == [image["id"]]


def test_tempest_sees_the_statuses_that_it_expects(api):
    made = api.post("/v2/images", json={"disk_format": "raw", "container_format": "bare", "visibility": "shared"})
    path = made.json["self"]
    old = {"content-type": PATCH_V20}
    asked = [  # CLI-07, CLI-08
        (made, 201), (api.get(path), 200), (api.get("/v2/images"), 200),
        (api.request("PATCH", path, json=[{"replace": "/name", "value": "x"}], headers=old), 200),
        (api.get(f"{path}/file"), 204), (api.put(f"{path}/file", body=b"x", headers={"content-type": OCTETS}), 204),
        (api.get(f"{path}/file"), 200), (api.put(f"{path}/tags/t"), 204), (api.delete(f"{path}/tags/t"), 204),
        (api.post(f"{path}/members", json={"member": "p9"}), 200), (api.get(f"{path}/members"), 200),
        (api.get(f"{path}/members/p9"), 200), (api.delete(f"{path}/members/p9"), 204),
        (api.post(f"{path}/actions/deactivate"), 204), (api.post(f"{path}/actions/reactivate"), 204),
        (api.delete(path), 204),
    ]  # fmt: skip
    assert [answer.status for answer, _ in asked] == [status for _, status in asked]
