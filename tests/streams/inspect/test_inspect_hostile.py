"""Attacks by content: each is found, and the check that finds it is named."""

import pytest
from attacks import ATTACKS, LOG, TEXT
from generators import (
    GOOD,
    MIB,
    combined,
    descriptor,
    extension,
    fat,
    in_bytes,
    inspect,
    iso,
    mbr,
    partition,
    qcow2,
    stream_vmdk,
    vdi,
    vhdx,
    vhdx_header,
    vmdk,
)

from ferrotype.model.errors import ContentRefused
from ferrotype.streams.inspect import Findings, verdict
from ferrotype.streams.inspect.records import LARGEST

EMPTY_QCOW2 = qcow2(length=512, refcounts_at=0, refcount_clusters=0, l1_at=0, l1_entries=0)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_found_and_its_check_is_named(name: str) -> None:
    data, kind, check = ATTACKS[name]
    assert (kind, check) in {(failure.format, failure.check) for failure in inspect(data).failures}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_whatever_is_declared(name: str) -> None:
    findings = inspect(ATTACKS[name][0])
    # IMP-100 W, IMP-102, RUL-09
    for declared in ("raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi", "iso", "ami", "ploop", None):
        for require_match in (True, False):
            with pytest.raises(ContentRefused, match=ATTACKS[name][1]):
                verdict(findings, declared, "bare", require_match=require_match, nonfatal=())


@pytest.mark.parametrize("name", [name for name in ATTACKS if ATTACKS[name][1] != "gpt"])
def test_an_attack_is_refused_in_a_container_too(name: str) -> None:
    # IMP-105 W
    with pytest.raises(ContentRefused):
        verdict(inspect(ATTACKS[name][0]), "qcow2", "ova", require_match=True, nonfatal=("mbr", "gptmbr"))


@pytest.mark.parametrize("name", ATTACKS)
def test_no_number_of_an_attack_is_too_large_for_the_database(name: str) -> None:
    # SEC-16
    assert all(0 <= size <= LARGEST for size in inspect(ATTACKS[name][0]).virtual_sizes.values())


@pytest.mark.parametrize("name", ATTACKS)
def test_no_word_of_an_attack_is_repeated(name: str) -> None:
    # SEC-116
    words = ("passwd", "shadow", "neighbour", "nbd", "rbd", "json", "disk.vmdk", "\n")
    assert not [
        word for word in words if any(word in failure.detail for failure in inspect(ATTACKS[name][0]).failures)
    ]


@pytest.mark.parametrize("kind", GOOD)
def test_a_good_image_of_every_format_has_no_failures(kind: str) -> None:
    findings = inspect(GOOD[kind])
    assert findings.formats == (kind,)
    assert findings.failures == ()
    assert verdict(findings, kind, "bare", require_match=True, nonfatal=()) is not None


@pytest.mark.parametrize(
    "data",
    [
        qcow2(version=2),
        qcow2(incompatible=3),
        qcow2(incompatible=0x18, header_length=112, compression=1),
        qcow2(crypt=2),
        qcow2(extensions=extension(0x6803F857, bytes(240)) + extension(0x23852875, bytes(24))),
        qcow2(cluster_bits=9, length=8192),
        qcow2(cluster_bits=21),
        qcow2(snapshots=2, snapshots_at=512),
    ],
    ids=in_bytes,
)
def test_a_qcow2_may_use_every_harmless_feature(data: bytes) -> None:
    assert inspect(data).failures == ()


@pytest.mark.parametrize(
    "data",
    [
        stream_vmdk(),
        stream_vmdk(gap=5 * MIB + 3),
        vmdk(descriptor("STREAMOPTIMIZED")),
        vmdk(TEXT.replace("\n", "\r\n")),
        vmdk(TEXT.replace("CID=7", 'encoding="windows-1252"\nisNativeSnapshot="no"\nCID=7')),
        vmdk(TEXT.replace(' = "', '="')),
        vmdk(TEXT, sectors=2048),
        vmdk(TEXT.replace("disk.vmdk", "my disk (1)-flat_x.vmdk")),
    ],
    ids=in_bytes,
)
def test_a_vmdk_may_look_like_those_of_every_known_writer(data: bytes) -> None:
    assert inspect(data).failures == ()


def test_an_old_log_in_the_header_that_is_not_in_force_does_no_harm() -> None:
    assert inspect(vhdx(headers=(vhdx_header(7, LOG), vhdx_header(8)))).failures == ()


def formats(findings: Findings) -> set[str]:
    return set(findings.formats)


def test_two_formats_in_one_are_ambiguous() -> None:
    # SEC-14, IMP-104
    findings = inspect(combined(iso(), EMPTY_QCOW2))
    assert formats(findings) == {"iso", "qcow2"}
    for declared in ("iso", "qcow2", "raw", "ami"):
        with pytest.raises(ContentRefused, match="qcow2 and iso"):
            verdict(findings, declared, "bare", require_match=True, nonfatal=())


def test_three_formats_in_one_are_not_saved_by_being_a_disc_with_a_boot_sector() -> None:
    # SEC-14, IMP-104
    findings = inspect(combined(iso(), mbr(partition()), EMPTY_QCOW2))
    assert formats(findings) == {"iso", "gpt", "qcow2"}
    with pytest.raises(ContentRefused, match=" and "):
        verdict(findings, "iso", "bare", require_match=True, nonfatal=())


@pytest.mark.parametrize("sector", [mbr(partition()), mbr(partition(0xEE), partition(0xEF, lba=64)), mbr()])
def test_a_disc_with_a_boot_sector_is_a_disc(sector: bytes) -> None:
    # SEC-14, IMP-101, IMP-104
    findings = inspect(combined(iso(), sector))
    assert findings.formats == ("iso",)
    assert findings.failures == ()
    assert verdict(findings, "iso", "bare", require_match=True, nonfatal=()) == 20 * 2048
    assert verdict(findings, "raw", "bare", require_match=True, nonfatal=()) == 40 * 1024


def test_a_fat_file_system_is_raw() -> None:
    # IMP-101, SEC-15
    assert inspect(fat()).formats == ("raw",)


@pytest.mark.parametrize("identifier", [b"CD001", b"NSR02", b"NSR03"])
def test_every_kind_of_disc_is_known(identifier: bytes) -> None:
    # IMP-101
    assert inspect(iso(identifier=identifier)).formats == ("iso",)


def test_a_disc_that_does_not_state_its_size_has_none() -> None:
    # IMG-UP-41
    findings = inspect(iso(kind=0))
    assert verdict(findings, "iso", "bare", require_match=True, nonfatal=()) is None


@pytest.mark.parametrize("data", [b"", b"x", b"QFI\xfb", qcow2()[:511], b"KDMX" * 3, vdi()[:400]], ids=in_bytes)
def test_what_is_shorter_than_a_header_is_raw(data: bytes) -> None:
    # IMP-106; SEC-06, SEC-20: and so it is refused when it should have been something else
    findings = inspect(data)
    assert findings.formats == ("raw",)
    assert findings.failures == ()
    for declared in ("qcow2", "vmdk", "vdi", "iso"):
        with pytest.raises(ContentRefused, match=f"the data is raw, but disk_format says {declared}"):
            verdict(findings, declared, "bare", require_match=True, nonfatal=())


def test_an_ordinary_text_is_raw() -> None:
    for text in (b"#!/bin/sh\necho hello\n" * 100, b"version: 2\n" * 100, b"# only a comment\n" * 3000):
        findings = inspect(text)
        assert (findings.formats, findings.failures) == (("raw",), ())
