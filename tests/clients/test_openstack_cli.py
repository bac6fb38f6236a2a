"""The openstack command against a real service: its output, and the requests it sends."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from plain_http import Plain
from reverse_proxy import Proxy
from service_settings import CAP
from terminal import Terminal

QEMU = ("--container-format", "bare", "--disk-format")


def test_an_image_made_without_a_terminal_is_active_and_empty(terminal: Terminal, recorder: Proxy) -> None:
    # CL-13, CL-60, CL-83
    made = terminal.openstack("image", "create", "nothing", *QEMU, "raw", "-f", "json").json
    assert (made["status"], made["size"]) == ("active", 0)
    assert made["checksum"] == hashlib.md5(b"").hexdigest()
    root, post, put, get = recorder.taken()
    assert (root.line, root.status) == ("GET /", 300)
    assert (post.line, post.status) == ("POST /v2/images", 201)
    assert (put.line, put.status, put.body) == (f"PUT /v2/images/{made['id']}/file", 204, b"")
    assert put.headers["transfer-encoding"] == "chunked"
    assert put.headers["x-openstack-image-size"] == "0"
    assert put.headers["x-auth-token"] == "notused"  # CL-12
    assert put.headers["accept"] == ""  # CL-12
    assert get.line == f"GET /v2/images/{made['id']}"


def test_image_create_reads_data_from_a_pipe(terminal: Terminal, recorder: Proxy) -> None:
    # CL-13
    data = bytes(range(256)) * 5000
    made = terminal.openstack("image", "create", "piped", *QEMU, "raw", "-f", "json", stdin=data).json
    assert (made["status"], made["size"]) == ("active", len(data))
    assert made["checksum"] == hashlib.md5(data).hexdigest()
    put = recorder.taken()[2]
    assert (put.headers["transfer-encoding"], "x-openstack-image-size" in put.headers) == ("chunked", False)


def test_image_create_uploads_a_file_with_all_options(terminal: Terminal, recorder: Proxy, tmp_path: Path) -> None:
    # CL-84
    data = bytes(range(256)) * 500
    (tmp_path / "disk").write_bytes(data)
    words = ["--file", tmp_path / "disk", "--property", "hw_disk_bus=virtio", "--tag", "one", "--tag", "two"]
    words += ["--min-disk", "2", "--min-ram", "64", "--community", "--protected"]
    made = terminal.openstack("image", "create", "full", *QEMU, "raw", *words, "-f", "json").json
    assert (made["status"], made["size"], made["visibility"], made["protected"]) == (
        "active",
        len(data),
        "community",
        True,
    )
    assert (made["min_disk"], made["min_ram"], sorted(made["tags"])) == (2, 64, ["one", "two"])
    assert made["checksum"] == hashlib.md5(data).hexdigest()
    assert made["properties"]["hw_disk_bus"] == "virtio"
    assert made["properties"]["os_hash_value"] == hashlib.sha512(data).hexdigest()
    _, post, put, _ = recorder.taken()
    assert post.json["owner_specified.openstack.object"] == "images/full"
    assert put.headers["content-length"] == put.headers["x-openstack-image-size"] == str(len(data))


def test_an_image_is_found_by_its_name_also_when_it_is_hidden(
    terminal: Terminal, recorder: Proxy, plain: Plain
) -> None:
    # CL-11, CL-80
    shown = plain.image(name="shown image")
    hidden = plain.image(name="secret", os_hidden=True)
    assert terminal.openstack("image", "show", "shown image", "-f", "value", "-c", "id").out.strip() == shown
    requests = recorder.taken()
    assert [(each.line, each.status) for each in requests[1:]] == [
        ("GET /v2/images/shown%20image", 404),
        ("GET /v2/images?name=shown+image", 200),
    ]
    assert terminal.openstack("image", "show", "secret", "-f", "value", "-c", "id").out.strip() == hidden
    assert recorder.lines()[1:] == [
        "GET /v2/images/secret",
        "GET /v2/images?name=secret",
        "GET /v2/images?os_hidden=True",  # CL-25
    ]


def test_a_name_that_two_images_have_is_refused(terminal: Terminal, plain: Plain) -> None:
    # CL-80
    plain.image(name="twin")
    plain.image(name="twin")
    said = terminal.openstack("image", "show", "twin", code=1).sentence
    assert said == "More than one Image exists with the name 'twin'."


def test_the_list_is_filtered_and_sorted(terminal: Terminal, recorder: Proxy, plain: Plain) -> None:
    # CL-81
    wanted = plain.image(b"12345", name="needle", tags=["sharp", "steel"], made_of="steel", visibility="private")
    plain.image(b"123", name="needle", tags=["sharp"], made_of="steel", visibility="private")
    plain.image(b"", name="needle", tags=["sharp", "steel"], visibility="private")
    words = ["--private", "--property", "made_of=steel", "--name", "needle", "--status", "active"]
    words += ["--tag", "sharp", "--tag", "steel", "--long", "-f", "json"]
    (found,) = terminal.openstack("image", "list", *words).json
    assert (found["ID"], found["Size"], found["Visibility"]) == (wanted, 5, "private")
    assert found["Checksum"] == hashlib.md5(b"12345").hexdigest()
    query = recorder.lines()[1]
    for part in ("visibility=private", "name=needle", "status=active", "tag=sharp", "tag=steel"):
        assert part in query

    listed = terminal.openstack("image", "list", "--name", "needle", "--sort", "id:desc", "-f", "json").json
    ids = [each["ID"] for each in listed]
    assert len(ids) == 3
    assert ids == sorted(ids, reverse=True)


def test_image_list_accepts_limit_and_marker(terminal: Terminal, recorder: Proxy, plain: Plain) -> None:
    # CL-81
    ids = [plain.image(name="row", tags=["rows"]) for _ in range(3)]
    words = ["--tag", "rows", "--limit", "1", "--marker", ids[2], "-f", "value", "-c", "ID"]
    assert terminal.openstack("image", "list", *words).out.split() == [ids[1]]
    assert any("limit=1" in line and f"marker={ids[2]}" in line for line in recorder.lines())


def test_set_replaces_what_an_image_has(terminal: Terminal, recorder: Proxy, plain: Plain) -> None:
    # CL-06, CL-07, CL-87, CL-90
    image_id = plain.image(b"data", tags=["old"], colour="red")
    words = ["--name", "new name", "--tag", "new", "--property", "colour=blue", "--property", "shape=round"]
    words += ["--min-disk", "3", "--min-ram", "5", "--protected", "--private", "--hidden", "--deactivate"]
    terminal.openstack("image", "set", *words, image_id)
    image = plain.show(image_id)
    expected: dict[str, Any] = {"name": "new name", "colour": "blue", "shape": "round", "min_disk": 3, "min_ram": 5}
    expected |= {"protected": True, "visibility": "private", "os_hidden": True, "status": "deactivated"}
    assert {key: image[key] for key in expected} == expected
    assert sorted(image["tags"]) == ["new", "old"]
    by_method = {each.method: each for each in recorder.taken()}
    assert by_method["POST"].line == f"POST /v2/images/{image_id}/actions/deactivate"
    assert by_method["POST"].body == b""
    patch = by_method["PATCH"]
    assert patch.headers["content-type"] == "application/openstack-images-v2.1-json-patch"
    assert {operation["op"] for operation in patch.json} <= {"add", "replace"}

    terminal.openstack("image", "set", "--activate", "--unhidden", "--unprotected", "--public", image_id)
    image = plain.show(image_id)
    assert (image["status"], image["os_hidden"], image["protected"]) == ("active", False, False)
    assert image["visibility"] == "public"


def test_unset_removes_tags_and_properties(terminal: Terminal, recorder: Proxy, plain: Plain) -> None:
    # CL-88, CL-89
    image_id = plain.image(tags=["keep", "drop"], kept="1", dropped="2")
    terminal.openstack("image", "unset", "--tag", "drop", "--property", "dropped", image_id)
    image = plain.show(image_id)
    assert (image["tags"], image["kept"], "dropped" in image) == (["keep"], "1", False)
    changes = [each for each in recorder.taken() if each.method != "GET"]
    assert changes[0].line == f"DELETE /v2/images/{image_id}/tags/drop"
    assert changes[1].json == [{"op": "remove", "path": "/dropped"}]


def test_save_writes_the_same_bytes(terminal: Terminal, recorder: Proxy, plain: Plain, tmp_path: Path) -> None:
    # CL-15, CL-91
    data = bytes(range(256)) * 4096
    image_id = plain.image(data, name="saved")
    terminal.openstack("image", "save", "--file", tmp_path / "copy", "saved")
    assert (tmp_path / "copy").read_bytes() == data
    assert recorder.lines()[-2:] == [f"GET /v2/images/{image_id}", f"GET /v2/images/{image_id}/file"]


def test_several_images_are_deleted_and_a_protected_one_is_named(terminal: Terminal, plain: Plain) -> None:
    # CL-114
    first, kept, last = (plain.image(b"x", name=name, protected=name == "kept") for name in ("first", "kept", "last"))
    said = terminal.openstack("image", "delete", "first", kept, last, code=1).sentence
    assert "Failed to delete image with name or ID" in said
    assert f"Image {kept} is protected" in said
    assert said.endswith("Failed to delete 1 of 3 images.")
    assert [plain.status_of(each) for each in (first, kept, last)] == [404, 200, 404]


def test_import_commands_report_that_import_is_unavailable(terminal: Terminal, tmp_path: Path) -> None:
    # CL-92, CL-93
    assert terminal.openstack("image", "import", "info", "-f", "json").json == {"import-methods": []}
    (tmp_path / "data").write_bytes(b"data")
    words = ["--import", "--file", tmp_path / "data", "imported"]
    assert (
        "does not support the image import method"
        in terminal.openstack("image", "create", *QEMU, "raw", *words, code=1).sentence
    )


def test_stores_are_listed_with_and_without_details(terminal: Terminal) -> None:
    # CL-71, CL-93
    listed = terminal.openstack("image", "stores", "list", "-f", "json").json
    assert [(each["ID"], each["Description"], each["Default"]) for each in listed] == [
        ("fast", "Quick disks", True),
        ("cheap", None, None),
    ]
    detailed = terminal.openstack("image", "stores", "list", "--detail", "-f", "json").json
    assert [each["ID"] for each in detailed] == ["fast", "cheap"]
    assert detailed[0]["Properties"]["data_dir"].endswith("/fast")


def test_members_are_listed_but_projects_need_an_identity_service(
    terminal: Terminal, plain: Plain, recorder: Proxy
) -> None:
    # CL-62, CL-94
    image_id = plain.image()
    plain.ask("POST", f"/v2/images/{image_id}/members", b'{"member": "p9"}', {"Content-Type": "application/json"})
    (member,) = terminal.openstack("image", "member", "list", image_id, "-f", "json").json
    assert member == {"Image ID": image_id, "Member ID": "p9", "Status": "pending"}
    recorder.taken()
    terminal.openstack("image", "add", "project", image_id, "p8", code=1)
    assert not [each for each in recorder.taken() if each.method == "POST"]


REFUSALS = {
    # What the service says reaches the user where the client asks for a form that it reads.
    400: (["create", *QEMU, "raw", "--min-disk", "99999999999", "x"], "'min_disk' must be from 0 to 2147483647"),
    403: (["set", "--property", "stores=mine", "{id}"], "Forbidden"),
    404: (["show", "no-such-image"], "No Image found for no-such-image"),
    409: (["create", *QEMU, "raw", "--id", "{id}", "x"], "409 Conflict: An image with ID {id} already exists"),
    413: (["create", *QEMU, "raw", "--file", "{big}", "too big"], "Request Entity Too Large"),
    415: (["create", *QEMU, "qcow2", "--file", "{text}", "no disk"], "Unsupported Media Type"),
}


@pytest.mark.parametrize("status", REFUSALS)
def test_client_error_is_one_sentence_and_exit_code_1(
    status: int, terminal: Terminal, recorder: Proxy, plain: Plain, tmp_path: Path
) -> None:
    # CL-01, CL-04, CL-191
    names = {"id": plain.image(), "big": str(tmp_path / "big"), "text": str(tmp_path / "text")}
    with Path(names["big"]).open("wb") as big:
        big.truncate(CAP + 1)
    Path(names["text"]).write_text("no disk at all")
    words, expected = REFUSALS[status]
    said = terminal.openstack("image", *(word.format(**names) for word in words), code=1).sentence
    assert expected.format(**names) in said
    requests = recorder.taken()
    assert status in {each.status for each in requests}
    if status in (413, 415):  # CL-86
        assert requests[-1].method == "DELETE"
        assert plain.status_of(requests[-1].target.rpartition("/")[2]) == 404


def test_an_image_is_found_by_a_name_with_a_colon(terminal: Terminal) -> None:
    made = terminal.openstack("image", "create", "ubuntu:22.04", *QEMU, "raw", "-f", "json").json
    # RUL-73
    assert terminal.openstack("image", "show", "ubuntu:22.04", "-f", "json").json["id"] == made["id"]
