"""Source distribution and wheel as ``scripts/build`` makes them."""

import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from repository import ROOT


@dataclass(frozen=True)
class Distributions:
    """The two files of a build. ``epoch`` is the time that every file in them has."""

    sdist: Path
    wheel: Path

    @property
    def epoch(self) -> int:
        with tarfile.open(self.sdist) as archive:
            (time,) = {int(member.mtime) for member in archive}
        return time


def run(command: list[object], **options: object) -> str:
    """Run a command and return its standard output; fail with its standard error."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}: {done.stderr}{done.stdout}"
    return str(done.stdout)


def in_directory(directory: Path) -> Distributions:
    """Return the only build in a directory."""
    (sdist,), (wheel,) = directory.glob("*.tar.gz"), directory.glob("*.whl")
    return Distributions(sdist, wheel)


def build(directory: Path) -> Distributions:
    """Build the checkout with ``scripts/build``."""
    run([ROOT / "scripts" / "build", directory])
    return in_directory(directory)


def build_elsewhere(source: Path, target: str, directory: Path, epoch: int) -> Path:
    """Build a tree that is not the checkout, and return the file. ``target`` is ``sdist`` or ``wheel``."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", directory]
    run(command, cwd=source, env=os.environ | {"SOURCE_DATE_EPOCH": str(epoch)})
    (made,) = directory.iterdir()
    return made
