"""Commands and libraries that add, change and remove locations (CL-108, CL-154), against a real service."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from foreign_objects import DATA
from glanceclient import Client, exc
from openstack.connection import Connection
from plain_http import Plain
from service_settings import CAP, SETTINGS
from terminal import Terminal

from ferrotype.testing.process import Served, served

MORE = """
[DEFAULT]
enabled_backends = fast:file, cheap:file, mem:memory
show_multiple_locations = true
show_image_direct_url = true
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that shows locations and has a store with data of others."""
    home = tmp_path_factory.mktemp("service")
    (home / "api.conf").write_text(SETTINGS.format(home=home, cap=CAP))
    (home / "more.conf").write_text(MORE)
    files = ["--config-file", str(home / "api.conf"), "--config-file", str(home / "more.conf")]
    here = {"PYTHONPATH": str(Path(__file__).parent)}
    with served(home, *files, program=("foreign_objects", "serve"), environment=here) as running:
        yield running


# CL-108
def test_glance_commands_add_change_and_remove_locations(terminal: Terminal, plain: Plain) -> None:
    image = plain.image()
    claimed = ["--hash-algo", "sha512", "--hash-value", hashlib.sha512(DATA).hexdigest()]
    terminal.glance("location-add", image, "--url", "memory://mem/one", "--metadata", '{"a": "b"}', *claimed)
    now = plain.show(image)
    assert (now["status"], now["size"], now["stores"]) == ("active", len(DATA), "mem")
    assert now["os_hash_value"] == claimed[-1]
    terminal.glance("location-add", image, "--url", "memory://mem/two")
    terminal.glance("location-update", image, "--url", "memory://mem/two", "--metadata", '{"c": "d"}')
    assert plain.show(image)["locations"] == [
        {"url": "memory://mem/one", "metadata": {"a": "b", "store": "mem"}},
        {"url": "memory://mem/two", "metadata": {"c": "d", "store": "mem"}},
    ]
    assert plain.ask("GET", f"/v2/images/{image}/file").body == DATA
    terminal.glance("location-delete", image, "--url", "memory://mem/one")
    assert [each["url"] for each in plain.show(image)["locations"]] == ["memory://mem/two"]
    refusals = {
        ("location-delete", "--url", "memory://mem/two"): "403",
        ("location-add", "--url", "memory://mem/other"): "409",
        ("location-add", "--url", "file:///etc/passwd"): "400",
        ("location-add", "--url", "memory://mem/missing"): "400",
    }
    for (command, *words), status in refusals.items():
        assert f"HTTP {status}" in terminal.glance(command, image, *words, code=1).sentence
    terminal.glance("image-delete", image)
    again = plain.image()
    terminal.glance("location-add", again, "--url", "memory://mem/one")  # It was not deleted with the image.
    assert plain.ask("GET", f"/v2/images/{again}/file").body == DATA


def test_location_update_keeps_data_of_ours(terminal: Terminal, plain: Plain) -> None:
    image = plain.image(b"x")
    url = plain.show(image)["direct_url"]
    terminal.glance("location-update", image, "--url", url, "--metadata", '{"a": "b"}')
    assert plain.show(image)["locations"] == [{"url": url, "metadata": {"a": "b", "store": "fast"}}]
    assert plain.ask("GET", f"/v2/images/{image}/file").body == b"x"


# CL-154
def test_the_library_of_glance_works_on_locations(glance: Client, plain: Plain) -> None:
    image = plain.image()
    assert glance.images.add_location(image, "memory://mem/one", {})["status"] == "active"
    assert glance.images.add_location(image, "memory://mem/two", {})["stores"] == "mem,mem"
    glance.images.update_location(image, "memory://mem/two", {"x": "y"})
    glance.images.delete_locations(image, {"memory://mem/one"})
    with pytest.raises(exc.HTTPForbidden):
        glance.images.delete_locations(image, {"memory://mem/two"})
    with pytest.raises(exc.HTTPBadRequest):
        glance.images.add_location(image, "file:///etc/passwd", {})


def test_openstacksdk_works_on_locations(sdk: Connection, plain: Plain) -> None:
    image = plain.image()
    value = {"url": "memory://mem/one", "metadata": {"a": "b"}}
    sent = sdk.image.patch(
        f"/images/{image}",
        data=json.dumps([{"op": "add", "path": "/locations/-", "value": value}]),
        headers={"Content-Type": "application/openstack-images-v2.1-json-patch"},
    )
    assert sent.status_code == 200
    found = sdk.image.get_image(image)
    assert (found.status, found.direct_url, found.locations[0]["url"]) == ("active", value["url"], value["url"])
    assert b"".join(sdk.image.download_image(image, stream=True).iter_content(65536)) == DATA
    (location,) = sdk.image.image_locations(image)
    assert (location.url, location.metadata) == (value["url"], {"a": "b", "store": "mem"})
    sdk.image.delete_image(image)
