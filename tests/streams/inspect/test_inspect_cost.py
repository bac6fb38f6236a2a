"""What the inspection costs: next to nothing once the headers are known."""

import subprocess
import sys
import tracemalloc

import pytest
from generators import GOOD, MIB, descriptor, inspect, quick, stream_vmdk, vhdx, vmdk

from ferrotype.streams.inspect import Inspector
from ferrotype.streams.inspect.inspector import examine
from ferrotype.streams.inspect.records import Data, Format

GIB = 1024
WORST = {
    "text": (descriptor() + "# x\n" * (1 << 18)).encode(),
    "comments": b"#\n" * (1 << 19),
    "blanks": b" " * MIB,
    "blank lines": b" \n" * (1 << 19),
    # What looks as if an extent line followed, over and over.
    "extents without a name": b"\x80createType" + b"RW 1 FLAT " * (MIB // 10),
    "one extent of blanks": b"\x80createType RW" + b" " * MIB,
    "one extent of digits": b"\x80createType RW " + b"1" * MIB,
    "extents of blanks": b"\x80createType" + b"RW \t \t " * (MIB // 7),
    "stream": stream_vmdk(gap=2 * MIB),
    "long descriptor": vmdk("\n" * (MIB - 512), sectors=2048),
    "descriptor of short lines": vmdk('a="b"\n' * 900 + "#" * 60000, sectors=2048),
    "vhdx": vhdx(),
    "vhdx full of regions": vhdx(extra_regions=tuple((bytes([n % 256, n // 256]) * 8, n, n, 0) for n in range(2045))),
}


@pytest.mark.parametrize("name", [*GOOD, "stream"])
def test_a_gibibyte_behind_the_headers_costs_less_than_20_ms(name: str) -> None:
    # RUL-65
    inspector = Inspector()
    inspector.feed([{**GOOD, "stream": WORST["stream"]}[name], bytes(2 * MIB)])
    batch = [bytes(MIB)]

    def feed() -> None:
        for _ in range(GIB):
            inspector.feed(batch)

    assert quick(feed, 0.02)


@pytest.mark.parametrize("name", [*GOOD, *WORST])
def test_the_worst_header_takes_less_than_50_ms_and_8_mib(name: str) -> None:
    # SEC-21
    data = {**GOOD, **WORST}[name]
    chunks = [data, bytes(3 * MIB)]
    assert quick(lambda: inspect(*chunks), 0.05)
    tracemalloc.start()
    try:
        inspect(*chunks)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * MIB


def test_the_inspector_imports_no_slow_modules() -> None:
    code = (
        "import sys, ferrotype.streams.inspect; print('oslo_utils' in sys.modules or 'cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_an_exception_in_a_check_refuses_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(data: Data) -> bool:
        raise IndexError("out of range")

    monkeypatch.setattr("ferrotype.streams.inspect.inspector.FORMATS", (Format("odd", stumble, len),))
    findings = examine(Data(size=3, head=b"abc", tail=b"", regions={}))
    assert [(failure.format, failure.check) for failure in findings.failures] == [("odd", "unreadable")]
