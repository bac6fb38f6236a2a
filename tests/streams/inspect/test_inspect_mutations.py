"""Headers with random damage: always findings, always soon, never more trusting than the reference."""

import random

import pytest
from generators import GOOD, combined, inspect, iso, mbr, partition, qcow2, qed, quick, stream_vmdk
from inspect_reference import names, reference, unsafe

from ferrotype.streams.inspect import Findings

SUBJECTS = {
    **GOOD,
    "qed": qed(),
    "stream": stream_vmdk(),
    "hybrid": combined(iso(), mbr(partition())),
    "qcow2 version 2": qcow2(version=2),
}
#: Where the damage is done, besides the first KiB.
PLACES = {
    "vhdx": [65536, 131072, 196608, 262144, 1 << 20, (1 << 20) + 65536],
    "iso": [32768],
    "hybrid": [32768],
    "vmdk": [512, 800],
    "stream": [512, 16384, 16896, 17408],
}
LIMIT = 0.05
VALUES = [0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF]


def damaged(data: bytes, places: list[int], chance: random.Random) -> bytes:
    """Return ``data`` with a few bytes changed, near its start or near one of ``places``; at times cut short."""
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        start = chance.choice([0, 0, *places])
        offset = start + chance.randrange(chance.choice([16, 128, 520]))
        if offset < len(changed):
            changed[offset] = chance.choice(
                [*VALUES, chance.randrange(256), changed[offset] ^ 1 << chance.randrange(8)]
            )
    if chance.random() < 0.05:
        del changed[chance.randrange(len(changed) + 1) :]
    return bytes(changed)


def timely(data: bytes) -> Findings:
    """Return the findings, which must not take long."""
    found: list[Findings] = []
    assert quick(lambda: found.append(inspect(data)), LIMIT)
    return found[-1]


@pytest.mark.parametrize("name", SUBJECTS)
def test_damage_never_raises_or_slows_the_inspection(name: str, request: pytest.FixtureRequest) -> None:
    # SEC-21, SEC-16
    times = request.config.getoption("--mutations")
    chance = random.Random(f"damage to {name}")
    for _ in range(times // 3 if name == "vhdx" else times):
        data = damaged(SUBJECTS[name], PLACES.get(name, []), chance)
        findings = timely(data)
        assert "unreadable" not in {failure.check for failure in findings.failures}
        assert all(0 <= size < 1 << 63 for size in findings.virtual_sizes.values())


@pytest.mark.parametrize("name", SUBJECTS)
def test_damage_is_seen_as_the_reference_sees_it(name: str, request: pytest.FixtureRequest) -> None:
    # IMP-101, IMP-110 to IMP-115
    times = request.config.getoption("--mutations")
    chance = random.Random(f"difference in {name}")
    for _ in range(times // 50 if name == "vhdx" else times // 5):
        data = damaged(SUBJECTS[name], PLACES.get(name, []), chance)
        ours, theirs = inspect(data), reference(data)
        if theirs is None:
            continue
        assert set(ours.formats) == names(theirs)
        failed = {failure.format for failure in ours.failures}
        missed = unsafe(theirs) - failed
        # The reference refuses extended L2 entries, which name nothing.
        assert not missed or (missed == {"qcow2"} and data[79] & 0x10)
        for inspector in theirs:
            if str(inspector) not in failed:
                # It subtracts the header of an encrypted volume also from what is shorter than that.
                assert max(0, inspector.virtual_size) == ours.virtual_sizes[str(inspector)]


@pytest.mark.parametrize("place", [0, 3, 100, 511, 512, 600, 4096, 20000])
def test_random_bytes_never_raise(place: int) -> None:
    # SEC-21
    chance = random.Random(place)
    starts = [SUBJECTS[name][:place] for name in SUBJECTS]
    for _ in range(300):
        data = chance.choice(starts) + chance.randbytes(chance.randrange(3000))
        assert "unreadable" not in {failure.check for failure in timely(data).failures}
