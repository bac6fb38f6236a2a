"""Attacks by content: each is found, and the check that finds it is named."""

import pytest
from attacks import ATTACKS, LOG, TEXT
from descriptors import VIRTUALBOX, VMWARE
from generators import (
    EMPTY_QCOW2,
    GOOD,
    MIB,
    SECTOR,
    accepted,
    combined,
    descriptor,
    extension,
    fat,
    fixed_vhd,
    in_bytes,
    inspect,
    iso,
    luks,
    mbr,
    partition,
    put,
    qcow2,
    stream_vmdk,
    udf,
    vdi,
    vhdx,
    vhdx_header,
    vmdk,
)

from ferrotype.model.errors import ContentRefused
from ferrotype.streams.inspect import Findings, check_format
from ferrotype.streams.inspect.records import LARGEST


def full_of(text: str, length: int) -> str:
    """Return a descriptor of exactly this length."""
    return text + "#" * (length - len(text) - 1) + "\n"


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
                check_format(findings, declared, "bare", require_match=require_match, nonfatal=())


@pytest.mark.parametrize("name", [name for name in ATTACKS if ATTACKS[name][1] != "gpt"])
def test_an_attack_is_refused_in_a_container_too(name: str) -> None:
    # IMP-105 W
    with pytest.raises(ContentRefused):
        check_format(inspect(ATTACKS[name][0]), "qcow2", "ova", require_match=True, nonfatal=("mbr", "gptmbr"))


@pytest.mark.parametrize("name", ATTACKS)
def test_sizes_in_attacks_fit_into_the_database(name: str) -> None:
    # SEC-16
    assert all(0 <= size <= LARGEST for size in inspect(ATTACKS[name][0]).virtual_sizes.values())


@pytest.mark.parametrize("name", ATTACKS)
def test_errors_do_not_repeat_data_of_an_attack(name: str) -> None:
    # SEC-116
    words = ("passwd", "shadow", "neighbour", "nbd", "rbd", "json", "disk.vmdk", "\n")
    assert not [
        word for word in words if any(word in failure.detail for failure in inspect(ATTACKS[name][0]).failures)
    ]


@pytest.mark.parametrize("kind", GOOD)
def test_a_valid_image_of_every_format_has_no_failures(kind: str) -> None:
    findings = inspect(GOOD[kind])
    assert findings.formats == (kind,)
    assert findings.failures == ()
    assert accepted(findings, kind) is not None


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
        stream_vmdk(gap=5 * MIB + SECTOR),
        vmdk(descriptor("STREAMOPTIMIZED")),
        vmdk(TEXT.replace("\n", "\r\n")),
        vmdk(TEXT.replace("CID=7", 'encoding="windows-1252"\nisNativeSnapshot="no"\nCID=7')),
        vmdk(TEXT.replace(' = "', '="')),
        vmdk(TEXT, sectors=2048),
        vmdk(TEXT.replace("disk.vmdk", "my disk (1)-flat_x.vmdk")),
        # RUL-71
        vmdk(TEXT.replace("disk.vmdk", "Größe 硬盘.vmdk")),
        vmdk(descriptor(parent="FFFFFFFF")),
        vmdk(descriptor(parent="FfFfffff")),
        vmdk(descriptor(parent="00000000")),
        vmdk(descriptor(parent="0")),
        *(vmdk(text.format(kind="monolithicSparse", access="RW", name="d.vmdk")) for text in (VIRTUALBOX, VMWARE)),
        *(vmdk(text.format(kind="streamOptimized", access="RDONLY", name="d.vmdk")) for text in (VIRTUALBOX, VMWARE)),
        vmdk(TEXT.replace("\n\n", '\nddb.uuid.parent="{00000000-0000-0000-0000-000000000000}"\n', 1)),
        vmdk(full_of(TEXT, 512), sectors=1),
        vmdk(full_of(TEXT, 20 * 512)),
        vmdk(full_of(TEXT, 20 * 512))[: 21 * 512],
    ],
    ids=in_bytes,
)
def test_a_vmdk_may_look_like_those_of_every_known_writer(data: bytes) -> None:
    assert inspect(data).failures == ()


def test_a_log_in_the_inactive_header_is_ignored() -> None:
    assert inspect(vhdx(headers=(vhdx_header(7, LOG), vhdx_header(8)))).failures == ()


def formats(findings: Findings) -> set[str]:
    return set(findings.formats)


def test_two_formats_in_one_are_ambiguous() -> None:
    # SEC-14, IMP-104
    findings = inspect(combined(iso(), EMPTY_QCOW2))
    assert formats(findings) == {"iso", "qcow2"}
    for declared in ("iso", "qcow2", "raw", "ami"):
        with pytest.raises(ContentRefused, match="qcow2 and iso"):
            accepted(findings, declared)


def test_a_hybrid_disc_with_a_third_format_is_ambiguous() -> None:
    # SEC-14, IMP-104
    findings = inspect(combined(iso(), mbr(partition()), EMPTY_QCOW2))
    assert formats(findings) == {"iso", "gpt", "qcow2"}
    with pytest.raises(ContentRefused, match=" and "):
        accepted(findings, "iso")


@pytest.mark.parametrize("sector", [mbr(partition()), mbr(partition(0xEE), partition(0xEF, lba=64)), mbr()])
def test_a_disc_with_a_boot_sector_is_a_disc(sector: bytes) -> None:
    # SEC-14, IMP-101, IMP-104
    findings = inspect(combined(iso(), sector))
    assert findings.formats == ("iso",)
    assert findings.failures == ()
    assert accepted(findings, "iso") == 20 * 2048
    assert accepted(findings, "raw") == 40 * 1024


CODE = mbr(code=b"\xeb\x63\x90")[:446] + b"\x0f\x85\x57\x71" * 16 + b"\x55\xaa"


@pytest.mark.parametrize(
    "data",
    [
        fat(),
        fat(media=0xF0),
        fat(media=0xF0, tables=1),
        fat(media=0xFB),
        put(fat(media=0xF0), 0, b"\xe9\x10\x20"),
        # as little as the reference needs to see FAT
        put(put(CODE, 0x10, b"\2"), 0x15, b"\xf8"),
        put(CODE, 3, b"NTFS    "),
        put(CODE, 3, b"EXFAT   "),
        put(CODE, 3, b"-FVE-FS-"),
        put(CODE, 1080, b"\x53\xef"),
        put(CODE, 1024, b"H+\0\4"),
        put(CODE, 1024, b"HX\0\5"),
        put(CODE, 1024, b"\x10\x20\xf5\xf2"),
        put(CODE, 65600, b"_BHRfS_M"),
        put(CODE, 0x202, b"HdrS"),
        put(put(put(CODE, 0, b"MZ"), 0x3C, b"\x80\0\0\0"), 128, b"PE\0\0"),
        mbr(),
        mbr(code=b"\xfa\x33\xc0"),
    ],
    ids=in_bytes,
)
def test_a_boot_sector_without_a_partition_table_is_raw(data: bytes) -> None:
    # RUL-70, IMG-UP-46, IMP-101, IMP-112, SEC-15
    findings = inspect(data)
    assert (findings.formats, findings.failures) == (("raw",), ())
    assert accepted(findings, "raw") == len(data)
    assert accepted(findings, "ami") is None


@pytest.mark.parametrize(
    "data",
    [
        CODE,
        put(fat(), 0x10, b"\x03"),
        put(fat(media=0xF1), 0, b"\xeb"),
        put(fat(media=0xF0), 0, b"\xfa"),
        put(fat(media=0xF0), 11, b"\0\1"),
        put(fat(media=0xF0), 13, b"\3"),
        put(fat(media=0xF0), 13, b"\0"),
        put(fat(media=0xF0), 14, b"\0\0"),
        put(put(CODE, 3, b"NTFS    "), 0, b"\0"),
        put(CODE, 0, b"MZ"),
        put(put(CODE, 0x3C, b"\x80\0\0\0"), 128, b"PE\0\0"),
    ],
    ids=in_bytes,
)
def test_an_unknown_boot_sector_is_checked_as_a_partition_table(data: bytes) -> None:
    # RUL-70, IMP-112
    findings = inspect(data)
    assert findings.formats == ("gpt",)
    assert {failure.check for failure in findings.failures} == {"mbr"}


@pytest.mark.parametrize("partitions", [(), (partition(),)])
def test_a_disk_with_a_volume_in_its_first_partition_has_a_partition_table(partitions: tuple[bytes, ...]) -> None:
    # RUL-70
    disk = put(mbr(partition(0xEE), *partitions), 512, b"EFI PART")
    disk = put(disk, 1080, b"\x53\xef")  # as in the superblock of ext
    assert inspect(disk).formats == ("gpt",)
    assert bool(inspect(disk).failures) == bool(partitions)


@pytest.mark.parametrize("identifier", [b"CD001", b"NSR02", b"NSR03"])
def test_every_kind_of_disc_is_detected(identifier: bytes) -> None:
    # IMP-101
    assert inspect(iso(identifier=identifier)).formats == ("iso",)


@pytest.mark.parametrize(
    "data",
    [
        udf(),
        udf(b"BEA01", b"NSR02", b"TEA01"),
        udf(b"BEA01", b"BOOT2", b"NSR03"),
        udf(step=4096),
        combined(udf(), mbr(partition())),
    ],
    ids=in_bytes,
)
def test_udf_without_iso_9660_is_a_disc_as_large_as_its_data(data: bytes) -> None:
    # RUL-71, IMP-101, IMG-UP-41
    findings = inspect(data)
    assert (findings.formats, findings.failures) == (("iso",), ())
    assert accepted(findings, "iso") == len(data)
    assert accepted(findings, "raw") == len(data)


@pytest.mark.parametrize(
    "data",
    [udf(b"BEA01"), udf(b"BEA01", b"TEA01", b"NSR03"), udf(b"XXXXX", b"NSR03"), udf()[: 36 * 1024 - 2048]],
    ids=in_bytes,
)
def test_an_extended_area_without_udf_is_no_disc(data: bytes) -> None:
    # IMP-101
    assert inspect(data).formats == ("raw",)


@pytest.mark.parametrize("content", [bytes(MIB), mbr(partition()), b"x" * 512, udf(), fat()], ids=in_bytes)
def test_a_fixed_vhd_is_a_vhd_when_it_is_declared_one_and_raw_otherwise(content: bytes) -> None:
    # RUL-71, IMP-101, IMG-UP-41
    findings = inspect(fixed_vhd(content))
    assert accepted(findings, "vhd") == len(content)
    assert accepted(findings, "raw") == len(content) + 512
    with pytest.raises(ContentRefused, match="disk_format is vhdx"):
        accepted(findings, "vhdx")


@pytest.mark.parametrize(
    "data",
    [
        fixed_vhd(kind=3),
        fixed_vhd(kind=4),
        fixed_vhd(size=2 * MIB),
        fixed_vhd(size=MIB - 512),
        fixed_vhd(checksum=0),
        fixed_vhd(b""),
        fixed_vhd() + b"\0",
        fixed_vhd()[:-1],
        fixed_vhd(EMPTY_QCOW2),
        fixed_vhd(qcow2()),
        fixed_vhd(combined(udf(), EMPTY_QCOW2)),
        bytes(MIB),
    ],
    ids=in_bytes,
)
def test_what_does_not_end_with_the_intact_footer_of_a_fixed_vhd_is_not_one(data: bytes) -> None:
    # RUL-71, SEC-12, SEC-14
    with pytest.raises(ContentRefused):
        accepted(inspect(data), "vhd")


def test_a_fixed_vhd_of_a_disk_keeps_the_checks_of_its_partition_table() -> None:
    # RUL-70, IMG-UP-45
    with pytest.raises(ContentRefused, match="gpt safety check mbr"):
        accepted(inspect(fixed_vhd(mbr(partition(flag=1)))), "vhd")


def test_luks_version_2_is_opaque_data() -> None:
    # SEC-13, IMP-115
    volume = luks(version=2)
    assert accepted(inspect(volume), "raw") == len(volume)
    with pytest.raises(ContentRefused, match="luks safety check luks2"):
        accepted(inspect(volume), "luks")


def test_a_field_that_is_not_known_is_named_unless_its_name_is_long() -> None:
    # SEC-09, RUL-71, SEC-116
    with pytest.raises(ContentRefused, match="the field otherPath of the descriptor is unknown"):
        accepted(inspect(ATTACKS["unknown field"][0]), "vmdk")
    with pytest.raises(ContentRefused, match="a field of the descriptor is unknown"):
        accepted(inspect(ATTACKS["unknown field of a long name"][0]), "vmdk")


def test_a_disc_that_does_not_state_its_size_has_none() -> None:
    # IMG-UP-41
    findings = inspect(iso(kind=0))
    assert accepted(findings, "iso") is None


@pytest.mark.parametrize("data", [b"", b"x", b"QFI\xfb", qcow2()[:511], b"KDMX" * 3, vdi()[:400]], ids=in_bytes)
def test_data_shorter_than_a_header_is_raw(data: bytes) -> None:
    # IMP-106; SEC-06, SEC-20: and so it is refused when it should have been something else
    findings = inspect(data)
    assert findings.formats == ("raw",)
    assert findings.failures == ()
    for declared in ("qcow2", "vmdk", "vdi", "iso"):
        with pytest.raises(ContentRefused, match=f"The data is raw, but disk_format is {declared}"):
            accepted(findings, declared)


def test_an_ordinary_text_is_raw() -> None:
    for text in (b"#!/bin/sh\necho hello\n" * 100, b"version: 2\n" * 100, b"# only a comment\n" * 3000):
        findings = inspect(text)
        assert (findings.formats, findings.failures) == (("raw",), ())
