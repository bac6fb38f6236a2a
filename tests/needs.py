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

import pytest

from ferrotype.testing import keystone, postgres

#: What brings a program, for the sentence at the end.
PACKAGES = {
    "genisoimage": "genisoimage",
    "haproxy": "haproxy",
    "htpasswd": "apache2-utils",
    "keystone": "keystone, by scripts/prepare servers",
    "memcached": "memcached",
    "postgresql": "postgresql",
    "qemu-img": "qemu-utils",
    "strace": "strace",
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
        on_path = shutil.which(program)
        found = Path(on_path) if on_path else None
    if found is None:
        reason = f"needs {program}, which cannot be had here"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return found


def wanting(reports: Iterable[pytest.TestReport]) -> dict[str, list[str]]:
    """Return the tests that did not run for want of a program, by program."""
    tests: dict[str, list[str]] = defaultdict(list)
    for report in reports:
        for program in MISSING.findall(str(report.longrepr)):
            tests[program].append(report.nodeid)
    return dict(tests)
