"""From what the bytes are to whether an image may have them."""

from ferrotype.model.errors import ContentRefused
from ferrotype.streams.inspect.records import Failure, Findings

#: Formats that are told from their bytes. An image that declares any other one should be nothing in particular.
DETECTABLE = frozenset({"raw", "qcow2", "vhd", "vhdx", "vmdk", "vdi", "qed", "iso", "gpt", "luks"})

#: Kernels and ramdisks often start with something that resembles a boot sector.
BOOT_PARTS = frozenset({"aki", "ari"})

#: option value -> checks of a partition table that it makes harmless
TOLERATES = {"mbr": frozenset({"mbr", "gptmbr"}), "gptmbr": frozenset({"gptmbr"})}


def verdict(
    findings: Findings,
    disk_format: str | None,
    container_format: str | None,
    *,
    require_match: bool,
    nonfatal: tuple[str, ...],
) -> int | None:
    """Return the virtual size to record for an image with these formats, or refuse its data.

    Safety checks count whatever was declared and whatever ``require_match``
    says: a program that guesses formats does not read declarations. What is
    inside a container is opened by whoever unpacks it, so there only formats
    that might be opened as a disk by mistake are judged.
    """
    in_container = container_format not in (None, "bare")
    for failure in findings.failures:
        if failure.format == "gpt" and (in_container or tolerated(failure, findings, disk_format, nonfatal)):
            continue
        raise ContentRefused(f"the data fails the {failure.format} safety check {failure.check}: {failure.detail}")

    if in_container or disk_format is None:
        return None
    if len(findings.formats) == 1:
        detected = findings.formats[0]
        if disk_format == "raw":
            return findings.size or None
        if disk_format == detected:
            return findings.virtual_sizes.get(detected) or None
        if detected == "raw" and disk_format not in DETECTABLE:
            return None
        if detected == "gpt" and disk_format in BOOT_PARTS:
            return None
    if require_match:
        seen = " and ".join(findings.formats)
        raise ContentRefused(f"the data is {seen}, but disk_format says {disk_format}")
    return None


def tolerated(failure: Failure, findings: Findings, disk_format: str | None, nonfatal: tuple[str, ...]) -> bool:
    """Whether a failed check of the partition table is only a remark."""
    if findings.formats == ("gpt",) and disk_format in BOOT_PARTS:
        return True
    return any(failure.check in TOLERATES.get(name, frozenset()) for name in nonfatal)
