"""Store failures during an upload: the status, a helpful log line, and no orphans."""

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mounts import mounted, remount
from uploads import (
    PausedBody,
    assert_consistent,
    execute,
    files,
    ledger,
    queued_again,
    run_cleanup,
    upload,
    uploading,
)

from ferrotype.testing.client import Client, client

MIB = 1 << 20


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "fast", 4 * MIB) as place:
        yield place


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Client]:
    with client(tmp_path, background=False) as api:
        yield api


@pytest.mark.parametrize("known", [True, False])
def test_a_full_disk_is_413_and_leaves_no_file(
    small: Path, api: Client, tmp_path: Path, known: bool, caplog: pytest.LogCaptureFixture
) -> None:
    image = api.image()
    body = bytes(6 * MIB)
    # IMG-UP-20, STOR-106, SEC-63
    reply = upload(api, image, body if known else [body[:65536]] * 96)
    assert (reply.status, "no space" in reply.text) == (413, True)
    reason = (
        f"no directory has {6 * MIB} bytes free: {small}"
        if known
        else f"No space left for 2097152 more bytes in {small}"
    )
    assert any(line.startswith("store error: store=fast ") and reason in line for line in caplog.messages)
    queued_again(api, tmp_path, image)
    assert upload(api, image, bytes(2 * MIB)).status == 204  # IMG-UP-26
    assert_consistent(api, tmp_path)


def test_two_uploads_that_exceed_the_disk_together(small: Path, api: Client, tmp_path: Path) -> None:
    first, second = api.image(), api.image()
    with uploading(api, first, PausedBody(bytes(2 * MIB), bytes(MIB))) as answer:
        # SEC-63
        assert upload(api, second, [bytes(MIB)] * 3).status == 413
        queued_again_while(api, second)
    assert answer.result().status == 204
    assert_consistent(api, tmp_path)


def queued_again_while(api: Client, image: dict[str, str]) -> None:
    assert api.get(image["self"]).json["status"] == "queued"
    assert [row for row in ledger(api) if row.image_id == image["id"]] == []


def test_a_full_store_is_still_tried(
    small: Path, api: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filler, image = small / "filler", api.image()
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(65536)):
            pass
    api.run(api.application.ctx.stores.probe())
    assert f"store is full: store=fast: cannot write to {small}: No space left on device." in caplog.text
    assert [each.get("read-only") for each in api.get("/v2/info/stores").json["stores"]] == ["true", None]
    assert upload(api, image, [b"x" * 65536]).status == 413  # IMG-UP-20
    filler.unlink()
    assert upload(api, image, b"x").status == 204
    assert_consistent(api, tmp_path)


def test_a_store_that_turns_read_only_is_503(
    small: Path, api: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image, other = api.image(), api.image(b"other")
    remount(small, "ro")
    try:
        # IMG-UP-24, SEC-63
        reply = upload(api, image, b"x")
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        assert str(small) not in reply.text
        assert f": cannot write to {small}: Read-only file system" in caplog.text
        queued_again(api, tmp_path, image)
        api.run(api.application.ctx.stores.probe())
        assert f"store is read-only: store=fast: cannot write to {small}: Read-only file system." in caplog.text
        assert upload(api, image, b"x").status == 503  # IMG-UP-08, STOR-09, STOR-22
        queued_again(api, tmp_path, image)
        assert upload(api, image, b"x", {"x-image-meta-store": "cheap"}).status == 204
        # What is there can be read, and a deleted image is gone although its bytes cannot go yet.
        assert api.get(f"{other['self']}/file").body == b"other"
        assert api.delete(other["self"]).status == 204
        assert "deleting an object failed; will retry in" in caplog.text
        assert len(files(tmp_path)) == 2
    finally:
        remount(small, "rw")
    api.run(api.application.ctx.stores.probe())
    assert "store accepts images again: store=fast" in caplog.text
    eventually_settled(api, tmp_path)
    assert upload(api, api.image(), b"x").status == 204


def eventually_settled(api: Client, directory: Path) -> None:
    """Assert that the store is consistent after the retries."""
    execute(api, "UPDATE blobs SET remove_at = 0 WHERE state = 'deleting'")
    run_cleanup(api)
    assert_consistent(api, directory)


def test_a_file_in_place_of_the_directory_is_503(
    api: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "fast").rename(tmp_path / "aside")
    (tmp_path / "fast").write_bytes(b"")
    image = api.image()
    # IMG-UP-24
    assert upload(api, image, b"x").status == 503
    assert f"cannot write to {tmp_path / 'fast'}: Not a directory" in caplog.text
    assert api.get(image["self"]).json["status"] == "queued"
    (tmp_path / "fast").unlink()
    # Nor is a new one created: the offline one may have objects.
    assert upload(api, image, b"x").status == 503
    assert not (tmp_path / "fast").exists()
    (tmp_path / "aside").rename(tmp_path / "fast")
    assert upload(api, image, b"x").status == 204
    eventually_settled(api, tmp_path)


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Run as another user: root may write everywhere."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_directory_without_permission_is_503(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with client(tmp_path, background=False) as api:
        (tmp_path / "fast").chmod(0o500)
        image = api.image()
        with unprivileged():
            # IMG-UP-24, SEC-63
            assert upload(api, image, b"x").status == 503
        assert "store error: store=fast request=" in caplog.text
        assert ": Permission denied" in caplog.text
        (tmp_path / "fast").chmod(0o700)
        assert api.get(image["self"]).json["status"] == "queued"
        eventually_settled(api, tmp_path)
        assert upload(api, image, b"x").status == 204


def test_failing_logs_say_which_request_and_which_store(
    api: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(tmp_path / "fast")
    (tmp_path / "fast").write_bytes(b"")
    caplog.set_level(logging.ERROR)
    reply = upload(api, api.image(), b"x", {"x-openstack-request-id": "req-mine"})
    assert reply.status == 503
    assert any("store=fast" in line and "req-mine" in line for line in caplog.messages)
