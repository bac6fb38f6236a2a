"""Compares the verdicts on mutated images with qemu-img and with oslo.utils, which Nova, Cinder and Glance use.

    python differential.py [--count 20000] [--seed 1]

Whatever ``qemu-img info`` reports with a backing, data, extent or parent file must be refused, whatever is declared
and configured. qemu-img runs without a network, with limits for memory, CPU time, open files and file sizes.
"""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from generators import inspect
from inspect_reference import names, reference, unsafe
from mutants import HIDDEN, Bases, makers

from ferrotype.model.errors import ContentRefused
from ferrotype.streams.inspect import Findings, check_format

LIMITS = ("prlimit", "--as=4294967296", "--cpu=10", "--nofile=64", "--fsize=0", "--core=0")
TIMEOUT = 60
#: (our verdict, theirs, why they differ): where one accepts and the other refuses data that is declared raw
REASONS = (
    ("accepted", "refused: gpt unsafe", "a boot sector without a partition table (RUL-70)"),
    ("accepted", "refused: qcow2 unsafe", "extended L2 entries, which name nothing (SEC-03)"),
    ("accepted", "refused: luks unsafe", "LUKS version 2 is opaque (SEC-13)"),
    ("accepted", "refused: it breaks down", "a text that is ASCII at first only: the inspector of oslo.utils raises"),
    (
        r"refused: raw (backing_file|data_file|banned)",
        "accepted",
        "a header shorter than 512 bytes, which a reader fills up with zeros (SEC-05)",
    ),
    (
        r"refused: (raw|gpt) (descriptor|header)",
        "accepted",
        "a descriptor or COWD for a reader that is more lenient (SEC-07)",
    ),
    (
        r"refused: vmdk (descriptor|parent|footer)",
        "accepted",
        "a descriptor or footer that readers understand differently, or that names a parent (SEC-09..11)",
    ),
    (r"refused: vmdk (capacity|size|header)", "accepted", "a VMDK header that no program writes (SEC-08, SEC-16)"),
    (r"refused: qcow2 \w+", "accepted", "qcow2 fields that no program writes (SEC-03, SEC-16)"),
    (
        r"refused: (vdi|vhd|vhdx) \w+",
        "accepted",
        "parents, logs and fields of formats in which oslo.utils checks nothing (SEC-12, SEC-16)",
    ),
    (r"refused: .*\+iso \w+", "accepted", "UDF without ISO 9660 and another format in one (RUL-71, SEC-14)"),
)
DECLARED = ("raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi", "iso", "ami", "ploop", None)
OUTSIDE_KEYS = ("backing-filename", "full-backing-filename", "backing-filename-format")


@dataclass
class Counts:
    """What a run has found."""

    images: Counter[str] = field(default_factory=Counter)
    opened: Counter[str] = field(default_factory=Counter)
    outside: Counter[str] = field(default_factory=Counter)
    #: (our verdict on data declared raw, theirs) -> images
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: seeds of images that name another file for qemu-img and pass here
    missed: list[str] = field(default_factory=list)


class Qemu:
    """Asks qemu-img about one file after the other."""

    def __init__(self, directory: Path, program: Path):
        self.program = program
        self._path = directory / "image"

    def look(self, data: bytes, kind: str) -> tuple[bool, bool]:
        """Return whether it opens ``data``, and whether it then names another file; guessing, and as ``kind``."""
        self._path.write_bytes(data)
        opened = outside = False
        for format in ((), ("-f", kind)):
            command = [*LIMITS, self.program, "info", *format, "--output=json", self._path]
            done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, cwd=self._path.parent)
            opened |= done.returncode == 0
            outside |= HIDDEN.encode() in done.stdout + done.stderr
            if done.returncode == 0:
                outside |= self._names_another_file(json.loads(done.stdout))
        return opened, outside

    def _names_another_file(self, info: dict[str, Any]) -> bool:
        special = info.get("format-specific", {}).get("data", {})
        extents = special.get("extents", [])
        return (
            any(info.get(key) for key in OUTSIDE_KEYS)
            or bool(special.get("data-file"))
            or any(extent.get("filename") != str(self._path) for extent in extents)
        )


def isolated_command() -> list[str]:
    """Return what starts this program again without a network, where the system permits that."""
    for words in (["unshare", "-n"], ["unshare", "-rn"]):
        if shutil.which("unshare") and subprocess.run([*words, "true"], capture_output=True).returncode == 0:
            return [*words, sys.executable, *sys.argv, "--isolated"]
    print("the network cannot be taken away here", file=sys.stderr)
    return []


def passes_somehow(findings: Findings) -> bool:
    """Return whether the data would be taken for any declared format under the most permissive settings."""
    for declared in DECLARED:
        for container in ("bare", "ova"):
            try:
                check_format(findings, declared, container, require_match=False, nonfatal=("mbr", "gptmbr"))
            except ContentRefused:
                continue
            return True
    return False


def reason(ours: str, theirs: str) -> str | None:
    """Return why the verdicts differ, empty when they do not; None when that is not known."""
    if (ours == "accepted") == (theirs == "accepted"):
        return ""
    return next((why for one, two, why in REASONS if re.fullmatch(one, ours) and re.fullmatch(two, theirs)), None)


def our_verdict(findings: Findings) -> str:
    """Return what becomes of the data when it is declared raw, by default."""
    try:
        check_format(findings, "raw", "bare", require_match=True, nonfatal=())
    except ContentRefused as refusal:
        return f"refused: {refusal.found} {refusal.check}"
    return "accepted"


def their_verdict(data: bytes) -> str:
    """Return what becomes of the same data with the inspector of oslo.utils."""
    found = reference(data)
    if found is None:
        return "refused: it breaks down"
    formats = "+".join(sorted(names(found)))
    if len(found) > 1:
        return f"refused: {formats}"
    return f"refused: {formats} unsafe" if unsafe(found) else "accepted"


def compare(count: int, seed: str, qemu_img: Path) -> Counts:
    """Compare ``count`` images."""
    counts = Counts()
    with tempfile.TemporaryDirectory(prefix="inspect-") as name:
        qemu = Qemu(Path(name), qemu_img)
        kinds = makers(Bases(Path(name), qemu_img))
        weights = [weight for weight, _, _ in kinds.values()]
        for number in range(count):
            chance = random.Random(f"{seed}/{number}")
            subject = chance.choices(list(kinds), weights)[0]
            _, kind, make = kinds[subject]
            data = make(chance)
            findings = inspect(data)
            opened, outside = qemu.look(data, kind)
            counts.images[subject] += 1
            counts.opened[subject] += opened
            counts.outside[subject] += outside
            counts.verdicts[our_verdict(findings), their_verdict(data)] += 1
            if number % 1000 == 999:
                print(f"{number + 1:,} images", file=sys.stderr)
            if outside and passes_somehow(findings):
                counts.missed.append(f"{seed}/{number} ({subject})")
    return counts


def report(counts: Counts) -> str:
    """Return the counts as tables."""
    lines = [
        "| images | number | opened by qemu-img | naming another file | of these not refused |",
        "|---|---|---|---|---|",
    ]
    rows = [
        (
            name,
            number,
            counts.opened[name],
            counts.outside[name],
            sum(f"({name})" in entry for entry in counts.missed),
        )
        for name, number in counts.images.most_common()
    ]
    rows.append(("all", *(sum(row[column] for row in rows) for column in range(1, 5))))
    lines += [f"| {name} | " + " | ".join(f"{number:,}" for number in numbers) + " |" for name, *numbers in rows]
    reasons: Counter[tuple[str, str, str]] = Counter()
    for (ours, theirs), number in counts.verdicts.items():
        why = reason(ours, theirs)
        words = [verdict.partition(":")[0] for verdict in (ours, theirs)]
        reasons[words[0], words[1], "the same" if why == "" else why or f"UNEXPLAINED: {ours} / {theirs}"] += number
    lines += ["", "| declared raw: ours | oslo.utils | why | images |", "|---|---|---|---|"]
    lines += [f"| {ours} | {theirs} | {why} | {number:,} |" for (ours, theirs, why), number in reasons.most_common()]
    return "\n".join([*lines, "", *(f"NOT REFUSED: {entry}" for entry in counts.missed)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--isolated", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.isolated and (command := isolated_command()):
        os.execvp(command[0], command)
    found = shutil.which("qemu-img")
    if found is None:
        print("qemu-img is missing (package qemu-utils)", file=sys.stderr)
        return 2
    counts = compare(arguments.count, arguments.seed, Path(found))
    print(report(counts))
    unexplained = any(reason(*verdicts) is None for verdicts in counts.verdicts)
    return 1 if counts.missed or unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
