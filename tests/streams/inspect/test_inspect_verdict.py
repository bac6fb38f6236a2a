"""From findings and declarations to a virtual size or a refusal."""

import msgspec
import pytest
from generators import GOOD, MIB, in_bytes, inspect, mbr, partition, qcow2

from ferrotype.model.errors import ContentRefused
from ferrotype.streams.inspect import Failure, Findings, verdict

SIZE = 12345
NULL = None
NO = "refused"


def found(*formats: str, failures: tuple[Failure, ...] = ()) -> Findings:
    return Findings(formats, failures, dict.fromkeys(formats, 777), SIZE)


def outcome(
    findings: Findings,
    declared: str | None,
    container: str | None = "bare",
    require_match: bool = True,
    nonfatal: tuple[str, ...] = (),
) -> int | str | None:
    try:
        return verdict(findings, declared, container, require_match=require_match, nonfatal=nonfatal)
    except ContentRefused:
        return NO


@pytest.mark.parametrize(
    ("formats", "declared", "strict", "lenient"),
    [
        # IMG-UP-41
        (("qcow2",), "qcow2", 777, 777),
        (("vmdk",), "vmdk", 777, 777),
        (("iso",), "iso", 777, 777),
        (("gpt",), "gpt", 777, 777),
        (("luks",), "luks", 777, 777),
        (("raw",), "raw", SIZE, SIZE),
        # IMG-UP-42, IMP-103
        (("raw",), "ami", NULL, NULL),
        (("raw",), "aki", NULL, NULL),
        (("raw",), "ploop", NULL, NULL),
        (("raw",), "something", NULL, NULL),
        (("gpt",), "ami", NO, NULL),
        (("qcow2",), "ploop", NO, NULL),
        (("iso",), "ari", NO, NULL),
        # IMG-UP-43, IMP-102, RUL-09
        (("qcow2",), "raw", SIZE, SIZE),
        (("gpt",), "raw", SIZE, SIZE),
        (("iso",), "raw", SIZE, SIZE),
        (("luks",), "raw", SIZE, SIZE),
        # IMG-UP-44, IMP-104
        (("raw",), "qcow2", NO, NULL),
        (("qcow2",), "vmdk", NO, NULL),
        (("gpt",), "iso", NO, NULL),
        (("qcow2", "iso"), "qcow2", NO, NULL),
        (("qcow2", "iso"), "raw", NO, NULL),
        (("qcow2", "gpt"), "aki", NO, NULL),
        # IMG-UP-46, IMP-113 W
        (("gpt",), "aki", NULL, NULL),
        (("gpt",), "ari", NULL, NULL),
        # nothing is declared
        (("qcow2",), None, NULL, NULL),
        (("qcow2", "iso"), None, NULL, NULL),
    ],
)
def test_the_declared_format_meets_the_detected_one(
    formats: tuple[str, ...], declared: str | None, strict: int | str | None, lenient: int | str | None
) -> None:
    assert outcome(found(*formats), declared) == strict
    assert outcome(found(*formats), declared, require_match=False) == lenient
    assert outcome(found(*formats), declared, container=None) == strict


@pytest.mark.parametrize("container", ["ovf", "ova", "docker", "compressed", "aki", "ari", "ami"])
def test_what_is_in_a_container_need_not_match(container: str) -> None:
    # IMP-105, IMG-UP-40
    for formats in (("raw",), ("qcow2",), ("gpt",), ("qcow2", "iso")):
        assert outcome(found(*formats), "vmdk", container) is NULL


MBR = (Failure("gpt", "mbr", "bad"),)
GPT_MBR = (Failure("gpt", "gptmbr", "bad"),)


@pytest.mark.parametrize(
    ("failures", "nonfatal", "expected"),
    [
        # IMP-113, IMG-UP-45
        (MBR, (), NO),
        (MBR, ("mbr",), SIZE),
        (MBR, ("gptmbr",), NO),
        (GPT_MBR, (), NO),
        (GPT_MBR, ("mbr",), SIZE),
        (GPT_MBR, ("gptmbr",), SIZE),
        (MBR + GPT_MBR, ("gptmbr",), NO),
        ((Failure("qcow2", "mbr", "bad"),), ("mbr", "gptmbr"), NO),
        ((Failure("qcow2", "backing_file", "bad"),), ("backing_file",), NO),
    ],
)
def test_only_checks_of_a_partition_table_can_be_made_harmless(
    failures: tuple[Failure, ...], nonfatal: tuple[str, ...], expected: int | str
) -> None:
    assert outcome(found("gpt", failures=failures), "raw", nonfatal=nonfatal) == expected


def test_a_kernel_that_looks_like_a_boot_sector_passes() -> None:
    # IMG-UP-46, IMP-113 W
    kernel = inspect(mbr(partition(flag=0x12), code=b"MZ\xea\x07"))
    assert kernel.failures
    assert outcome(kernel, "aki") is NULL
    assert outcome(kernel, "ari") is NULL
    assert outcome(kernel, "aki", "aki") is NULL
    assert outcome(kernel, "ami") == NO
    assert outcome(kernel, "raw") == NO


def test_a_qcow2_said_to_be_a_kernel_does_not_profit_from_that() -> None:
    assert outcome(inspect(qcow2(backing=b"x")), "aki", "aki") == NO


def test_a_safe_qcow2_may_be_called_raw() -> None:
    # RUL-09, IMG-UP-43
    assert outcome(inspect(qcow2(size=5 * MIB)), "raw") == 4096
    assert outcome(inspect(qcow2(size=5 * MIB)), "qcow2") == 5 * MIB


def test_an_empty_image_is_raw_without_a_size() -> None:
    # IMG-UP-41, SEC-06
    assert outcome(inspect(), "raw") is NULL
    assert outcome(inspect(), "qcow2") == NO


def test_a_refusal_names_check_and_reason() -> None:
    # IMG-UP-48, SEC-15
    with pytest.raises(ContentRefused, match="qcow2 safety check backing_file: the header names a backing file"):
        verdict(inspect(qcow2(backing=b"x")), "qcow2", "bare", require_match=True, nonfatal=())
    with pytest.raises(ContentRefused, match="gpt safety check mbr: partition 2 has an invalid boot flag"):
        disk = mbr(partition(), bytes(16), partition(flag=1))
        verdict(inspect(disk), "raw", "bare", require_match=True, nonfatal=())


@pytest.mark.parametrize("data", [*GOOD.values(), qcow2(backing=b"x", size=(1 << 64) - 1)], ids=in_bytes)
def test_findings_survive_being_stored(data: bytes) -> None:
    # RUL-33
    findings = inspect(data)
    assert msgspec.json.decode(msgspec.json.encode(findings), type=Findings) == findings
