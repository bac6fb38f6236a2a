"""``user_storage_quota``: never exceeded, and released exactly."""

import asyncio
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from uploads import PausedBody, ask, assert_consistent, files, ledger, queued_again, upload, uploading

from ferrotype.config.limits import Limits
from ferrotype.testing.client import ADMIN, OWNER, STRANGER, Client, client

MIB = 1 << 20
QUOTA = 10 * MIB


@pytest.fixture
def api(tmp_path: Path, database_url: str) -> Iterator[Client]:
    limits = Limits(user_storage_quota=QUOTA)
    with client(tmp_path, background=False, database_url=database_url, limits=limits) as api:
        api.caller = OWNER
        yield api


def used(api: Client, project: str = "p1") -> int:
    """Return what the project is charged by its counter, which is the ledger's sum."""
    counter = ask(api, f"SELECT coalesce(max(stored), 0) FROM usage WHERE project = '{project}'")
    total = ask(api, f"SELECT coalesce(sum(charged), 0) FROM blobs WHERE project = '{project}'")
    assert int(counter) == int(total)
    return int(counter)


def sized(size: int, known: bool) -> Any:
    return bytes(size) if known else [bytes(min(65536, size - start)) for start in range(0, size, 65536)]


@pytest.mark.parametrize("known", [True, False])
def test_a_quota_can_be_filled_to_the_last_byte(api: Client, tmp_path: Path, known: bool) -> None:
    first, last, over = api.image(), api.image(), api.image()
    assert upload(api, first, sized(QUOTA - 1000, known)).status == 204
    # QUO-02, QUO-10, IMG-UP-20, IMG-UP-21, IMG-WART-06
    assert upload(api, over, sized(1001, known)).status == 413
    queued_again(api, tmp_path, over)
    assert upload(api, last, sized(1000, known)).status == 204
    assert used(api) == QUOTA
    assert upload(api, over, sized(1, known)).status == 413
    assert api.delete(first["self"]).status == 204
    assert used(api) == 1000
    assert upload(api, over, sized(1, known)).status == 204  # IMG-UP-26
    assert_consistent(api, tmp_path)


def test_with_no_quota_left_an_unknown_size_is_refused_at_once(api: Client, tmp_path: Path) -> None:
    asked = []

    async def body() -> Any:
        asked.append(True)
        yield b"x"

    assert upload(api, api.image(), bytes(QUOTA)).status == 204
    image = api.image()
    assert upload(api, image, body()).status == 413  # QUO-10, IMG-UP-27
    assert asked == []
    queued_again(api, tmp_path, image)


def test_a_stream_is_refused_where_the_quota_ends(api: Client, tmp_path: Path) -> None:
    sent = []

    async def endless() -> Any:
        while True:
            sent.append(65536)
            yield bytes(65536)

    image = api.image()
    assert upload(api, image, endless()).status == 413  # QUO-10, SEC-85
    assert sum(sent) < QUOTA + 8 * MIB
    queued_again(api, tmp_path, image)
    assert used(api) == 0


def test_the_owner_is_charged_for_an_upload_by_an_administrator(api: Client) -> None:
    theirs = api.image(caller=STRANGER)
    assert upload(api, theirs, bytes(1000), caller=ADMIN).status == 204
    assert (used(api, "p2"), used(api, "admins"), used(api)) == (1000, 0, 0)
    assert upload(api, api.image(), bytes(QUOTA)).status == 204  # another project has a quota of its own
    # Refusals for who asks come before those for how much.
    assert upload(api, theirs, bytes(QUOTA + 1), caller=OWNER).status == 404


def test_an_aborted_upload_releases_its_charge_at_once(api: Client, tmp_path: Path) -> None:
    image, other = api.image(), api.image()
    with uploading(api, image, PausedBody(bytes(MIB)), headers={"x-openstack-image-size": str(QUOTA)}) as answer:
        assert used(api) == QUOTA
        assert upload(api, other, b"x").status == 413  # SEC-87: what is reserved counts
    assert answer.result().status == 400
    assert used(api) == 0
    assert upload(api, other, bytes(QUOTA)).status == 204
    assert_consistent(api, tmp_path)


def test_excess_reservation_is_released_at_the_end(api: Client) -> None:
    with uploading(api, api.image(), PausedBody(bytes(2 * MIB), bytes(MIB))) as answer:
        assert 2 * MIB <= used(api) <= QUOTA
    assert answer.result().status == 204
    assert used(api) == 3 * MIB


def test_concurrent_uploads_never_exceed_the_quota(api: Client, tmp_path: Path) -> None:
    """64 uploads of known and unknown sizes that fit alone and not together, some of them broken off."""
    dice = random.Random(20)
    images = [api.image() for _ in range(64)]
    sizes = [dice.randrange(1, 600_000) for _ in images]
    most = []

    async def body(number: int) -> Any:
        left = sizes[number] if number % 8 else sizes[number] // 2
        while left:
            yield bytes(min(50_000, left))
            left -= min(50_000, left)
            await asyncio.sleep(0.002)

    def one(number: int) -> int:
        known = {"x-openstack-image-size": str(sizes[number])} if number % 2 == 0 else {}
        status = upload(api, images[number], body(number), known).status
        most.append(used_now(api))
        return status

    with ThreadPoolExecutor(32) as pool:
        statuses = list(pool.map(one, range(64)))
    # SEC-87, QUO-02, QUO-10
    assert max(most) <= QUOTA
    assert set(statuses) <= {204, 400, 413}
    kept = sum(size for size, status in zip(sizes, statuses, strict=True) if status == 204)
    assert kept == used(api) == sum(row.size or 0 for row in ledger(api))
    assert len(files(tmp_path)) == statuses.count(204) >= 10
    assert_consistent(api, tmp_path)
    for image, size, status in zip(images, sizes, statuses, strict=True):
        if status != 204 and size <= QUOTA - used(api):
            assert upload(api, image, bytes(size)).status == 204
            break


def used_now(api: Client) -> int:
    return int(ask(api, "SELECT coalesce(max(stored), 0) FROM usage WHERE project = 'p1'"))
