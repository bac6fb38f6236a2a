"""Images whose data is on another server: read, ranges, changes, uploads that name the store, deletion, discovery."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from remote import RULES, File, Remote, remote, respond, tripwire

from ferrotype.config.api import Api
from ferrotype.config.file_store import FileStore
from ferrotype.config.http_store import HttpStore
from ferrotype.config.stores import StoreConfig, Stores
from ferrotype.testing.client import OCTETS, OWNER, Client, Reply, client

DATA = bytes(range(256)) * 5000


@contextmanager
def serving_file(api: Client, file: File) -> Iterator[Remote]:
    """Run a server of others on the loop of the service."""
    running = remote(file)
    there = api.run(running.__aenter__())
    yield there
    api.run(running.__aexit__(None, None, None))


@contextmanager
def service(directory: Path, multi: bool = True) -> Iterator[Client]:
    web = StoreConfig("web" if multi else "os_glance_default", "http", options=HttpStore())
    disk = StoreConfig("disk", "file", options=FileStore(((directory / "disk", 0),)))
    stores = Stores(True, "disk", (disk, web)) if multi else Stores(False, web.id, (web,))
    with client(directory, stores=stores, filtering=RULES, api=Api(show_locations=True)) as api:
        yield api


def add(api: Client, image: Any, url: str, **more: Any) -> Reply:
    """Add a location by PATCH, as a client does."""
    value = {"url": url, "metadata": {}} | more
    return api.patch(image["self"], [{"op": "add", "path": "/locations/-", "value": value}], caller=OWNER)


def registered(api: Client, url: str) -> Any:
    """Return an image with the data at this URL."""
    image = api.image(caller=OWNER)
    reply = add(api, image, url)
    assert reply.status == 200, reply.text
    return reply.json


@pytest.mark.parametrize("ranges", [True, False])
def test_data_of_another_server_is_downloaded_whole_and_in_part(tmp_path: Path, ranges: bool) -> None:
    with service(tmp_path) as api, serving_file(api, File(DATA, ranges=ranges)) as there:
        image = registered(api, there.url())
        assert (image["status"], image["size"], image["stores"]) == ("active", len(DATA), "web")
        assert image["locations"] == [{"url": there.url(), "metadata": {"store": "web"}}]
        whole = api.get(image["file"])
        assert (whole.status, whole.body, whole.headers["content-length"]) == (200, DATA, str(len(DATA)))
        part = api.get(image["file"], headers={"range": "bytes=1000-1999"})
        assert (part.status, part.body) == (206, DATA[1000:2000])  # STOR-153, IMG-DL-16
        assert api.request("HEAD", image["file"]).status == 200


def test_data_that_changed_is_503_and_never_other_bytes(tmp_path: Path) -> None:
    file = File(DATA)
    with service(tmp_path) as api, serving_file(api, file) as there:
        image = registered(api, there.url())
        file.data, file.etag = DATA[::-1], '"v2"'
        reply = api.get(image["file"])
        assert (reply.status, "retry-after" in reply.headers) == (503, True)  # STOR-42, STOR-56
        assert str(there.port) not in reply.text
        file.data, file.etag = DATA, '"v1"'
        assert api.get(image["file"]).body == DATA


def test_the_version_is_remembered_with_the_location_and_not_shown(tmp_path: Path) -> None:
    with service(tmp_path) as api, serving_file(api, File(DATA, '"canary"')) as there:
        image = registered(api, there.url())
        for path in (image["self"], f"{image['self']}/locations", "/v2/images"):
            assert "canary" not in api.get(path).text and "validators" not in api.get(path).text


@pytest.mark.parametrize("multi", [True, False])
def test_an_upload_into_the_store_is_410_and_the_image_stays_queued(tmp_path: Path, multi: bool) -> None:
    with service(tmp_path, multi) as api:
        image = api.image()
        headers = {"content-type": OCTETS} | ({"x-image-meta-store": "web"} if multi else {})
        reply = api.put(f"{image['self']}/file", body=DATA, headers=headers)
        assert reply.status == 410  # STOR-22, RUL-76
        assert "Adding images to store is disabled" in reply.text
        assert api.get(image["self"]).json["status"] == "queued"


@pytest.mark.parametrize("multi", [True, False])
def test_deleting_the_image_leaves_the_file_of_others(tmp_path: Path, multi: bool) -> None:
    with service(tmp_path, multi) as api, serving_file(api, File(DATA)) as there:
        image = registered(api, there.url())
        assert api.get(image["file"]).body == DATA
        before = len(there.heads)
        assert api.delete(image["self"]).status == 204  # STOR-150
        assert api.get(image["self"]).status == 404
        assert len(there.heads) == before and all(head.startswith("GET ") for head in there.heads)


def test_discovery_shows_the_store_as_read_only(tmp_path: Path) -> None:
    with service(tmp_path) as api:
        row = {"id": "web", "read-only": "true"}
        assert api.get("/v2/info/stores", caller=OWNER).json["stores"][1] == row  # DISC-34
        shown = api.get("/v2/info/stores/detail").json["stores"][1]
        assert shown == {**row, "type": "http", "properties": {}, "weight": 0}  # DISC-51, DISC-86


def test_several_stores_of_the_type_are_listed_each(tmp_path: Path) -> None:
    entries = tuple(StoreConfig(name, "http", options=HttpStore()) for name in ("one", "two"))
    with client(tmp_path, stores=Stores(True, "one", entries), filtering=RULES) as api:
        found = api.get("/v2/info/stores").json["stores"]
        assert [(each["id"], each["read-only"]) for each in found] == [("one", "true"), ("two", "true")]  # DISC-40


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:{port}/x", "http://localhost:{port}/x", "http://2130706433:{port}/x", "http://10.0.0.5/x",
     "http://[::ffff:127.0.0.1]:{port}/x", "http://169.254.169.254/latest/meta-data/", "http://nothing.invalid/x"],
)  # fmt: skip
def test_a_location_at_an_internal_address_is_refused_and_nothing_is_connected_to(tmp_path: Path, url: str) -> None:
    with service(tmp_path) as api:
        tripped = tripwire()
        internal = api.run(tripped.__aenter__())
        image = api.image(caller=OWNER)
        reply = add(api, image, url.format(port=internal.port))
        assert reply.status == 400  # SEC-33, SEC-34, SEC-35, IMP-56c
        assert "127.0.0.1" not in reply.text and "10.0.0.5" not in reply.text
        assert api.get(image["self"]).json["status"] == "queued"
        api.run(tripped.__aexit__(None, None, None))


def test_a_location_whose_server_fails_is_refused_alike(tmp_path: Path) -> None:
    texts = set()
    for status in (403, 404, 500):
        answer: Any = respond(f"HTTP/1.1 {status} Status\nContent-Length: 0")
        with service(tmp_path / str(status)) as api, serving_file(api, answer) as there:
            reply = add(api, api.image(caller=OWNER), there.url("/x?signature=canary"))
            assert reply.status == 400 and "canary" not in reply.text
            texts.add(reply.text)
    assert len(texts) == 1  # SEC-45


def test_a_second_location_must_have_the_same_data(tmp_path: Path) -> None:
    with service(tmp_path) as api, serving_file(api, File(DATA)) as one, serving_file(api, File(DATA[::-1])) as other:
        image = registered(api, one.url())
        assert add(api, image, other.url()).status == 409  # SEC-52
        with serving_file(api, File(DATA)) as same:
            assert add(api, image, same.url()).status == 200
            one.handler = respond("HTTP/1.1 500 Status\nContent-Length: 0")
            assert api.get(image["file"]).body == DATA


def test_a_copy_that_cannot_be_read_in_part_is_tried_last(tmp_path: Path) -> None:
    with service(tmp_path) as api, serving_file(api, File(DATA, ranges=False)) as first:
        image = registered(api, first.url())
        with serving_file(api, File(DATA)) as second:
            assert add(api, image, second.url()).status == 200
            before = len(first.heads)
            part = api.get(image["file"], headers={"range": "bytes=5-9"})
            assert (part.status, part.body) == (206, DATA[5:10])
            assert len(first.heads) == before  # STOR-153
            second.handler = respond("HTTP/1.1 500 Status\nContent-Length: 0")
            assert api.get(image["file"]).body == DATA
