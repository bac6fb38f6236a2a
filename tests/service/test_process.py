"""Whether a process has ended: a live process is never reported gone."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from needs import need

from ferrotype.service.process import identity, is_gone

PR_SET_NAME = 15

#: Prints whether each named process is gone, as the user nobody, to whom processes of others are hidden.
HIDDEN = """
import os, sys
from ferrotype.service.process import is_gone
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    open(f"/proc/{sys.argv[1].split()[2]}/stat")
except FileNotFoundError:
    print(*(is_gone(process) for process in sys.argv[1:]))
"""


@contextmanager
def running() -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that waits for the block to end."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_process_of_another_user_counts_as_alive_under_hidepid() -> None:
    hiding = 'mount -t proc -o hidepid=2 proc /proc && exec "$@"'
    command = [str(need("unshare")), "--mount", "sh", "-c", hiding, "sh", sys.executable, "-c", HIDDEN]
    with running() as process:
        lives, gone = identity(process.pid), f"{identity().rsplit(' ', 2)[0]} 4194999 1"
        answer = subprocess.run([*command, lives, gone], capture_output=True, text=True, check=False)
        if "unshare:" in answer.stderr or "mount:" in answer.stderr:
            need("root-for-mount")
        assert answer.stdout == "False True\n", answer.stderr  # SEC-91


@pytest.mark.parametrize("name", ["приветик".encode()[:15], b"a) Z 1 (", b"\xff"])
def test_process_name_with_special_characters_is_parsed(name: bytes) -> None:
    code = f"import ctypes; ctypes.CDLL(None).prctl({PR_SET_NAME}, {name!r}, 0, 0, 0); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        mine = identity(process.pid)
        assert not is_gone(mine)
        assert is_gone(f"{mine.rpartition(' ')[0]} 1")  # the same number, another process
        process.kill()
    assert is_gone(mine)


def test_zombie_process_counts_as_gone() -> None:
    with running() as process:
        mine = identity(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert (is_gone(mine), identity(process.pid)) == (True, "")
    assert is_gone(mine)


@pytest.mark.parametrize("pid", ["0", "-1", "²", "9" * 30, ""])
def test_malformed_process_identity_is_never_reported_gone(pid: str) -> None:
    assert not is_gone(f"{identity().rsplit(' ', 2)[0]} {pid} 1")
