"""From findings and declarations to a virtual size or a refusal."""

import msgspec
import pytest
from generators import (
    EMPTY_QCOW2,
    GOOD,
    MIB,
    accepted,
    combined,
    fixed_vhd,
    in_bytes,
    inspect,
    iso,
    luks,
    mbr,
    partition,
    qcow2,
)

from ferrotype.model.errors import ContentRefused
from ferrotype.streams.inspect import Failure, Findings, check_format, log_context

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
        return check_format(
            findings, declared, container, require_match=require_match, nonfatal=nonfatal
        ).virtual_size
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
def test_only_partition_table_checks_can_be_tolerated(
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


def test_a_qcow2_declared_as_a_kernel_is_still_checked() -> None:
    assert outcome(inspect(qcow2(backing=b"x")), "aki", "aki") == NO


def test_a_safe_qcow2_may_be_declared_raw() -> None:
    # RUL-09, IMG-UP-43
    assert outcome(inspect(qcow2(size=5 * MIB)), "raw") == 4096
    assert outcome(inspect(qcow2(size=5 * MIB)), "qcow2") == 5 * MIB


def test_an_empty_image_is_raw_without_a_size() -> None:
    # IMG-UP-41, SEC-06
    assert outcome(inspect(), "raw") is NULL
    assert outcome(inspect(), "qcow2") == NO


HYBRID = mbr(partition(0xEE), partition())
DISK = mbr(partition(), bytes(16), partition(flag=1))


@pytest.mark.parametrize(
    ("data", "declared", "found", "check", "option"),
    [
        (HYBRID, "raw", "gpt", "gptmbr", "[image_format] gpt_safety_checks_nonfatal = gptmbr"),
        (DISK, "raw", "gpt", "mbr", "[image_format] gpt_safety_checks_nonfatal = mbr"),
        (qcow2(), "vmdk", "qcow2", "match", "[image_format] require_image_format_match = false"),
        (
            combined(iso(), EMPTY_QCOW2),
            "raw",
            "qcow2+iso",
            "match",
            "[image_format] require_image_format_match = false",
        ),
        (qcow2(backing=b"x"), "raw", "qcow2", "backing_file", ""),
        (luks(version=2), "luks", "luks", "luks2", ""),
        (luks(version=3), "raw", "luks", "version", ""),
    ],
)
def test_a_refusal_names_formats_check_and_option(
    data: bytes, declared: str, found: str, check: str, option: str
) -> None:
    # RUL-70, IMG-UP-48
    with pytest.raises(ContentRefused) as refusal:
        accepted(inspect(data), declared)
    seen = refusal.value
    assert (seen.declared, seen.found, seen.check, seen.option) == (declared, found, check, option)
    assert ("The operator can allow it with" in str(seen)) == bool(option)
    assert option in str(seen)
    expected = f"declared={declared} found={found} check={check} option={option or 'none'!r}"
    assert log_context(seen) == expected


@pytest.mark.parametrize(
    ("data", "declared", "container", "check", "option"),
    [
        (HYBRID, "raw", "bare", "gptmbr", "[image_format] gpt_safety_checks_nonfatal = gptmbr"),
        (HYBRID, "aki", "bare", "gptmbr", ""),
        (HYBRID, "raw", "ova", "gptmbr", ""),
        (luks(version=2), "raw", "bare", "luks2", ""),
        (luks(version=2), "luks", "ova", "luks2", ""),
        (qcow2(), "vmdk", "bare", "match", "[image_format] require_image_format_match = false"),
    ],
)
def test_tolerated_findings_are_reported_with_their_option(
    data: bytes, declared: str, container: str, check: str, option: str
) -> None:
    # IMP-113, IMP-100
    settings = {"require_match": False, "nonfatal": ("gptmbr",)}
    verdict = check_format(inspect(data), declared, container, **settings)
    assert [(finding.check, finding.option) for finding in verdict.tolerated] == [(check, option)]
    assert f"check={check} option={option or 'none'!r}" in log_context(verdict.tolerated[0])


def test_ordinary_data_is_accepted_without_findings() -> None:
    for name, data in GOOD.items():
        assert check_format(inspect(data), name, "bare", require_match=True, nonfatal=()).tolerated == ()


def test_a_refusal_names_check_and_reason() -> None:
    # IMG-UP-48, SEC-15
    with pytest.raises(ContentRefused, match="qcow2 safety check backing_file: the header names a backing file"):
        accepted(inspect(qcow2(backing=b"x")), "qcow2")
    with pytest.raises(ContentRefused, match="gpt safety check mbr: partition 2 has an invalid boot flag"):
        accepted(inspect(DISK), "raw")


@pytest.mark.parametrize("data", [*GOOD.values(), fixed_vhd(), qcow2(backing=b"x", size=(1 << 64) - 1)], ids=in_bytes)
def test_findings_survive_being_stored(data: bytes) -> None:
    # RUL-33
    findings = inspect(data)
    assert msgspec.json.decode(msgspec.json.encode(findings), type=Findings) == findings


def test_findings_that_were_stored_before_fixed_vhds_were_known_can_be_read() -> None:
    # RUL-33
    stored = b'{"formats":["raw"],"failures":[],"virtual_sizes":{"raw":9},"size":9}'
    assert msgspec.json.decode(stored, type=Findings) == inspect(b"ferrotype")
