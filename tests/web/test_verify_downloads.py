"""``verify_downloads``: data with a wrong digest never reach a client whole."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from failover import TROUBLES, Fault, Listening, image_in, repair, service, settled, soon
from uploads import ask, execute

from ferrotype.config.api import Api
from ferrotype.stores.driver import READ_SIZE
from ferrotype.testing.client import Client

SIZE = 2 * READ_SIZE + 70_001
DATA = random.Random(1).randbytes(SIZE)


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with service(tmp_path_factory.mktemp("verified"), api=Api(show_locations=True)) as socket:
        yield socket


@pytest.fixture(scope="module")
def api(socket: Listening) -> Client:
    return socket.api


@pytest.fixture(autouse=True)
def well(api: Client) -> Iterator[None]:
    repair(api)
    configure(api)
    yield
    assert settled()
    assert soon(lambda: not api.application.ctx.pools.budget.used)


def configure(api: Client, **changes: Any) -> None:
    config = api.application.ctx.config
    api.application.reload(replace(config, api=Api(show_locations=True, **changes)))


def damaged(api: Client) -> int:
    return int(ask(api, "SELECT count(*) FROM blobs WHERE damaged_at IS NOT NULL"))


def flip(image: Any, store: str, place: int) -> None:
    """Change a byte of the copy in a store of files."""
    (url,) = (each["url"] for each in image["locations"] if each["metadata"]["store"] == store)
    with Path(url.removeprefix("file://")).open("r+b") as file:
        file.seek(place)
        old = file.read(1)
        file.seek(place)
        file.write(bytes([old[0] ^ 1]))


# RUL-93
@pytest.mark.parametrize("place", [0, READ_SIZE, SIZE - 1])
@pytest.mark.parametrize("headers", [{}, {"range": "bytes=0-"}])
def test_an_altered_copy_never_reaches_a_client_whole_and_the_next_request_reads_another(
    api: Client, socket: Listening, place: int, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    image = image_in(api, DATA, "ram", "disk")
    TROUBLES.faults["ram"] = Fault(flipped=place)
    got = socket.get(image["file"], headers)
    assert not got.whole and len(got.body) <= 2 * READ_SIZE
    assert "its sha512 is " in caplog.text and "Restore the object from a backup" in caplog.text
    assert damaged(api) == 1
    again = socket.get(image["file"], headers)
    assert (again.whole, again.body) == (True, DATA)
    assert TROUBLES.opened == ["ram", "disk"]


def test_data_of_one_chunk_come_from_another_copy_at_once(api: Client, socket: Listening) -> None:
    image = image_in(api, DATA[:READ_SIZE], "ram", "ram2", "disk")
    TROUBLES.faults |= {"ram": Fault(flipped=5), "ram2": Fault(flipped=READ_SIZE - 1)}
    got = socket.get(f"{image['file']}?prefer=ram,ram2")
    assert (got.status, got.body) == (200, DATA[:READ_SIZE])
    assert TROUBLES.opened == ["ram", "ram2", "disk"]
    assert damaged(api) == 2


def test_data_of_one_chunk_without_a_good_copy_are_an_error(api: Client, socket: Listening) -> None:
    image = image_in(api, b"the data", "ram")
    TROUBLES.faults["ram"] = Fault(flipped=5)
    assert socket.get(image["file"]).status == 503


def test_the_digest_covers_data_of_several_copies(
    api: Client, socket: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    image = image_in(api, DATA, "ram", "ram2")
    TROUBLES.faults |= {"ram": Fault(fails=READ_SIZE + 7)}
    assert socket.get(image["file"]).body == DATA
    repair(api)
    TROUBLES.faults |= {"ram": Fault(fails=READ_SIZE + 7, flipped=9)}
    assert not socket.get(image["file"]).whole
    assert "data of several copies does not match the digest" in caplog.text
    assert damaged(api) == 0  # Either may have been the altered one.


@pytest.mark.parametrize("mode", ["streamed", "always", "never"])
@pytest.mark.parametrize("store", ["ram", "disk"])
def test_which_downloads_are_checked(api: Client, socket: Listening, mode: str, store: str) -> None:
    configure(api, verify_downloads=mode)
    image = image_in(api, DATA, store)
    altered = DATA[:7] + bytes([DATA[7] ^ 1]) + DATA[8:]
    assert socket.get(image["file"]).body == DATA
    if store == "ram":
        TROUBLES.faults["ram"] = Fault(flipped=7)
    else:
        flip(image, "disk", 7)
    got = socket.get(image["file"])
    checked = mode == "always" or (mode == "streamed" and store == "ram")
    assert (got.whole, got.body == altered) == (not checked, not checked)
    assert damaged(api) == int(checked)
    part = socket.get(image["file"], {"range": "bytes=1-20"})
    assert (part.status, part.body) == (206, altered[1:21])  # A part has no digest.


# What is cheaper than md5 is used where the image has it; md5 otherwise.
@pytest.mark.parametrize(("algorithm", "used"), [("sha256", "sha256"), ("sha3_512", "md5"), ("md5", "md5")])
def test_the_cheapest_digest_is_used(
    api: Client, socket: Listening, algorithm: str, used: str, caplog: pytest.LogCaptureFixture
) -> None:
    configure(api, hashing_algorithm=algorithm)
    image = image_in(api, DATA, "ram")
    TROUBLES.faults["ram"] = Fault(flipped=7)
    assert not socket.get(image["file"]).whole
    assert f"its {used} is " in caplog.text
    assert hashlib.new(used, DATA, usedforsecurity=False).hexdigest() in caplog.text


def test_an_image_without_a_digest_is_sent_unchecked(api: Client, socket: Listening) -> None:
    image = image_in(api, DATA, "ram")
    execute(api, f"UPDATE images SET checksum = NULL, os_hash_value = NULL WHERE id = '{image['id']}'")
    TROUBLES.faults["ram"] = Fault(flipped=7)
    assert socket.get(image["file"]).whole
