"""Resource use of processes, from /proc: CPU and peak memory of a process tree, and CPU of the whole host."""

import os
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """Return a process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += parents.get(pid, [])
    return found


def cpu(root: int | None) -> float:
    """Return the CPU seconds of a tree so far, those of its ended children included; 0 for no process."""
    if root is None:
        return 0.0
    return sum(sum(map(int, fields[11:15])) for pid in tree(root) if (fields := _stat(pid))) / _TICK


def busy() -> float:
    """Return the CPU seconds that all processes of this machine have used so far."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().partition("\n")[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / _TICK


def forget_peak(root: int | None) -> None:
    """Let the highest memory of a tree be counted from now, where this user may; else it counts from its start."""
    for pid in tree(root) if root is not None else ():
        try:
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        except OSError:
            continue  # Another user's process, or one that has just ended.


def peak_mib(root: int | None) -> float | None:
    """Return the most MiB that any one process of a tree had in memory; None for no process."""
    if root is None:
        return None
    peaks = [0]
    for pid in tree(root):
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            continue  # It has just ended.
        peaks += [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return max(peaks) / 1024


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on; None when the process has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()
