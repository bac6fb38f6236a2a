"""openstacksdk as a library against a real service: ways to connect, image life cycle, errors."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openstack import exceptions
from openstack.connection import Connection
from plain_http import Plain
from reverse_proxy import Proxy
from sdk_connection import connected
from service_settings import CAP
from terminal import Terminal

from ferrotype.testing.process import Served

RAW = {"disk_format": "raw", "container_format": "bare"}
DATA = bytes(range(256)) * 4096

AUTHS: dict[str, dict[str, str]] = {
    "none": {},
    "admin_token": {"token": "anything"},
    "http_basic": {"username": "somebody", "password": "secret"},
}


@pytest.mark.parametrize("path", ["", "/", "/v2", "/v2/"])
@pytest.mark.parametrize("auth", AUTHS)
def test_every_way_to_connect_reaches_the_images(auth: str, path: str, recorder: Proxy, plain: Plain) -> None:
    # CL-44, CL-45, CL-46, CL-47, CL-48, CL-60, CL-192
    name = f"reached by {auth} at {path}"
    image_id = plain.image(name=name, tags=["reached"])
    with connected(recorder.url + path, auth, **AUTHS[auth]) as connection:
        assert connection.image.get_image(image_id).name == name
        assert image_id in [each.id for each in connection.image.images(tag="reached")]
        assert connection.image.find_image(name, ignore_missing=False)
        made = connection.image.create_image("made", data=b"x", allow_duplicates=True, **RAW)
        assert connection.image.get_image(made).status == "active"
        connection.image.delete_image(made, ignore_missing=False)
        plain.ask("DELETE", f"/v2/images/{image_id}")
    seen = recorder.taken()
    assert {each.status for each in seen} <= {200, 201, 204, 300, 404}
    sent = {"none": ("x-auth-token", "notused"), "admin_token": ("x-auth-token", "anything")}
    header, value = sent.get(auth, ("authorization", "Basic c29tZWJvZHk6c2VjcmV0"))
    assert all(each.headers[header] == value for each in seen if "images" in each.target)


def test_openstack_command_accepts_a_token_and_a_versioned_endpoint(terminal: Terminal, plain: Plain) -> None:
    # CL-47, CL-192
    image_id = plain.image(name="by token")
    words = ["image", "show", image_id, "-f", "value", "-c", "name"]
    auth = ("admin_token", "--os-token", "anything")
    assert terminal.openstack(*words, auth=auth, url=terminal.url + "/v2").out == "by token\n"
    assert terminal.openstack(*words, url=terminal.url + "/v2").out == "by token\n"  # CL-46


def test_version_links_use_the_address_of_the_request(recorder: Proxy, plain: Plain) -> None:
    # CL-21, CL-23, CL-43
    for path, status in (("/", 300), ("/versions", 200), ("/v2", 200), ("/v2/", 200)):
        answer = Plain(recorder.url).ask("GET", path)
        assert answer.status == status
        for version in answer.json["versions"]:
            assert version["status"] in ("CURRENT", "SUPPORTED", "DEPRECATED")
            assert version["links"] == [{"rel": "self", "href": f"{recorder.url}/v2/"}]


def test_image_life_cycle(sdk: Connection, recorder: Proxy, tmp_path: Path) -> None:
    # CL-84, CL-87, CL-88, CL-89, CL-90, CL-91
    (tmp_path / "disk").write_bytes(DATA)
    image = sdk.image.create_image(
        "life", filename=str(tmp_path / "disk"), validate_checksum=True, wait=True, tags=["a"], meta={"k": "v"}, **RAW
    )
    assert (image.status, image.size, image.hash_value) == ("active", len(DATA), hashlib.sha512(DATA).hexdigest())
    assert image.properties["k"] == "v"
    assert sdk.image.download_image(image).content == DATA
    with (tmp_path / "copy").open("wb") as copy:
        sdk.image.download_image(image, output=copy, stream=True)
    assert (tmp_path / "copy").read_bytes() == DATA

    changed = sdk.image.update_image(image, name="renamed", min_disk=2, visibility="private")
    assert (changed.name, changed.min_disk, changed.visibility) == ("renamed", 2, "private")
    assert sdk.image.update_image_properties(changed, other="w")
    assert sdk.image.get_image(image.id).properties["other"] == "w"
    sdk.image.add_tag(image, "b")
    sdk.image.remove_tag(image, "a")
    assert sdk.image.get_image(image).tags == ["b"]
    sdk.image.deactivate_image(image)
    assert sdk.image.get_image(image).status == "deactivated"
    sdk.image.reactivate_image(image)
    assert sdk.image.get_image(image).status == "active"
    sdk.image.delete_image(image, ignore_missing=False)
    with pytest.raises(exceptions.NotFoundException):
        sdk.image.get_image(image.id)


def test_members_schemas_and_stores_are_objects_of_the_library(sdk: Connection, plain: Plain) -> None:
    # CL-27, CL-93, CL-94
    image_id = plain.image()
    assert sdk.image.add_member(image_id, member_id="p9").status == "pending"
    assert sdk.image.update_member("p9", image_id, status="accepted").status == "accepted"
    assert [each.member_id for each in sdk.image.members(image_id)] == ["p9"]
    sdk.image.remove_member("p9", image_id, ignore_missing=False)
    assert list(sdk.image.members(image_id)) == []
    properties = sdk.image.get_image_schema().properties
    assert {"id", "name", "disk_format", "os_hash_value", "visibility"} <= properties.keys()
    assert "qcow2" in properties["disk_format"]["enum"]
    assert not any(properties[name].get("is_base", True) for name in ("kernel_id", "architecture", "os_distro"))
    for schema in (sdk.image.get_images_schema(), sdk.image.get_member_schema(), sdk.image.get_members_schema()):
        assert schema.properties
    # DISC-162
    assert [(each.id, each.is_default) for each in sdk.image.stores()] == [("fast", True), ("cheap", None)]
    assert sdk.image.get_import_info().import_methods["value"] == []


def test_the_tasks_of_an_image_are_found_by_microversion(sdk: Connection, recorder: Proxy, plain: Plain) -> None:
    # CL-49
    image_id = plain.image()
    assert list(sdk.image.image_tasks(image_id)) == []
    assert recorder.lines()[-1] == f"GET /v2/images/{image_id}/tasks"


def test_import_is_rejected_before_data_is_sent(sdk: Connection, recorder: Proxy) -> None:
    # CL-20, CL-85
    with pytest.raises(exceptions.SDKException, match="does not support the image import method"):
        sdk.image.create_image("no import", data=b"x", use_import=True, **RAW)
    (post,) = [each for each in recorder.taken() if each.method != "GET"]
    assert post.line == "POST /v2/images"


def in_pieces(data: bytes) -> Iterator[bytes]:
    for offset in range(0, len(data), 1000):
        yield data[offset : offset + 1000]


#: what X-OpenStack-Image-Size says of 5000 bytes -> what the upload is answered with
SIZES: dict[str | None, int] = {"5000": 204, None: 204, "0": 204, "4999": 400, "5001": 400, "-1": 400, "many": 400}


@pytest.mark.parametrize("chunked", [False, True], ids=["plain", "chunked"])
@pytest.mark.parametrize("stated", SIZES)
def test_declared_size_must_match_the_uploaded_data(
    stated: str | None, chunked: bool, sdk: Connection, plain: Plain, recorder: Proxy
) -> None:
    # CL-13, CL-195, IMG-UP-04, IMG-UP-05
    data = DATA[:5000]
    image_id = plain.image()
    headers = {"Content-Type": "application/octet-stream", "Accept": ""}
    if stated is not None:
        headers["X-OpenStack-Image-Size"] = stated
    body: Any = in_pieces(data) if chunked else data
    answer = sdk.image.put(f"/images/{image_id}/file", data=body, headers=headers)
    assert ("transfer-encoding" in recorder.taken()[-1].headers) == chunked
    assert answer.status_code == SIZES[stated]
    image = plain.show(image_id)
    if answer.status_code == 204:
        assert (image["status"], image["size"]) == ("active", len(data))
        assert sdk.image.download_image(image_id).content == data
    else:
        assert (image["status"], image["size"]) == ("queued", None)


def test_413_reaches_a_client_that_is_still_sending(service: Served, plain: Plain) -> None:
    # IMG-UP-20
    with connected(service.url) as direct:
        for body in (bytes(2 * CAP), io.BytesIO(bytes(2 * CAP)), in_pieces(bytes(2 * CAP))):
            image_id = plain.image()
            answer = direct.image.put(
                f"/images/{image_id}/file", data=body, headers={"Content-Type": "application/octet-stream"}
            )
            assert answer.status_code == 413
            assert plain.show(image_id)["status"] == "queued"


def test_client_errors_are_exceptions_with_the_reason(sdk: Connection, plain: Plain, recorder: Proxy) -> None:
    # CL-01, CL-03, CL-04, CL-191
    taken = plain.image(b"x", protected=True)
    with pytest.raises(exceptions.BadRequestException, match="'min_disk' must be") as invalid:
        sdk.image.create_image("x", data=b"x", min_disk=99999999999, allow_duplicates=True, **RAW)
    with pytest.raises(exceptions.ForbiddenException, match="is protected"):
        sdk.image.delete_image(taken)
    with pytest.raises(exceptions.NotFoundException, match="No image found with ID"):
        sdk.image.get_image("no-such-image")
    with pytest.raises(exceptions.ConflictException, match="already exists"):
        sdk.image.create_image("x", data=b"x", id=taken, allow_duplicates=True, **RAW)
    refused = recorder.taken()
    assert {400, 403, 404, 409} <= {each.status for each in refused}
    assert invalid.value.status_code == 400
