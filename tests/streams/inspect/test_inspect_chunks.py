"""The verdict depends on the bytes, never on how they arrive."""

import pytest
from attacks import ATTACKS
from generators import GOOD, MIB, combined, cut, descriptor, inspect, iso, mbr, partition, qcow2, stream_vmdk, vhdx
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrotype.streams.inspect import Inspector

IMAGES = {
    **GOOD,
    **{name: attack[0] for name, attack in ATTACKS.items()},
    "stream": stream_vmdk(gap=137 * 512),
    "hybrid": combined(iso(), mbr(partition())),
    "long text": (descriptor() + "#\n" * 40000).encode(),
    "empty": b"",
}
SMALL = {name: data for name, data in IMAGES.items() if len(data) < 100 * 1024}


@pytest.mark.parametrize("name", [*GOOD, "backing file", "vmdk of no capacity", "stream", "hybrid", "qed"])
def test_a_header_may_be_cut_anywhere(name: str) -> None:
    # SEC-20, IMP-119
    data = IMAGES[name]
    whole = inspect(data)
    for place in range(1025):
        assert inspect(data[:place], data[place:]) == whole


@pytest.mark.parametrize("name", SMALL)
def test_chunks_of_one_byte_make_no_difference(name: str) -> None:
    # SEC-20, IMP-119
    data = SMALL[name]
    assert inspect(*(data[place : place + 1] for place in range(len(data)))) == inspect(data)


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("length", [7, 512, 4096, 65537])
def test_chunks_of_any_length_make_no_difference(name: str, length: int) -> None:
    # IMP-119
    data = IMAGES[name]
    if length < 512:
        data = data[: 200 * 1024]
    assert inspect(*(data[place : place + length] for place in range(0, len(data), length))) == inspect(data)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_any_splits_make_no_difference(data: st.DataObject) -> None:
    # SEC-20, IMP-119
    image = IMAGES[data.draw(st.sampled_from(sorted(IMAGES)))]
    interesting = st.sampled_from(
        [1, 4, 8, 63, 64, 104, 511, 512, 513, 1536, 32768, 34815, 34816, 34817, MIB, MIB + 512]
    )
    places = data.draw(st.lists(st.one_of(st.integers(0, len(image)), interesting), max_size=30))
    assert inspect(*cut(image, places)) == inspect(image)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=3000), st.lists(st.integers(0, 3000), max_size=20))
def test_any_bytes_have_findings(data: bytes, places: list[int]) -> None:
    findings = inspect(*cut(data, places))
    assert findings == inspect(data)
    assert findings.size == len(data)
    assert findings.formats


def test_memoryviews_and_lists_of_chunks_give_the_same_findings() -> None:
    data = qcow2(backing=b"x")
    inspector = Inspector()
    inspector.feed([memoryview(data)[:100], b"", bytearray(data[100:700])])
    inspector.feed([])
    inspector.feed(iter([memoryview(data)[700:]]))
    assert inspector.finish() == inspect(data)


@pytest.mark.parametrize("name", ["qcow2", "vhdx", "stream", "backing file", "hybrid"])
def test_a_part_of_a_stream_has_findings_and_the_rest_may_follow(name: str) -> None:
    data = IMAGES[name]
    inspector = Inspector()
    for start in range(0, len(data), len(data) // 7):
        inspector.feed([data[start : start + len(data) // 7]])
        assert inspector.finish() == inspect(data[: start + len(data) // 7])
    assert inspector.finish() == inspector.finish() == inspect(data)


@pytest.mark.parametrize("name", ["backing file", "data file", "data file in version 2", "qed"])
def test_an_attack_that_is_cut_short_is_refused_or_harmless(name: str) -> None:
    # SEC-20: no program can open what is named before the bytes that name it have come.
    data = ATTACKS[name][0]
    refused = [bool(inspect(data[:place]).failures) for place in range(1025)]
    assert refused == sorted(refused)
    assert all(refused[104:])


def test_chunks_may_be_reused_after_the_call() -> None:
    data = bytearray(vhdx())
    expected = inspect(bytes(data))
    inspector = Inspector()
    for start in range(0, len(data), 65536):
        chunk = bytearray(data[start : start + 65536])
        inspector.feed([chunk])
        chunk.clear()
    assert inspector.finish() == expected
