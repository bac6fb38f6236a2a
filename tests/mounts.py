"""File systems of a test's own, to be filled, made read-only, and frozen."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from needs import need


@contextmanager
def mounted(place: Path, size: int) -> Iterator[Path]:
    """Yield a directory with a file system of so many bytes; only root can have that."""
    place.mkdir()
    words = [str(need("mount")), "-t", "tmpfs", "-o", f"size={size},mode=0750", "ferrotype-test", str(place)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        need("root-for-mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def remount(place: Path, how: str) -> None:
    """Make a file system ``ro`` or ``rw``."""
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True)


@contextmanager
def ext4(place: Path, size: int) -> Iterator[Path]:
    """Yield a directory with an ext4 of so many bytes on a loop device, which can be frozen; only root can have that.

    It is thawed at the end in every case: a frozen file system cannot be unmounted, and its writers cannot end.
    """
    make, mount = need("mkfs.ext4"), need("mount")
    need("fsfreeze")
    disk = place.with_name(f"{place.name}.disk")
    with disk.open("wb") as file:
        file.truncate(size)
    subprocess.run([str(make), "-q", "-F", "-m", "0", str(disk)], check=True)
    place.mkdir()
    if subprocess.run([str(mount), "-o", "loop", str(disk), str(place)], capture_output=True, check=False).returncode:
        need("loop-devices-and-root")
    try:
        yield place
    finally:
        thaw(place)
        end = time.monotonic() + 60
        # Threads that were frozen have files open for a moment yet.
        while subprocess.run(["umount", str(place)], capture_output=True, check=False).returncode:
            if time.monotonic() > end:
                subprocess.run(["umount", "--lazy", str(place)], check=True)
                raise TimeoutError(f"{place} stays in use")
            time.sleep(0.1)
        disk.unlink()


def freeze(place: Path) -> None:
    """Let every write to a file system wait until ``thaw``, as a snapshot agent does; reading works."""
    subprocess.run(["fsfreeze", "--freeze", str(place)], check=True)


def thaw(place: Path) -> None:
    """End ``freeze``; a file system that is not frozen stays as it is."""
    subprocess.run(["fsfreeze", "--unfreeze", str(place)], capture_output=True, check=False)
