"""Identify processes of this host, across reboots, containers and reused process ids."""

import os
from pathlib import Path


def identity(pid: int | None = None) -> str:
    """Return boot id, pid namespace, pid and start time of a process, by default this one; "" if unknown.

    All four are needed: processes in other containers may have the same pid, and pids are reused.
    """
    pid = pid or os.getpid()
    try:
        started = _started(pid)
        return f"{_here()} {pid} {started}" if started else ""
    except OSError:
        return ""


def is_gone(process: str) -> bool:
    """Tell whether a process of this host has certainly ended.

    False if that is unknown: the process belongs to another host or container, or /proc hides its details. With
    ``hidepid`` or ``ProtectProc`` the existence of other users' processes can still be checked.
    """
    boot, _, rest = process.partition(" ")
    namespace, _, rest = rest.partition(" ")
    pid, _, started = rest.partition(" ")
    try:
        if f"{boot} {namespace}" != _here() or not pid.isdecimal():
            return False
        if not _exists(int(pid)):
            return True
        return _started(int(pid)) != started
    except (OSError, OverflowError):
        return False


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # It exists, and another user runs it.
        return True
    return True


def _started(pid: int) -> str:
    """Return the start time of a process, "" if it has ended; raise OSError if that cannot be read.

    A zombie has ended, although its parent has not reaped it yet.
    """
    # The name in parentheses is chosen by the process and may contain any bytes.
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode("ascii").split()
    if fields[0] == "Z" and len([*Path(f"/proc/{pid}/task").iterdir()]) == 1:  # its other threads ended, too
        return ""
    return fields[19]


def _here() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
