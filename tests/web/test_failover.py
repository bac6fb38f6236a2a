"""A copy fails during a download: the client gets the right bytes from another one, or an aborted connection."""

import logging
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from failover import TROUBLES, Fault, Listening, image_in, repair, service, settled, soon
from hypothesis import given, settings
from hypothesis import strategies as st
from uploads import ask

from ferrotype.config.api import Api
from ferrotype.stores.driver import READ_SIZE
from ferrotype.streams import pace
from ferrotype.testing.client import Client

SIZE = 2 * READ_SIZE + 70_001
DATA = random.Random(1).randbytes(SIZE)
#: by weight
STORES = ("ram", "disk", "ram2", "disk2")
#: near these bytes something changes: chunks, and what the kernel moves at once
EDGES = (0, 1, 4096, 262_144, READ_SIZE, 2 * READ_SIZE, SIZE - 1, SIZE)


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace, "SLOW_SECONDS", 0.3)
        patch.setattr(pace, "STALL_SECONDS", 1.0)
        with service(tmp_path_factory.mktemp("failover"), api=Api(show_locations=True)) as socket:
            yield socket


@pytest.fixture(scope="module")
def api(socket: Listening) -> Client:
    return socket.api


@pytest.fixture(autouse=True)
def well(api: Client) -> Iterator[None]:
    repair(api)
    yield
    TROUBLES.released.set()
    assert settled()
    assert soon(lambda: not api.application.ctx.pools.budget.used)


def marked(api: Client) -> set[str]:
    """Return the stores whose copies are marked as damaged."""
    return {store for store in STORES if ask(api, _MARKED.format(store))}


_MARKED = "SELECT count(*) FROM blobs WHERE store = '{}' AND damaged_at IS NOT NULL"


def restore(api: Client, image: object) -> None:
    """Make every copy in a file whole again."""
    for location in image["locations"]:
        if location["url"].startswith("file:"):
            Path(location["url"].removeprefix("file://")).write_bytes(DATA)


places = st.one_of(st.sampled_from(EDGES), st.integers(0, SIZE))
memory_faults = st.one_of(
    st.just(Fault()),
    st.builds(Fault, ends=places),
    st.builds(Fault, fails=places),
    st.builds(Fault, stalls=places),
    st.builds(Fault, missing=st.just(True)),
)
file_faults = st.one_of(st.just(Fault()), st.builds(Fault, ends=places), st.builds(Fault, missing=st.just(True)))
ranges = st.one_of(st.none(), st.tuples(places, places).map(sorted).filter(lambda pair: pair[0] < min(pair[1], SIZE)))


@pytest.fixture(scope="module")
def everywhere(api: Client) -> Any:
    """An image with a copy in every store."""
    return image_in(api, DATA, "ram", "disk", "ram2", "disk2")


def is_good(fault: Fault, end: int) -> bool:
    return not fault.missing and min(fault.ends, fault.fails, fault.stalls) >= end


@pytest.mark.slow
# STOR-42, IMG-DL-06, IMG-DL-07, RUL-91
@settings(max_examples=60)
@given(
    faults=st.fixed_dictionaries(
        {"ram": memory_faults, "ram2": memory_faults, "disk": file_faults, "disk2": file_faults}
    ),
    part=ranges,
    order=st.permutations(["ram", "disk", "ram2", "disk2"]),
)
def test_whatever_fails_the_client_gets_the_right_bytes_or_an_aborted_connection(
    api: Client,
    socket: Listening,
    everywhere: Any,
    faults: dict[str, Fault],
    part: list[int] | None,
    order: list[str],
) -> None:
    repair(api)
    restore(api, everywhere)
    TROUBLES.faults |= faults
    start, end = part or (0, SIZE)
    headers = {"range": f"bytes={start}-{end - 1}"} if part else {}
    path = f"{everywhere['self']}/file?prefer={','.join(order)}"
    got = socket.get(path, headers)
    assert settled()
    if got.status == 503:
        assert not any(is_good(fault, end) for fault in faults.values())
        return
    assert DATA[start:end].startswith(got.body)
    if any(is_good(fault, end) for fault in faults.values()):
        assert (got.status, got.whole, len(got.body)) == (206 if part else 200, True, end - start)
    else:
        assert got.whole == (len(got.body) == end - start)


MIDDLE = READ_SIZE + 12_345


def path_of(image: Any, *order: str) -> str:
    return f"{image['self']}/file?prefer={','.join(order)}"


@pytest.mark.parametrize("order", [("ram", "disk"), ("disk", "ram"), ("ram", "ram2"), ("disk", "disk2")])
@pytest.mark.parametrize("headers", [{}, {"range": f"bytes=7-{SIZE - 3}"}])
def test_a_truncated_copy_is_marked_and_the_rest_comes_from_another(
    api: Client, socket: Listening, order: tuple[str, str], headers: dict[str, str]
) -> None:
    image = image_in(api, DATA, *order)
    TROUBLES.faults[order[0]] = Fault(ends=MIDDLE)
    expected = DATA[7 : SIZE - 2] if headers else DATA
    assert socket.get(path_of(image, *order), headers).body == expected
    assert TROUBLES.opened == list(order)
    assert marked(api) == {order[0]}
    TROUBLES.opened.clear()
    # RUL-91: an undamaged copy comes before the preferred one
    assert socket.get(path_of(image, *order), headers).body == expected
    assert TROUBLES.opened == [order[1]]
    assert api.get(image["self"]).json["stores"] == ",".join(
        sorted(order, key=["ram", "disk", "ram2", "disk2"].index)
    )


def test_a_store_that_failed_of_late_is_read_last(api: Client, socket: Listening) -> None:
    image = image_in(api, DATA, "ram", "disk")
    TROUBLES.faults["ram"] = Fault(fails=MIDDLE)
    assert socket.get(path_of(image, "ram", "disk")).body == DATA
    assert marked(api) == set()
    TROUBLES.opened.clear()
    assert socket.get(path_of(image, "ram", "disk")).body == DATA  # RUL-91
    assert TROUBLES.opened == ["disk"]
    (api.application.ctx.stores.get("ram")).avoided_until = 0.0  # type: ignore[union-attr]
    TROUBLES.opened.clear()
    TROUBLES.faults.clear()
    assert socket.get(path_of(image, "ram", "disk")).body == DATA
    assert TROUBLES.opened == ["ram"]


def test_an_unlinked_file_is_sent_to_its_end(api: Client, socket: Listening) -> None:
    image = image_in(api, DATA, "disk")
    path = Path(image["locations"][0]["url"].removeprefix("file://"))
    connection = socket.connect(image["file"])
    response = connection.getresponse()
    start = response.read(1000)
    path.unlink()
    assert start + response.read() == DATA
    connection.close()


def test_the_connection_goes_on_after_another_copy_was_read(api: Client, socket: Listening) -> None:
    image = image_in(api, DATA, "disk", "ram", "disk2")
    TROUBLES.faults |= {"disk": Fault(ends=5000), "ram": Fault(fails=MIDDLE)}
    connection = socket.connect(path_of(image, "disk", "ram", "disk2"))
    assert connection.getresponse().read() == DATA
    connection.request("GET", f"{image['self']}", headers=socket.headers)
    assert connection.getresponse().status == 200
    connection.close()


def test_without_another_copy_the_connection_is_aborted_with_one_line(
    api: Client, socket: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ferrotype.access")
    for store, fault in (("ram", Fault(fails=MIDDLE)), ("ram", Fault(ends=MIDDLE)), ("disk", Fault(ends=MIDDLE))):
        image = image_in(api, DATA, store)
        TROUBLES.faults[store] = fault
        caplog.clear()
        got = socket.get(image["file"])
        assert (got.status, got.whole) == (200, False)  # IMG-DL-07
        assert DATA.startswith(got.body)
        lines = [record.getMessage() for record in caplog.records]
        assert len([line for line in lines if "the connection is aborted" in line and f"store={store}" in line]) == 1
        (access,) = (line.split() for line in lines if f"GET {image['file']}" in line)
        assert access[-1] == "aborted" and len(got.body) <= int(access[6]) <= MIDDLE


def test_a_copy_that_was_removed_underway_is_not_reported(
    api: Client, socket: Listening, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "SLOW_SECONDS", 60)
    image = image_in(api, DATA, "ram", "disk")
    TROUBLES.faults["ram"] = Fault(held=MIDDLE, fails=MIDDLE)
    connection = socket.connect(path_of(image, "ram", "disk"))
    response = connection.getresponse()
    start = response.read(READ_SIZE)
    assert api.delete(f"/v2/stores/ram/{image['id']}").status == 204
    TROUBLES.released.set()
    assert start + response.read() == DATA
    connection.close()
    assert "image cannot be read" not in caplog.text and "missing or damaged" not in caplog.text


@pytest.mark.parametrize("fault", [Fault(stalls=MIDDLE), Fault(slow=MIDDLE), Fault(mute=True)])
def test_a_copy_that_is_too_slow_is_given_up_for_another(
    api: Client, socket: Listening, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    image = image_in(api, DATA, "ram", "disk")
    TROUBLES.faults["ram"] = fault
    assert socket.get(path_of(image, "ram", "disk")).body == DATA
    assert "copy is too slow, another one is read" in caplog.text
    assert TROUBLES.opened == ["ram", "disk"]
    assert marked(api) == set()
    assert socket.get(path_of(image, "ram", "disk")).body == DATA
    assert TROUBLES.opened == ["ram", "disk", "disk"]


def test_a_slow_copy_is_read_to_its_end_when_all_others_have_failed(api: Client, socket: Listening) -> None:
    image = image_in(api, DATA, "ram", "disk")
    TROUBLES.faults |= {"ram": Fault(slow=SIZE - 4000, rate=5000), "disk": Fault(ends=SIZE - 100)}
    assert socket.get(path_of(image, "ram", "disk")).body == DATA
    assert TROUBLES.opened == ["ram", "disk", "ram"]


@pytest.mark.slow
def test_the_last_copy_may_be_slow_and_may_not_stall(api: Client, socket: Listening) -> None:
    image = image_in(api, DATA, "ram")
    TROUBLES.faults["ram"] = Fault(slow=SIZE - 1, rate=50_000)  # It takes longer than a stall may.
    assert socket.get(image["file"]).body == DATA
    TROUBLES.faults["ram"] = Fault(stalls=MIDDLE)
    assert not socket.get(image["file"]).whole
    TROUBLES.faults["ram"] = Fault(mute=True)
    assert socket.get(image["file"]).status == 503


@pytest.mark.slow
@pytest.mark.parametrize("store", ["ram", "disk"])
def test_a_slow_client_does_not_make_a_store_slow(api: Client, socket: Listening, store: str) -> None:
    data = DATA * 6
    image = image_in(api, data, store, "disk2")
    connection = socket.connect(path_of(image, store, "disk2"), receive_buffer=65536)
    response = connection.getresponse()
    got = [response.read(100_000)]
    for _ in range(4):
        threading.Event().wait(0.5)  # longer than a store may take for a mebibyte
        got.append(response.read(100_000))
    got.append(response.read())
    connection.close()
    assert b"".join(got) == data
    assert TROUBLES.opened == [store]


def test_waiting_for_memory_does_not_make_a_store_slow(api: Client, socket: Listening) -> None:
    image = image_in(api, DATA, "ram", "disk")
    store = api.application.ctx.stores.get("ram")
    assert store is not None
    api.run(store.memory.acquire(1 << 30))  # More than all, which fits while nothing else is in use.
    connection = socket.connect(path_of(image, "ram", "disk"))
    threading.Event().wait(0.5)  # longer than a store may take

    async def release() -> None:
        store.memory.release(1 << 30)

    api.run(release())
    assert connection.getresponse().read() == DATA
    connection.close()
    assert TROUBLES.opened == ["ram"]
