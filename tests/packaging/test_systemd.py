"""The systemd unit in ``contrib``: systemd accepts it, and the service needs nothing that it forbids."""

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from distributions import run
from needs import need
from samples import CONTRIB, adapted

from ferrotype.config.server import Server
from ferrotype.server.supervisor import KILL_DELAY
from ferrotype.server.worker import ROLLBACK_SECONDS
from ferrotype.testing.process import served

UNIT = "systemd/ferrotype.service"
#: Ten times the exposure level that "systemd-analyze security" may find; 100 is a service without any restriction.
MAX_EXPOSURE = 12


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with the command of this environment."""
    file = tmp_path / "ferrotype.service"
    file.write_text(adapted(UNIT, {"/opt/ferrotype/bin/ferrotype": Path(sys.executable).with_name("ferrotype")}))
    return file


def values(name: str) -> list[str]:
    """Return what the unit says of a setting."""
    return re.findall(rf"^{name}=(.*)$", (CONTRIB / UNIT).read_text(), re.MULTILINE)


def test_systemd_accepts_the_unit(unit: Path) -> None:
    command = [need("systemd-analyze"), "verify", "--man=no", unit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_exposure_is_low(unit: Path) -> None:
    limit = f"--threshold={MAX_EXPOSURE}"
    run([need("systemd-analyze"), "security", "--offline=yes", "--no-pager", limit, unit])


def test_systemd_waits_for_a_graceful_stop() -> None:
    longest = Server().graceful_timeout + ROLLBACK_SECONDS + KILL_DELAY
    assert float(values("TimeoutStopSec")[0]) > longest


def test_user_and_configuration_are_created(tmp_path: Path) -> None:
    root = f"--root={tmp_path}"
    (tmp_path / "etc").mkdir()
    run([need("systemd-sysusers"), root, CONTRIB / "systemd" / "ferrotype.sysusers.conf"])
    assert "ferrotype:x:" in (tmp_path / "etc" / "passwd").read_text()
    if os.getuid() != 0:
        pytest.skip("only root may give the files to the user")
    run([need("systemd-tmpfiles"), root, "--create", CONTRIB / "systemd" / "ferrotype.tmpfiles.conf"])
    group = int((tmp_path / "etc" / "passwd").read_text().split("ferrotype:x:")[1].split(":")[1])
    for name, mode in ("", 0o750), ("ferrotype.conf", 0o640):
        found = (tmp_path / "etc" / "ferrotype" / name).stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, group, mode)


@cache
def system_calls(group: str) -> set[str]:
    """Return the system calls of a group such as ``@system-service``."""
    printed = run([need("systemd-analyze"), "syscall-filter", "--no-pager", group])
    words = [line.strip() for line in printed.splitlines()[1:]]
    found = {word for word in words if word and not word.startswith(("#", "@"))}
    return found.union(*(system_calls(word) for word in words if word.startswith("@")))


def allowed_calls() -> set[str]:
    """Return the system calls that the unit allows; systemd always allows those of ``@default``."""
    found = system_calls("@default")
    for line in values("SystemCallFilter"):
        words = line.lstrip("~").split()
        named = set().union(*(system_calls(word) if word.startswith("@") else {word} for word in words))
        found = found - named if line.startswith("~") else found | named
    return found


@pytest.mark.slow
def test_service_does_nothing_that_the_unit_forbids(tmp_path: Path) -> None:
    need("curl")
    trace = tmp_path / "trace"
    strace = (str(need("strace")), "-D", "-f", "-qq", "-s", "64", "-o", str(trace))
    with served(tmp_path / "service", wrapper=strace) as service:
        images = f"{service.url}/v2/images"
        curl = ["curl", "--silent", "--show-error", "--fail"]
        created = run([*curl, "--json", '{"disk_format": "raw", "container_format": "bare"}', images])
        image = f"{images}/{json.loads(created)['id']}"
        (tmp_path / "disk").write_bytes(os.urandom(1 << 20))
        octets = ["-H", "Content-Type: application/octet-stream"]
        run([*curl, "-T", tmp_path / "disk", *octets, f"{image}/file"])
        run([*curl, "--output", tmp_path / "copy", f"{image}/file"])
        run([*curl, "-X", "DELETE", image])
        assert service.stop() == 0
    lines = trace.read_text().splitlines()
    calls = {match[1] for line in lines if (match := re.match(r"\d+ +(\w+)\(", line))}
    assert {"accept4", "fsync", "sendfile"} & calls == {"accept4", "fsync", "sendfile"}, "the trace covers transfers"
    by_root = {"fchown"} if os.getuid() == 0 else set()  # SQLite's, for a user that the unit does not run as.
    assert calls - allowed_calls() - by_root == set()
    assert [line for line in lines if "PROT_WRITE|PROT_EXEC" in line] == [], "MemoryDenyWriteExecute=yes"
    families = {match[1] for line in lines if (match := re.search(r" socket(?:pair)?\((AF_\w+)", line))}
    assert families <= set(values("RestrictAddressFamilies")[0].split())
