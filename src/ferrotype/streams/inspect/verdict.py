"""Decide whether an image may have its data: compare the findings with the declared formats."""

import msgspec

from ferrotype.model.errors import ContentRefused
from ferrotype.streams.inspect.records import Failure, Findings

#: Formats that the inspector knows. Data of an image that declares any other one should be raw.
DETECTABLE = frozenset({"raw", "qcow2", "vhd", "vhdx", "vmdk", "vdi", "qed", "iso", "gpt", "luks"})

#: Kernels and ramdisks often begin with something that resembles a boot sector.
BOOT_PARTS = frozenset({"aki", "ari"})

#: What the start of a fixed VHD may be: the contents of a disk, not another format of disk images.
FIXED_VHD_CONTENTS = frozenset({"raw", "gpt", "iso", "luks"})

#: value of the option -> checks of a partition table that it makes harmless
TOLERATES = {"mbr": frozenset({"mbr", "gptmbr"}), "gptmbr": frozenset({"gptmbr"})}

MATCH_OPTION = "[image_format] require_image_format_match = false"
TABLE_OPTION = "[image_format] gpt_safety_checks_nonfatal = "


class Tolerated(msgspec.Struct, frozen=True):
    """A finding that does not refuse the data. ``option`` is the setting that says so; empty when none does."""

    found: str
    declared: str
    check: str
    option: str


class Verdict(msgspec.Struct, frozen=True):
    """The virtual size to record, in bytes, and the findings that are tolerated."""

    virtual_size: int | None
    tolerated: tuple[Tolerated, ...] = ()


def check_format(
    findings: Findings,
    disk_format: str | None,
    container_format: str | None,
    *,
    require_match: bool,
    nonfatal: tuple[str, ...],
) -> Verdict:
    """Return the verdict on data for an image with these formats, or raise ContentRefused (IMG-UP-41..45).

    Safety checks count whatever was declared and whatever ``require_match`` says: a program that probes formats
    ignores the declared one. What is inside a container is opened by the program that unpacks it, so only the
    formats that could be opened as a disk by mistake are checked there.
    """
    declared = disk_format or "none"
    found = "+".join(findings.formats)
    in_container = container_format not in (None, "bare")
    tolerated = []
    for failure in findings.failures:
        option = tolerating_option(failure, findings, disk_format, in_container, nonfatal)
        if option is None:
            text = f"The data fails the {failure.format} safety check {failure.check}: {failure.detail}"
            raise refused(text, found, declared, failure.check, option_for(failure))
        tolerated.append(Tolerated(found, declared, failure.check, option))

    if in_container or disk_format is None:
        return Verdict(None, tuple(tolerated))
    if matches(findings, disk_format):
        return Verdict(virtual_size(findings, disk_format), tuple(tolerated))
    if require_match:
        text = f"The data is {' and '.join(findings.formats)}, but disk_format is {disk_format}"
        raise refused(text, found, declared, "match", MATCH_OPTION)
    return Verdict(None, (*tolerated, Tolerated(found, declared, "match", MATCH_OPTION)))


def matches(findings: Findings, disk_format: str) -> bool:
    """Return whether data of the formats found may be declared ``disk_format`` (IMG-UP-41..46)."""
    if len(findings.formats) != 1:
        return False
    found = findings.formats[0]
    if disk_format in ("raw", found):
        return True
    if disk_format == "vhd":
        return findings.fixed_vhd is not None and found in FIXED_VHD_CONTENTS
    return (found == "raw" and disk_format not in DETECTABLE) or (found == "gpt" and disk_format in BOOT_PARTS)


def virtual_size(findings: Findings, disk_format: str) -> int | None:
    """Return the virtual size of data that matches ``disk_format``; None when it is unknown or 0."""
    if disk_format == "raw":
        return findings.size or None
    size = findings.virtual_sizes.get(disk_format)
    return (findings.fixed_vhd if size is None and disk_format == "vhd" else size) or None


def tolerating_option(
    failure: Failure, findings: Findings, disk_format: str | None, in_container: bool, nonfatal: tuple[str, ...]
) -> str | None:
    """Return the setting that tolerates ``failure``, empty when none is needed; None when it is not tolerated."""
    if failure.check == "luks2" and (in_container or disk_format != "luks"):
        return ""
    if failure.format != "gpt":
        return None
    if in_container or (findings.formats == ("gpt",) and disk_format in BOOT_PARTS):
        return ""
    for name in nonfatal:
        if failure.check in TOLERATES.get(name, frozenset()):
            return TABLE_OPTION + name
    return None


def option_for(failure: Failure) -> str:
    """Return the setting that would tolerate ``failure``; empty when there is none."""
    return TABLE_OPTION + failure.check if failure.format == "gpt" and failure.check in TOLERATES else ""


def refused(text: str, found: str, declared: str, check: str, option: str) -> ContentRefused:
    """Return the error; its text names the setting that allows such data."""
    hint = f" The operator can allow it with {option}." if option else ""
    return ContentRefused(f"{text}.{hint}", check=check, found=found, declared=declared, option=option)


def log_context(finding: ContentRefused | Tolerated) -> str:
    """Return the log context (key=value) of a refusal or a tolerated finding."""
    option = finding.option or "none"
    return f"declared={finding.declared} found={finding.found} check={finding.check} option={option!r}"
