"""What tells one process from every other that ever ran on this machine."""

import os
from pathlib import Path


def identity(pid: int | None = None) -> str:
    """Return boot, process-id namespace, pid and start time of a process (this one); "" if there is none.

    A process in another container may have the same pid, and a pid is used again: hence all four. One that has
    ended, and that nobody has waited for yet, is no more: an orphan's new parent may take its time.
    """
    pid = pid or os.getpid()
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        if fields[0] == "Z" and len([*Path(f"/proc/{pid}/task").iterdir()]) == 1:  # its other threads ended, too
            return ""
        return f"{_here()} {pid} {fields[19]}"
    except OSError:
        return ""


def is_gone(process: str) -> bool:
    """Tell whether a process that once ran on this machine is certainly no more.

    False also when that cannot be known: it runs elsewhere, or this system does not say.
    """
    boot, _, rest = process.partition(" ")
    namespace, _, rest = rest.partition(" ")
    pid = rest.partition(" ")[0]
    try:
        if f"{boot} {namespace}" != _here() or not pid.isdigit():
            return False
    except OSError:
        return False
    return identity(int(pid)) != process


def _here() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
