"""Which formats an image may have, and how strictly its data is checked."""

import re
from dataclasses import dataclass

from ferrotype.config.options import BOOL, NAMES, Option
from ferrotype.config.values import Values

_SAFETY_CHECKS = ("mbr", "gptmbr")


@dataclass(frozen=True)
class Formats:
    """Which formats an image may declare, and whether its data must be of the declared one."""

    disk_formats: tuple[str, ...] = (
        "ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop",
    )  # fmt: skip
    container_formats: tuple[str, ...] = (
        "ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed",
    )  # fmt: skip
    require_match: bool = True
    #: partition-table checks that only produce a warning
    gpt_nonfatal: tuple[str, ...] = ()


OPTIONS = (
    Option("image_format", "disk_formats", NAMES, list(Formats.disk_formats), "allowed values of `disk_format`",
           dest="formats.disk_formats", reloadable=True, deprecated_names=(("DEFAULT", "disk_formats"),)),
    Option("image_format", "container_formats", NAMES, list(Formats.container_formats),
           "allowed values of `container_format`", dest="formats.container_formats", reloadable=True,
           deprecated_names=(("DEFAULT", "container_formats"),)),
    Option("image_format", "require_image_format_match", BOOL, Formats.require_match,
           "the data must be of the declared format; the safety checks of formats always run",
           dest="formats.require_match", reloadable=True),
    Option("image_format", "gpt_safety_checks_nonfatal", NAMES, [],
           "partition-table checks that only produce a warning: `mbr`, `gptmbr`",
           dest="formats.gpt_nonfatal", reloadable=True),
)  # fmt: skip


def read(values: Values) -> Formats:
    """Return the formats, each once."""
    fields = values.fields(OPTIONS, "formats")
    for name in ("disk_formats", "container_formats"):
        fields[name] = tuple(dict.fromkeys(fields[name]))
        if any(not re.fullmatch(r"\S{1,64}", entry) for entry in fields[name]):
            values.problem("image_format", name, "must be names of 1 to 64 characters separated by commas")
        if not fields[name]:
            values.problem("image_format", name, "is empty, so no image could have data; list at least one format")
    if unknown := sorted(set(fields["gpt_nonfatal"]) - set(_SAFETY_CHECKS)):
        text = f"contains the unknown check {unknown[0]!r}; use {' or '.join(_SAFETY_CHECKS)}"
        values.problem("image_format", "gpt_safety_checks_nonfatal", text)
    return Formats(**fields)
