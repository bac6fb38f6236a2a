"""Which stores are too slow to be waited for."""

import asyncio

import pytest

from ferrotype.model.errors import StoreSlow, StoreUnavailable
from ferrotype.streams.pace import SLOW_BYTES, SLOW_SECONDS, STALL_SECONDS, Pace


def test_each_mebibyte_has_its_seconds() -> None:
    pace = Pace(is_last=False)
    for _ in range(50):
        pace.add(SLOW_SECONDS - 0.1, SLOW_BYTES - 1)
        pace.add(5.0, 1)  # It is complete now, and the next one begins.
    pace.add(SLOW_SECONDS - 0.1, SLOW_BYTES - 1)
    with pytest.raises(StoreSlow, match=f"delivered {SLOW_BYTES - 1} bytes in 10 s"):
        pace.add(0.1, 0)


def test_what_came_quickly_before_does_not_excuse_a_stall() -> None:
    pace = Pace(is_last=False)
    pace.add(0.1, 1 << 40)
    assert pace.left == SLOW_SECONDS
    pace.add(0.1, 5)
    with pytest.raises(StoreSlow):
        pace.add(pace.left, 0)


def test_the_last_copy_only_needs_to_move() -> None:
    pace = Pace(is_last=True)
    for _ in range(50):
        pace.add(STALL_SECONDS - 0.1, 0)
        pace.add(0.05, 1)
    with pytest.raises(StoreUnavailable) as caught:
        pace.add(pace.left, 0)
    assert not isinstance(caught.value, StoreSlow)


def test_a_wait_ends_long_before_the_store_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ferrotype.streams.pace.SLOW_SECONDS", 1.0)

    async def wait() -> None:
        pace, never = Pace(is_last=False), asyncio.get_running_loop().create_future()
        took = await pace.wait(never)
        assert 0.09 < took < 0.9 and not never.done()
        never.set_result(None)
        assert await pace.wait(never) < 0.09

    asyncio.run(wait())
