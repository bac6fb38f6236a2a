"""glanceclient as a library, as Nova, Cinder and Horizon use it, against a real service."""

import hashlib
import io
from typing import Any

import pytest
from glanceclient import Client, exc
from plain_http import OCTETS, Plain
from reverse_proxy import Proxy
from service_settings import CAP

from ferrotype.testing.process import Served

RAW = {"disk_format": "raw", "container_format": "bare"}
DATA = bytes(range(256)) * 4096


def test_image_life_cycle(glance: Client, recorder: Proxy) -> None:
    # CL-12, CL-28, CL-64, CL-103, CL-104
    image = glance.images.create(name="life", tags=["a"], colour="red", **RAW)
    assert (image.status, image.colour, image.size) == ("queued", "red", None)
    glance.images.upload(image.id, io.BytesIO(DATA), image_size=len(DATA), backend="cheap")
    image = glance.images.get(image.id)
    assert (image.status, image.size, image.stores) == ("active", len(DATA), "cheap")
    assert (image.checksum, image.os_hash_algo) == (hashlib.md5(DATA).hexdigest(), "sha512")  # CL-14
    assert image.os_hash_value == hashlib.sha512(DATA).hexdigest()  # CL-15
    downloaded = glance.images.data(image.id)
    assert (len(downloaded), b"".join(downloaded)) == (len(DATA), DATA)
    changed = glance.images.update(image.id, remove_props=["colour"], name="renamed", shape="round")
    assert (changed.name, changed.shape, "colour" in changed, changed.tags) == ("renamed", "round", False, ["a"])
    glance.images.deactivate(image.id)
    glance.images.reactivate(image.id)
    glance.images.delete(image.id)
    with pytest.raises(exc.HTTPNotFound):
        glance.images.get(image.id)
    seen = recorder.taken()
    assert not any("x-auth-token" in each.headers for each in seen)  # CL-64
    assert {each.headers["accept"] for each in seen} == {"*/*"}


def test_download_has_content_type_and_length(glance: Client, plain: Plain) -> None:
    # CL-16
    image_id = plain.image(DATA)
    answer = plain.ask("GET", f"/v2/images/{image_id}/file")
    assert (answer.headers["content-type"], answer.headers["content-length"]) == (OCTETS, str(len(DATA)))
    assert glance.images.data(plain.image()).wrapped is None
    assert plain.ask("GET", f"/v2/images/{plain.image()}/file").status == 204


def test_client_detects_data_damaged_in_the_store(glance: Client, plain: Plain, service: Served) -> None:
    # CL-15
    image_id = plain.image(DATA)
    (file,) = (service.log.parent / "fast").rglob(f"{image_id}*")
    with file.open("r+b") as data:
        data.write(b"damage")
    with pytest.raises(OSError, match="Corrupt image download"):
        b"".join(glance.images.data(image_id))


@pytest.mark.parametrize("path", ["", "/", "/v2", "/v2/"])
def test_an_address_may_end_in_the_version(path: str, service: Served, plain: Plain) -> None:
    # CL-41, CL-192
    image_id = plain.image(name="addressed")
    assert Client("2", service.url + path).images.get(image_id).name == "addressed"


@pytest.mark.parametrize(("stated", "fits"), [(5000, True), (None, True), (0, True), (4999, False), (5001, False)])
def test_declared_size_must_match_the_uploaded_data(
    stated: int | None, fits: bool, glance: Client, plain: Plain, recorder: Proxy
) -> None:
    # CL-13, CL-195, IMG-UP-04
    image_id = plain.image()
    try:
        glance.images.upload(image_id, io.BytesIO(DATA[:5000]), image_size=stated)
    except exc.HTTPBadRequest:
        assert not fits
        assert plain.show(image_id)["status"] == "queued"
    else:
        assert fits
        assert plain.show(image_id)["size"] == 5000
    put = recorder.taken()[-1]
    assert put.headers["transfer-encoding"] == "chunked"
    assert put.headers.get("x-openstack-image-size") == (None if stated is None else str(stated))


def test_lists_are_filtered_by_attributes_tags_and_properties(glance: Client, plain: Plain) -> None:
    # CL-24, CL-25
    wanted = plain.image(b"x", name="in list", tags=["t1", "t2"], made_of="wood")
    plain.image(name="in list", tags=["t1"], made_of="wood")
    hidden = plain.image(name="in list", os_hidden=True)

    def ids(**filters: Any) -> list[str]:
        return [each.id for each in glance.images.list(filters={"name": "in list", **filters})]

    assert ids(tag=["t1", "t2"]) == [wanted]
    assert ids(made_of="wood", status="active", visibility="all") == [wanted]
    assert ids(made_of="stone") == []
    assert ids(os_hidden="True") == ids(os_hidden="true") == [hidden]
    assert len(ids(member_status="all")) == 2


def test_image_is_shared_with_a_member(glance: Client, plain: Plain) -> None:
    # CL-18, CL-106
    image_id = plain.image()
    made = glance.image_members.create(image_id, "p9")
    assert (made.image_id, made.member_id, made.status, made["schema"]) == (
        image_id,
        "p9",
        "pending",
        "/v2/schemas/member",
    )
    assert made.created_at.endswith("Z")
    assert "." not in made.created_at
    assert glance.image_members.update(image_id, "p9", "rejected").status == "rejected"
    assert [each.member_id for each in glance.image_members.list(image_id)] == ["p9"]
    glance.image_members.delete(image_id, "p9")
    assert list(glance.image_members.list(image_id)) == []


def test_create_response_validates_against_the_schema(glance: Client, plain: Plain) -> None:
    # CL-20, CL-27, CL-28
    schema = glance.schemas.get("image").raw()
    image = plain.show(plain.image(DATA, tags=["t"], colour="red"))
    assert image.keys() - schema["properties"].keys() == {"colour"}
    assert schema["additionalProperties"] == {"type": "string"}
    # SCH-05
    base = {name for name, each in schema["properties"].items() if each.get("is_base", True)}
    assert {"id", "status", "tags"} <= base and not {"kernel_id", "os_distro"} & base
    assert schema["name"] == "image"
    model = glance.images.get(plain.image(colour="red", os_distro="x"))
    assert (model.colour, model.os_distro) == ("red", "x")
    for name, kinds in {"size": int, "min_disk": int, "min_ram": int, "protected": bool, "os_hidden": bool}.items():
        assert type(image[name]) is kinds  # CL-18
    answer = plain.ask("POST", "/v2/images", b'{"name": "x"}', {"Content-Type": "application/json"})
    assert answer.headers["openstack-image-store-ids"] == "fast,cheap"


def test_features_are_found_by_their_version(glance: Client, plain: Plain) -> None:
    # CL-21, CL-42
    image_id = plain.image()
    assert glance.images.get_associated_image_tasks(image_id)["tasks"] == []
    with pytest.raises(exc.HTTPNotImplemented):
        glance.cache.list()


REFUSALS = {
    exc.HTTPBadRequest: lambda glance, ids: glance.images.update(ids["queued"], min_disk=99999999999),
    exc.HTTPForbidden: lambda glance, ids: glance.images.delete(ids["protected"]),
    exc.HTTPNotFound: lambda glance, ids: glance.images.get("It's <b>no</b> id"),
    exc.HTTPConflict: lambda glance, ids: glance.images.upload(ids["protected"], io.BytesIO(b"x")),
    exc.HTTPOverLimit: lambda glance, ids: glance.images.upload(ids["queued"], io.BytesIO(bytes(2 * CAP))),
    exc.HTTPException: lambda glance, ids: glance.images.upload(ids["qcow2"], io.BytesIO(b"no disk")),
}


@pytest.mark.parametrize("kind", REFUSALS, ids=lambda kind: kind.__name__)
def test_each_error_status_maps_to_its_exception_with_the_reason(kind: Any, service: Served, plain: Plain) -> None:
    # CL-01, CL-02, CL-04, CL-114, CL-191
    ids = {
        "queued": plain.image(),
        "protected": plain.image(b"x", protected=True),
        "qcow2": plain.image(disk_format="qcow2"),
    }
    with pytest.raises(kind) as refused:
        REFUSALS[kind](Client("2", service.url), ids)
    status = 415 if kind is exc.HTTPException else kind.code
    assert str(refused.value).startswith(f"HTTP {status} ")
    assert len(str(refused.value)) > len(f"HTTP {status} Request Entity Too Large")
    assert "<" not in str(refused.value)
