"""The glance command against a real service: its output, and the requests it sends."""

import hashlib
import json
from pathlib import Path

import pytest
from plain_http import Plain
from reverse_proxy import Proxy
from service_settings import CAP
from terminal import Outcome, Terminal

DATA = bytes(range(256)) * 500
PATCH = "application/openstack-images-v2.1-json-patch"


def rows(outcome: Outcome) -> list[list[str]]:
    """Return the cells of the table that a command printed, without its head; a cell may go on in the next line."""
    found: list[list[str]] = []
    for line in [line for line in outcome.out.splitlines() if line.startswith("|")][1:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0]:
            found.append(cells)
        else:
            found[-1] = [f"{before} {after}".strip() for before, after in zip(found[-1], cells, strict=True)]
    return found


def table(outcome: Outcome) -> dict[str, str]:
    """Return a table of two columns."""
    return {key: value for key, value, *_ in rows(outcome)}


def test_first_command_requests_versions_and_schemas(
    terminal: Terminal, recorder: Proxy, bytecode: Path, tmp_path: Path
) -> None:
    # CL-21, CL-40, CL-63, CL-100
    fresh = Terminal(recorder.url, tmp_path, bytecode)
    fresh.glance("image-list")
    seen = {each.line: each.status for each in recorder.taken()}
    assert list(seen)[:4] == [
        "GET /versions",
        "GET /v2/schemas/image",
        "GET /v2/schemas/metadefs/namespace",
        "GET /v2/schemas/metadefs/resource_type",
    ]
    assert (seen["GET /versions"], seen["GET /v2/schemas/image"]) == (200, 200)
    assert "GET /v2/images?limit=200&sort_key=name&sort_dir=asc" in seen


def test_image_create_uploads_a_file_to_a_named_store(terminal: Terminal, recorder: Proxy, tmp_path: Path) -> None:
    # CL-12, CL-13, CL-28, CL-102
    (tmp_path / "disk").write_bytes(DATA)
    words = ["--name", "made", "--disk-format", "raw", "--container-format", "bare", "--store", "cheap"]
    words += ["--property", "colour=red", "--tags", "one", "--file", str(tmp_path / "disk")]
    made = table(terminal.glance("image-create", *words))
    assert (made["status"], made["size"], made["stores"]) == ("active", str(len(DATA)), "cheap")
    assert made["checksum"] == hashlib.md5(DATA).hexdigest()
    assert (made["colour"], made["tags"]) == ("red", '["one"]')
    put = next(each for each in recorder.taken() if each.method == "PUT")
    assert put.headers["transfer-encoding"] == "chunked"
    assert put.headers["x-openstack-image-size"] == str(len(DATA))
    assert put.headers["x-image-meta-store"] == "cheap"
    assert put.headers["accept"] == "*/*"


def test_image_without_data_stays_queued_until_image_upload(terminal: Terminal, plain: Plain, tmp_path: Path) -> None:
    # CL-102
    image_id = plain.image(name="later")
    (tmp_path / "disk").write_bytes(DATA)
    terminal.glance("image-upload", "--file", tmp_path / "disk", "--store", "cheap", image_id)
    shown = table(terminal.glance("image-show", image_id))  # CL-101
    assert (shown["status"], shown["virtual_size"]) == ("active", str(len(DATA)))


def test_image_list_follows_pages(terminal: Terminal, recorder: Proxy, plain: Plain) -> None:
    # CL-09, CL-24, CL-100
    ids = {plain.image(name=f"page {number}", walk="yes", tags=["walked"]) for number in range(5)}
    words = ["--page-size", "2", "--property-filter", "walk=yes", "--tag", "walked", "--sort", "name:asc"]
    assert [row[1] for row in rows(terminal.glance("image-list", *words))] == [
        f"page {number}" for number in range(5)
    ]
    pages = [each.target for each in recorder.taken() if each.target.startswith("/v2/images")]
    assert len(pages) == 3
    assert all("limit=2" in page and "walk=yes" in page and "tag=walked" in page for page in pages)
    sort = ["--sort", "name:desc,size:asc", "--property-filter", "walk=yes", "--limit", "2"]
    assert [row[1] for row in rows(terminal.glance("image-list", *sort))] == ["page 4", "page 3"]
    assert {row[0] for row in rows(terminal.glance("image-list", "--tag", "walked"))} == ids


def test_image_update_replaces_null_attributes_and_resends_tags(
    terminal: Terminal, recorder: Proxy, plain: Plain
) -> None:
    # CL-07, CL-08, CL-103
    image_id = plain.image(tags=["kept"], gone="1", stays="2")
    words = ["--name", "named", "--min-disk", "4", "--property", "added=3", "--remove-property", "gone"]
    changed = table(terminal.glance("image-update", image_id, *words))
    assert (changed["name"], changed["min_disk"], changed["added"], changed["stays"]) == ("named", "4", "3", "2")
    assert "gone" not in changed
    patch = next(each for each in recorder.taken() if each.method == "PATCH")
    assert (patch.status, patch.headers["content-type"]) == (200, PATCH)
    assert {"op": "replace", "path": "/name", "value": "named"} in patch.json
    assert {"op": "replace", "path": "/tags", "value": ["kept"]} in patch.json


def test_image_download_returns_the_uploaded_bytes(
    terminal: Terminal, recorder: Proxy, plain: Plain, tmp_path: Path
) -> None:
    # CL-15, CL-104
    image_id = plain.image(DATA)
    terminal.glance("image-download", "--file", tmp_path / "copy", image_id)
    assert (tmp_path / "copy").read_bytes() == DATA
    assert recorder.lines()[-2:] == [f"GET /v2/images/{image_id}", f"GET /v2/images/{image_id}/file"]
    empty = plain.image()  # CL-16
    assert (
        f"Image {empty} has no data." in terminal.glance("image-download", "--file", "none", empty, code=1).sentence
    )


def test_tags_are_added_and_removed(terminal: Terminal, recorder: Proxy, plain: Plain) -> None:
    # CL-105
    image_id = plain.image()
    assert rows(terminal.glance("image-tag-update", image_id, "tag1")) == [[image_id, "['tag1']"]]
    terminal.glance("image-tag-delete", image_id, "tag1")
    changes = [each for each in recorder.taken() if each.method != "GET"]
    assert [(each.line, each.status, each.body) for each in changes] == [
        (f"PUT /v2/images/{image_id}/tags/tag1", 204, b""),
        (f"DELETE /v2/images/{image_id}/tags/tag1", 204, b""),
    ]
    assert {each.headers["content-type"] for each in changes} == {"application/octet-stream"}  # CL-12


def test_members_are_added_accept_and_are_removed(terminal: Terminal, recorder: Proxy, plain: Plain) -> None:
    # CL-71, CL-106
    image_id = plain.image()
    assert rows(terminal.glance("member-create", image_id, "p9")) == [[image_id, "p9", "pending"]]
    assert rows(terminal.glance("member-update", image_id, "p9", "accepted")) == [[image_id, "p9", "accepted"]]
    assert table(terminal.glance("member-get", image_id, "p9"))["status"] == "accepted"
    assert rows(terminal.glance("member-list", "--image-id", image_id)) == [[image_id, "p9", "accepted"]]
    terminal.glance("member-delete", image_id, "p9")
    statuses = {each.method: each.status for each in recorder.taken() if "/members" in each.target}
    assert statuses == {"POST": 200, "PUT": 200, "GET": 200, "DELETE": 204}  # CL-17


def test_image_is_deactivated_and_reactivated(terminal: Terminal, plain: Plain) -> None:
    # CL-17
    image_id = plain.image(DATA)
    terminal.glance("image-deactivate", image_id)
    assert plain.show(image_id)["status"] == "deactivated"
    terminal.glance("image-reactivate", image_id)
    assert plain.show(image_id)["status"] == "active"


def test_stores_and_import_info_are_shown(terminal: Terminal, recorder: Proxy) -> None:
    # CL-93, CL-107, CL-112
    stores = json.loads(table(terminal.glance("stores-info"))["stores"])
    assert stores == [{"id": "fast", "description": "Quick disks", "default": "true"}, {"id": "cheap"}]
    detail = json.loads(table(terminal.glance("stores-info", "--detail"))["stores"])
    assert [(each["id"], each["type"]) for each in detail] == [("fast", "file"), ("cheap", "file")]
    assert json.loads(table(terminal.glance("import-info"))["import-methods"])["value"] == []
    assert rows(terminal.glance("usage")) == []
    asked = [each.line for each in recorder.taken() if "/info/" in each.target]
    assert asked == [f"GET /v2/info/{name}" for name in ("stores", "stores/detail", "import", "usage")]


def test_a_copy_is_deleted_from_its_store_only_while_another_is_left(terminal: Terminal, plain: Plain) -> None:
    # CL-112
    image_id = plain.image(DATA)
    said = terminal.glance("stores-delete", "--store", "fast", image_id, code=1).sentence
    assert "HTTP 403 Forbidden" in said
    assert plain.show(image_id)["status"] == "active"


def test_several_images_are_deleted(terminal: Terminal, plain: Plain) -> None:
    # CL-17, CL-114
    ids = [plain.image(DATA), plain.image()]
    terminal.glance("image-delete", *ids)
    assert [plain.status_of(each) for each in ids] == [404, 404]
    assert f"No image with an ID of '{ids[0]}' exists." in terminal.glance("image-delete", ids[0], code=1).sentence


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        # CL-42, CL-107, CL-108: what this service does not do is said in a sentence.
        (["image-import", "{id}"], "Import method 'glance-direct' is not valid for this cloud"),
        (["cache-list"], "Glance does not support image caching API (v2.14)"),
        (["location-add", "{id}", "--url", "http://x/"], "HTTP 403 Forbidden"),
    ],
    ids=lambda words: words[0] if isinstance(words, list) else "",
)
def test_unsupported_operations_are_reported(
    words: list[str], expected: str, terminal: Terminal, plain: Plain
) -> None:
    image_id = plain.image()
    assert expected in terminal.glance(*(word.format(id=image_id) for word in words), code=1).sentence


CREATE = ["image-create", "--container-format", "bare", "--file", "{file}", "--disk-format"]
REFUSALS = {
    400: (["image-update", "{id}", "--min-disk", "99999999999"], "HTTP 400 Bad Request: 'min_disk' must be"),
    403: (["image-update", "{id}", "--property", "os_glance_x=y"], "HTTP 403 Forbidden"),
    404: (["image-show", "nothing"], "HTTP 404 Not Found: No image found with ID nothing."),
    409: (["image-upload", "--file", "{file}", "{active}"], "HTTP 409 Conflict: Image {active} is active"),
    413: (["image-upload", "--file", "{big}", "{id}"], "HTTP 413 Request Entity Too Large"),
    415: ([*CREATE, "qcow2"], "HTTP 415 Unsupported Media Type"),
}


@pytest.mark.parametrize("status", REFUSALS)
def test_client_error_is_one_sentence_and_exit_code_1(
    status: int, terminal: Terminal, recorder: Proxy, plain: Plain, tmp_path: Path
) -> None:
    # CL-01, CL-02, CL-05, CL-114, CL-191
    (tmp_path / "text").write_text("no disk at all")
    with (tmp_path / "big").open("wb") as big:
        big.truncate(CAP + 1)
    names = {"id": plain.image(), "active": plain.image(b""), "file": tmp_path / "text", "big": tmp_path / "big"}
    words, expected = REFUSALS[status]
    said = terminal.glance(*(word.format(**names) for word in words), code=1).sentence
    assert expected.format(**names) in said
    assert "<" not in said
    assert status in {each.status for each in recorder.taken()}
