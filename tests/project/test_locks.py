"""The lock files satisfy pyproject.toml, with hashes and without URLs."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from repository import ROOT

LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


def locked(lock: Path) -> dict[str, str]:
    """Return the version of every package in a lock file."""
    return dict(re.findall(r"^([a-z0-9._-]+)==([^ \\]+)", lock.read_text(), re.MULTILINE))


def declared(group: str) -> Iterator[str]:
    """Yield what a dependency group asks for, other groups it includes too."""
    for word in PROJECT["dependency-groups"][group]:
        if isinstance(word, str):
            yield word
        else:
            yield from declared(word["include-group"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("runtime", PROJECT["project"]["dependencies"]),
        ("build", list(declared("build"))),
        ("dev", [*PROJECT["project"]["dependencies"], *declared("dev")]),
    ],
)
def test_lock_file_satisfies_pyproject(name: str, words: list[str]) -> None:
    versions = locked(ROOT / "requirements" / f"{name}.lock")
    asked = [Requirement(word) for word in words]
    wrong = [str(need) for need in asked if versions.get(canonicalize_name(need.name), "") not in need.specifier]
    assert wrong == [], "scripts/lock makes the files anew"


def test_every_direct_dependency_has_a_reason() -> None:
    page = ROOT / "docs" / "reference" / "dependencies.md"
    reasons = re.findall(r"^\| ([\w.-]+)", page.read_text(), re.MULTILINE)
    direct = [Requirement(word).name for word in [*PROJECT["project"]["dependencies"], *declared("dev")]]
    assert set(direct) - set(reasons) == set()


def test_runtime_and_dev_locks_agree() -> None:
    runtime, dev = (locked(ROOT / "requirements" / f"{name}.lock") for name in ("runtime", "dev"))
    assert runtime.items() <= dev.items()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_locked_package_has_hashes_and_no_url(lock: Path) -> None:
    packages = re.split(r"^(?=[a-z0-9._-]+==)", lock.read_text(), flags=re.MULTILINE)[1:]
    assert packages
    assert [package.splitlines()[0] for package in packages if "--hash=sha256:" not in package] == []
    assert re.findall(r"://|--find-links|--index|--extra", lock.read_text()) == []
