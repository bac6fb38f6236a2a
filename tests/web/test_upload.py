"""PUT /v2/images/{id}/file: accepted data, and the attributes it sets."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from uploads import PausedBody, ask, assert_consistent, execute, files, ledger, qcow2, queued_again, upload, uploading

from ferrotype.config.api import Api
from ferrotype.config.formats import Formats
from ferrotype.config.limits import Limits
from ferrotype.testing.client import ADMIN, MEMBER, OCTETS, OWNER, READER, STRANGER, Client, client

NOBODY = "/v2/images/00000000-0000-4000-8000-000000000000/file"


@pytest.fixture(scope="module")
def api(directory: Path) -> Iterator[Client]:
    limits = Limits(image_size_cap=3 << 20)
    with client(directory, background=False, api=Api(show_locations=True), limits=limits) as api:
        yield api


# IMG-UP-01
@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (OCTETS, 204),
        ("Application/Octet-Stream; charset=x", 204),
        ("application/json", 415),
        ("application/octet-streams", 415),
        ("", 415),
        (None, 415),
    ],
)
def test_data_are_octets(api: Client, kind: str | None, status: int) -> None:
    headers = {} if kind is None else {"content-type": kind}
    assert api.put(f"{api.image()['self']}/file", body=b"x", headers=headers).status == status
    assert api.put(NOBODY, body=b"x", headers=headers).status == (415 if status == 415 else 404)


@pytest.mark.parametrize("body", [b"ten bytes!", [b"ten", b" ", b"bytes!"], [b"", b"ten bytes!"]])
def test_an_upload_makes_the_image_active_at_once(api: Client, directory: Path, body: Any) -> None:
    image = api.image()
    reply = upload(api, image, body)
    assert (reply.status, reply.body) == (204, b"")  # IMG-UP-02, IMG-UP-03
    now = api.get(image["self"]).json
    assert now["status"] == "active"
    # IMG-UP-12, STOR-41
    assert (now["size"], now["virtual_size"]) == (10, 10)
    assert now["checksum"] == hashlib.md5(b"ten bytes!").hexdigest()
    assert (now["os_hash_algo"], now["os_hash_value"]) == ("sha512", hashlib.sha512(b"ten bytes!").hexdigest())
    assert (now["stores"], now["locations"][0]["metadata"]) == ("fast", {"store": "fast"})
    assert Path(now["locations"][0]["url"].removeprefix("file://")).read_bytes() == b"ten bytes!"
    assert api.get(f"{image['self']}/file").body == b"ten bytes!"
    assert_consistent(api, directory)


# IMG-UP-03
@pytest.mark.parametrize("body", [b"", [], None, [b"", b""]])
def test_an_empty_body_is_an_empty_image(api: Client, directory: Path, body: Any) -> None:
    image = api.image()
    assert upload(api, image, body).status == 204
    now = api.get(image["self"]).json
    assert (now["status"], now["size"], now["virtual_size"]) == ("active", 0, None)
    assert now["checksum"] == hashlib.md5(b"").hexdigest()
    assert api.get(f"{image['self']}/file").status == 200
    assert_consistent(api, directory)


# IMG-UP-04, IMG-UP-05, SEC-85
@pytest.mark.parametrize(
    ("announced", "body", "status"),
    [
        ({"x-openstack-image-size": "4"}, [b"four"], 204),
        ({"x-openstack-image-size": " +4 "}, [b"four"], 204),
        ({"x-openstack-image-size": "0"}, [b"four"], 204),
        ({"x-openstack-image-size": "4", "content-length": "9"}, b"four", 204),
        ({"x-openstack-image-size": "3", "content-length": "4"}, b"four", 400),
        ({"x-openstack-image-size": "3"}, [b"fo", b"ur"], 400),
        ({"x-openstack-image-size": "5"}, [b"four"], 400),
        ({"x-openstack-image-size": "5"}, [], 400),
        ({"x-openstack-image-size": "-4"}, [b"four"], 400),
        ({"x-openstack-image-size": "-9000000000"}, [], 400),
        ({"x-openstack-image-size": "four"}, [b"four"], 400),
        ({"x-openstack-image-size": "1_0"}, [b"four"], 400),
        ({"x-openstack-image-size": ""}, [b"four"], 400),
        ({"x-openstack-image-size": "4.0"}, [b"four"], 400),
        ({"x-openstack-image-size": "\u0664"}, [b"four"], 400),
        ({"x-openstack-image-size": "9" * 39}, [b"four"], 413),
        ({"x-openstack-image-size": "9" * 4000}, [b"four"], 400),
        ({"content-length": "4"}, b"four", 204),
        ({"content-length": "0"}, [b"four"], 204),
        ({"content-length": "5"}, b"four", 400),
        ({"content-length": "3"}, b"four", 400),
    ],
    ids=str,
)
def test_the_announced_size_must_match(
    api: Client, directory: Path, announced: dict[str, str], body: Any, status: int
) -> None:
    image = api.image()
    announced = {name: value.encode().decode("latin-1") for name, value in announced.items()}
    assert upload(api, image, body, announced).status == status
    if status == 204:
        assert api.get(image["self"]).json["size"] == 4
        assert_consistent(api, directory)
        return
    queued_again(api, directory, image)
    assert upload(api, image, b"good").status == 204  # IMG-UP-26


def test_a_negative_size_is_refused(tmp_path: Path) -> None:
    with client(tmp_path, limits=Limits(user_storage_quota=1000)) as api:
        image, other = api.image(caller=OWNER), api.image(caller=OWNER)
        negative = {"content-type": OCTETS, "x-openstack-image-size": "-100000"}
        held = PausedBody(b"")
        assert api.put(f"{image['self']}/file", body=held.pieces(), headers=negative, caller=OWNER).status == 400
        assert upload(api, other, bytes(2000), caller=OWNER).status == 413  # QUO-02


# IMG-UP-06, IMG-UP-07, STOR-08, STOR-20, STOR-21, SEC-57, IMG-WART-08
@pytest.mark.parametrize(
    "store", ["none", "", "os_glance_staging_store", "os_glance_tasks_store", "fast,cheap", "FAST"]
)
def test_an_unknown_store_is_refused_first(api: Client, store: str) -> None:
    image = api.image()
    before = api.get(image["self"]).json
    for path in (f"{image['self']}/file", NOBODY):
        reply = api.put(path, body=b"x", headers={"content-type": OCTETS, "x-image-meta-store": store})
        assert reply.status == 400
        assert "not found" in reply.text
    assert api.get(image["self"]).json == before


def test_the_header_chooses_the_store(api: Client, directory: Path) -> None:
    # IMG-UP-06, STOR-20, STOR-24
    made = api.post("/v2/images", json={"disk_format": "raw", "container_format": "bare"},
                    headers={"x-image-meta-store": "nowhere"})  # fmt: skip
    assert made.status == 201
    assert "stores" not in made.json  # STOR-27
    assert upload(api, made.json, b"here", {"x-image-meta-store": "cheap"}).status == 204
    image = api.get(made.json["self"]).json
    assert (image["stores"], image["locations"][0]["metadata"]["store"]) == ("cheap", "cheap")
    assert Path(image["locations"][0]["url"].removeprefix("file://")).parent == directory / "cheap"
    # There is no other header of that meaning.
    other = api.image()
    assert upload(api, other, b"here", {"x-openstack-image-store": "nowhere"}).status == 204
    assert api.get(other["self"]).json["stores"] == "fast"


def test_with_one_store_the_header_is_ignored(tmp_path: Path) -> None:
    with client(tmp_path, single=True, api=Api(show_locations=True)) as api:
        image = api.image()
        # IMG-UP-06, STOR-23
        assert upload(api, image, b"x", {"x-image-meta-store": "nowhere"}).status == 204
        now = api.get(image["self"]).json
        assert "stores" not in now
        assert now["locations"][0]["metadata"] == {}
        assert_consistent(api, tmp_path)


def test_only_a_queued_image_accepts_data(api: Client, directory: Path) -> None:
    # IMG-UP-09, SEC-88
    active, deactivated, saving = api.image(b"as it was"), api.image(b"as it was"), api.image()
    assert api.post(f"{deactivated['self']}/actions/deactivate").status == 204
    for image in (active, deactivated):
        assert upload(api, image, b"other").status == 409
        assert api.get(f"{image['self']}/file").body == b"as it was"
    with uploading(api, saving, PausedBody(b"one", b" two")):
        assert api.get(saving["self"]).json["status"] == "saving"
        assert upload(api, saving, b"other").status == 409  # IMG-CONC-03
        assert api.get(f"{saving['self']}/file").status == 204  # IMG-DL-02
    assert api.get(f"{saving['self']}/file").body == b"one two"
    execute(api, f"UPDATE images SET status = 'importing' WHERE id = '{active['id']}'")
    assert upload(api, active, b"other").status == 409
    execute(api, f"UPDATE images SET status = 'active' WHERE id = '{active['id']}'")
    assert_consistent(api, directory)


@pytest.mark.parametrize("missing", ["disk_format", "container_format"])
def test_formats_must_be_set_before_data(api: Client, directory: Path, missing: str) -> None:
    image = api.image(**{missing: None})
    reply = upload(api, image, b"x")
    assert (reply.status, missing in reply.text) == (400, True)  # IMG-UP-10, IMG-STM-21
    queued_again(api, directory, image)


def test_who_may_upload(api: Client) -> None:
    # IMG-UP-11
    private, public = api.image(caller=OWNER), api.image(caller=OWNER)
    api.patch(public["self"], [{"op": "replace", "path": "/visibility", "value": "community"}], caller=OWNER)
    assert [upload(api, private, b"x", caller=who).status for who in (STRANGER, READER)] == [404, 403]
    assert [upload(api, public, b"x", caller=who).status for who in (STRANGER, MEMBER, READER)] == [403] * 3
    assert [upload(api, each, b"x", caller=who).status for each, who in ((private, OWNER), (public, ADMIN))] == [
        204
    ] * 2
    assert api.put(NOBODY, body=b"x", headers={"content-type": OCTETS}).status == 404


def test_refusals_do_not_read_the_body(api: Client) -> None:
    asked = []

    async def body() -> Any:
        asked.append(True)
        yield b"x"

    big = {"content-type": OCTETS, "content-length": str(4 << 20)}
    active, queued = api.image(b"x"), api.image()
    assert api.put(f"{active['self']}/file", body=body(), headers={"content-type": OCTETS}).status == 409
    assert api.put(f"{queued['self']}/file", body=body(), headers=big).status == 413
    assert asked == []


# IMG-UP-20, QUO-01, SEC-85
@pytest.mark.parametrize("body", [bytes((3 << 20) + 1), [bytes(65536)] * 48 + [b"x"], [bytes(4 << 20)]], ids=len)
def test_image_size_cap_is_enforced(api: Client, directory: Path, body: Any) -> None:
    image = api.image()
    assert upload(api, image, body).status == 413
    queued_again(api, directory, image)
    assert upload(api, image, [bytes(3 << 20)]).status == 204


def test_a_client_that_disconnects_leaves_nothing(api: Client, directory: Path) -> None:
    # IMG-UP-23, IMG-UP-26
    image = api.image()
    for body, headers in ([b"some", b"thing"], {}), (b"some", {"content-length": "9"}), ([bytes(1 << 20)] * 2, {}):
        reply = api.put(
            f"{image['self']}/file", body=body, headers={"content-type": OCTETS, **headers}, disconnect=True
        )
        assert reply.status == 400
        queued_again(api, directory, image)
    assert upload(api, image, b"something").status == 204


def test_a_signed_image_is_refused(api: Client, directory: Path) -> None:
    names = ("img_signature", "img_signature_hash_method", "img_signature_key_type", "img_signature_certificate_uuid")
    image = api.image(**dict.fromkeys(names, "x"))
    # IMG-UP-30
    assert upload(api, image, b"x").status == 400
    queued_again(api, directory, image)
    assert upload(api, api.image(**dict.fromkeys(names[:3], "x")), b"x").status == 204


def test_changes_during_an_upload_are_kept(api: Client) -> None:
    image = api.image(name="before", tags=["old"], a="1")
    with uploading(api, image, PausedBody(b"one", b" two")) as answer:
        # IMG-CONC-01, IMG-WART-05
        changes = [
            {"op": "replace", "path": "/name", "value": "after"},
            {"op": "replace", "path": "/a", "value": "2"},
            {"op": "add", "path": "/b", "value": "3"},
            {"op": "replace", "path": "/tags", "value": ["new"]},
        ]
        assert api.patch(image["self"], changes).status == 200
        fixed = [{"op": "replace", "path": "/disk_format", "value": "qcow2"}]
        assert api.patch(image["self"], fixed).status == 403
    assert answer.result().status == 204
    now = api.get(image["self"]).json
    assert (now["status"], now["name"], now["a"], now["b"], now["tags"]) == ("active", "after", "2", "3", ["new"])


# IMG-UP-40, IMG-UP-41, IMG-UP-42, IMG-UP-43, IMG-UP-44, IMG-UP-45, IMG-UP-46, IMG-UP-47
@pytest.mark.parametrize(
    ("disk", "container", "data", "status", "virtual"),
    [
        ("qcow2", "bare", qcow2(size=1 << 30), 204, 1 << 30),
        ("qcow2", "bare", b"not at all", 415, None),
        ("qcow2", "bare", qcow2(backing=True), 415, None),
        ("qcow2", "bare", qcow2(incompatible=4), 415, None),
        ("raw", "bare", qcow2(), 204, 4096),
        ("raw", "bare", qcow2(backing=True), 415, None),
        ("vmdk", "bare", qcow2(), 415, None),
        ("ami", "ami", b"anything", 204, None),
        ("ploop", "bare", b"anything", 204, None),
        ("ploop", "bare", qcow2(), 415, None),
        ("qcow2", "ova", b"anything", 204, None),
    ],
)
def test_data_must_match_the_declared_format(
    api: Client, directory: Path, disk: str, container: str, data: bytes, status: int, virtual: int | None
) -> None:
    image = api.image(disk_format=disk, container_format=container)
    for body in (data, [data[:7], data[7:]]):
        reply = upload(api, image, body)
        assert reply.status == status
        if status == 415:
            assert "The data " in reply.text  # IMG-UP-48
            queued_again(api, directory, image)  # IMG-UP-49, IMG-WART-01, STOR-45
        else:
            assert api.get(image["self"]).json["virtual_size"] == virtual
            image = api.image(disk_format=disk, container_format=container)
    if status == 415 and disk == "qcow2":
        assert upload(api, image, qcow2()).status == 204
        assert api.get(f"{image['self']}/file").body == qcow2()


def test_the_format_match_is_configurable(tmp_path: Path) -> None:
    with client(tmp_path, formats=Formats(require_match=False)) as api:
        image = api.image(disk_format="vmdk")
        assert upload(api, image, qcow2()).status == 204
        assert api.get(image["self"]).json["virtual_size"] is None  # IMG-UP-44, CFG-32
        assert upload(api, api.image(disk_format="qcow2"), qcow2(backing=True)).status == 415  # IMG-UP-45


def test_object_names_are_new_for_each_upload(api: Client, directory: Path) -> None:
    image = api.image(name="../../etc/passwd")
    names = set()
    with uploading(api, image, PausedBody(b"a"), headers={"content-length": "2"}) as answer:
        names |= {row.name for row in ledger(api) if row.image_id == image["id"]}
        assert f".{min(names)}.part" in files(directory)  # STOR-109: not under its final name
    assert answer.result().status == 400
    assert upload(api, image, b"b").status == 204
    names |= {row.name for row in ledger(api) if row.image_id == image["id"]}
    # SEC-59, STOR-46
    assert len(names) == 2
    assert all(name.startswith(image["id"] + "-") and set(name) <= set("0123456789abcdef-") for name in names)


def test_the_hash_algorithm_is_configurable(tmp_path: Path) -> None:
    for algorithm in ("sha256", "md5"):
        with client(tmp_path / algorithm, api=replace(Api(), hashing_algorithm=algorithm)) as api:
            image = api.image(b"data")
            # IMG-UP-12
            assert (image["os_hash_algo"], image["os_hash_value"]) == (
                algorithm, hashlib.new(algorithm, b"data").hexdigest(),
            )  # fmt: skip
            assert ask(api, "SELECT hash_value FROM blobs") == image["os_hash_value"]
