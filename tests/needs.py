"""Programs that a test needs and that may be missing on the machine.

``need("qemu-img")`` returns where the program is. Where it cannot be had the
test does not run, the end of the run names it, and when ``CI`` is true it
fails: what nobody could run has not passed.
"""

import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import pytest

from ferrotype.testing import keystone, postgres

#: What brings a program, for the sentence at the end.
PACKAGES = {
    "cryptsetup": "cryptsetup-bin",
    "genisoimage": "genisoimage",
    "haproxy": "haproxy",
    "keystone": "keystone, by scripts/prepare servers",
    "memcached": "memcached",
    "mkfs.exfat": "exfatprogs",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.ntfs": "ntfs-3g",
    "mkfs.vfat": "dosfstools",
    "mkudffs": "udftools",
    "postgresql": "postgresql",
    "qemu-img": "qemu-utils",
    "sfdisk": "fdisk",
    "sgdisk": "gdisk",
    "strace": "strace",
    "xorriso": "xorriso",
}
MISSING = re.compile(r"needs (\S+), which cannot be had here")


def need(program: str) -> Path:
    """Return where ``program`` is; end the test that asks when it is nowhere.

    ``postgresql`` and ``keystone`` are servers: their programs' folder is returned.
    """
    if program == "postgresql":
        found = postgres.find()
    elif program == "keystone":
        found = keystone.find()
    else:
        # Tools that make file systems are not on the PATH of everybody.
        on_path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        found = Path(on_path) if on_path else None
    if found is None:
        unavailable(program)
    return found


def unavailable(program: str) -> NoReturn:
    """End the test that asks for a program, or a package, that cannot be had."""
    reason = f"needs {program}, which cannot be had here"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def wanting(reports: Iterable[pytest.TestReport]) -> dict[str, list[str]]:
    """Return the tests that did not run for want of a program, by program."""
    tests: dict[str, list[str]] = defaultdict(list)
    for report in reports:
        for program in MISSING.findall(str(report.longrepr)):
            tests[program].append(report.nodeid)
    return dict(tests)
