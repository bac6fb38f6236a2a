"""File systems of a test's own, to be filled and made read-only."""

import subprocess
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
