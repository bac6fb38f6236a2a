"""A file cannot be read, is slow or hangs while the kernel sends it: the rest comes from another copy."""

import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from failover import TROUBLES, Listening, image_in, repair, service, settled
from fuse_file import READ_AHEAD, fuse_file
from needs import need
from uploads import ask

from ferrotype.config.api import Api
from ferrotype.streams import pace

SIZE = (6 << 20) + 12_345
DATA = random.Random(1).randbytes(SIZE)
#: not at the border of a page
MIDDLE = (3 << 20) + 1234


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with service(tmp_path_factory.mktemp("files"), api=Api(show_locations=True)) as socket:
        yield socket


@pytest.fixture(autouse=True)
def well(socket: Listening) -> Iterator[None]:
    repair(socket.api)
    yield
    assert settled()


def file_in(image: Any, store: str) -> Path:
    (url,) = (each["url"] for each in image["locations"] if each["metadata"]["store"] == store)
    return Path(url.removeprefix("file://"))


@pytest.mark.parametrize("other", ["ram", "disk2"])
@pytest.mark.parametrize("first", [0, 4321])
def test_the_rest_of_a_file_that_cannot_be_read_comes_from_another_copy(
    socket: Listening, other: str, first: int, caplog: pytest.LogCaptureFixture
) -> None:
    image = image_in(socket.api, DATA, "disk", other)
    headers = {"range": f"bytes={first}-"} if first else {}
    with fuse_file(file_in(image, "disk")) as file:
        file.fails_from = MIDDLE
        got = socket.get(f"{image['file']}?prefer=disk", headers)
    assert (got.whole, got.body) == (True, DATA[first:])  # STOR-42
    assert "cannot read the file: Input/output error" in caplog.text
    assert ask(socket.api, "SELECT count(*) FROM blobs WHERE damaged_at IS NOT NULL") == 0


def test_without_another_copy_the_connection_is_aborted_where_reading_failed(socket: Listening) -> None:
    image = image_in(socket.api, DATA, "disk")
    with fuse_file(file_in(image, "disk")) as file:
        file.fails_from = MIDDLE
        got = socket.get(image["file"])
    assert not got.whole and DATA.startswith(got.body) and len(got.body) <= MIDDLE


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["slow_from", "hangs_from"])
def test_a_file_that_comes_too_slowly_is_given_up_for_another_copy(
    socket: Listening, fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pace, "SLOW_SECONDS", 1.0)
    image = image_in(socket.api, DATA, "disk", "ram")
    before = set(socket.descriptors())
    with fuse_file(file_in(image, "disk")) as file:
        setattr(file, fault, MIDDLE)
        began = time.monotonic()
        got = socket.get(f"{image['file']}?prefer=disk")
        assert (got.whole, got.body) == (True, DATA)
        assert 0.9 < time.monotonic() - began < 20
        assert "copy is too slow, another one is read" in caplog.text
        assert socket.descriptors() - before  # The call that hangs still uses them.
    assert socket.closes(before)


@pytest.mark.slow
def test_a_slow_file_without_another_copy_is_sent_to_its_end(
    socket: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "SLOW_SECONDS", 0.2)
    image = image_in(socket.api, DATA, "disk")
    with fuse_file(file_in(image, "disk")) as file:
        file.slow_from, file.rate = SIZE - 2 * READ_AHEAD, 2 * READ_AHEAD
        assert socket.get(image["file"]).body == DATA


def test_curl_gets_the_whole_image(socket: Listening, tmp_path: Path) -> None:
    image = image_in(socket.api, DATA, "disk", "ram")
    for part, expected in ((f"0-{SIZE - 1}", DATA), ("100-", DATA[100:])):
        repair(socket.api)
        with fuse_file(file_in(image, "disk")) as file:
            file.fails_from = MIDDLE
            words = [str(need("curl")), "-sSf", "-r", part, "-o", str(tmp_path / "got"), "-H"]
            words += [f"x-auth-token: {socket.headers['x-auth-token']}", f"{socket.url}{image['file']}?prefer=disk"]
            subprocess.run(words, check=True, timeout=60)
        assert (tmp_path / "got").read_bytes() == expected
        assert TROUBLES.opened == ["disk", "ram"]


def test_curl_fails_where_no_copy_can_be_read_to_its_end(socket: Listening, tmp_path: Path) -> None:
    image = image_in(socket.api, DATA, "disk")
    with fuse_file(file_in(image, "disk")) as file:
        file.fails_from = MIDDLE
        words = [str(need("curl")), "-sS", "-o", str(tmp_path / "got"), "-H"]
        words += [f"x-auth-token: {socket.headers['x-auth-token']}", f"{socket.url}{image['file']}"]
        done = subprocess.run(words, check=False, timeout=60, capture_output=True)
    assert done.returncode in (18, 56)  # partial file; failure in receiving
    assert DATA.startswith((tmp_path / "got").read_bytes())
