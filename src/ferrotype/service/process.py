"""What tells one process from every other that ever ran on this machine."""

import os
from pathlib import Path


def identity(pid: int | None = None) -> str:
    """Return boot, process-id namespace, pid and start time of a process (this one); "" where that cannot be known.

    A process in another container may have the same pid, and a pid is used again: hence all four.
    """
    pid = pid or os.getpid()
    try:
        started = _started(pid)
        return f"{_here()} {pid} {started}" if started else ""
    except OSError:
        return ""


def is_gone(process: str) -> bool:
    """Tell whether a process that once ran on this machine is certainly no more.

    False also when that cannot be known: it runs elsewhere, or this system does not say. Many hide the processes
    of other users (``hidepid``, ``ProtectProc``), and still say whether there is one.
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
    except PermissionError:  # It is somebody else's.
        return True
    return True


def _started(pid: int) -> str:
    """Return when a process started, "" where it has ended; raise OSError where that cannot be read.

    One that has ended, and that nobody has waited for yet, is no more: an orphan's new parent may take its time.
    """
    # The name in parentheses is whatever the process chose, in any bytes.
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode("ascii").split()
    if fields[0] == "Z" and len([*Path(f"/proc/{pid}/task").iterdir()]) == 1:  # its other threads ended, too
        return ""
    return fields[19]


def _here() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
