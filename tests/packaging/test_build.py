"""What ``scripts/build`` makes, and that it makes the same again."""

import email
import os
import re
import shutil
import sys
import tarfile
import zipfile
from email.message import Message
from pathlib import Path

import pytest
from distributions import Distributions, build_elsewhere, run
from repository import PRODUCT, ROOT, files

import ferrotype

pytestmark = pytest.mark.slow

#: Files of the package that are no modules.
DATA = {"ferrotype/config/ignored.toml", "ferrotype/py.typed"}
#: What authors of stores need of the helpers of tests.
SHIPPED = {"__init__.py", "store_suite"}
RECORDS = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}


def test_wheel_holds_the_package_without_test_helpers_and_nothing_else(distributions: Distributions) -> None:
    with zipfile.ZipFile(distributions.wheel) as archive:
        names = set(archive.namelist())
    package = {name for name in names if name.startswith("ferrotype/")}
    assert names - package == {f"ferrotype-{ferrotype.__version__}.dist-info/{name}" for name in RECORDS}
    assert {name for name in package if not name.endswith(".py")} == DATA
    modules = {path.relative_to(PRODUCT.parent) for path in PRODUCT.rglob("*.py")}
    assert package - DATA == {str(path) for path in modules if path.parts[1] != "testing" or path.parts[2] in SHIPPED}
    assert "ferrotype/db/migrations/versions/v0001_first.py" in package


def test_the_suite_of_store_drivers_runs_from_the_wheel(distributions: Distributions, tmp_path: Path) -> None:
    with zipfile.ZipFile(distributions.wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import ferrotype.testing.store_suite as suite, sys; assert len(suite.CHECKS) > 15; print(suite.__file__);"
        "assert 'pytest' not in sys.modules"
    )
    shown = run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert shown.strip() == str(tmp_path / "ferrotype" / "testing" / "store_suite" / "__init__.py")


def test_sdist_holds_every_file_of_the_repository_and_nothing_else(distributions: Distributions) -> None:
    with tarfile.open(distributions.sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive}
    assert names == {str(path.relative_to(ROOT)) for path in files()} | {"PKG-INFO"}


def test_same_files_give_the_same_distributions_elsewhere(distributions: Distributions, tmp_path: Path) -> None:
    source = tmp_path / "a folder"
    for path in files():
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        copy.chmod(0o700 if os.access(path, os.X_OK) else 0o600)
        os.utime(copy, (1, 1))
    for target, made in (("sdist", distributions.sdist), ("wheel", distributions.wheel)):
        again = build_elsewhere(source, target, tmp_path / target, distributions.epoch)
        assert again.name == made.name
        assert again.read_bytes() == made.read_bytes()


def test_sdist_builds_the_same_wheel(distributions: Distributions, tmp_path: Path) -> None:
    with tarfile.open(distributions.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    epoch = int((source / "PKG-INFO").stat().st_mtime)  # As the comment in scripts/build says.
    again = build_elsewhere(source, "wheel", tmp_path / "dist", epoch)
    assert again.read_bytes() == distributions.wheel.read_bytes()


@pytest.fixture(scope="module")
def metadata(distributions: Distributions) -> Message:
    with zipfile.ZipFile(distributions.wheel) as archive:
        return email.message_from_bytes(archive.read(f"ferrotype-{ferrotype.__version__}.dist-info/METADATA"))


def test_description_has_no_links_into_the_checkout(metadata: Message) -> None:
    assert metadata["Description-Content-Type"] == "text/markdown"
    description = metadata.get_payload()
    assert isinstance(description, str) and description.strip().startswith("# Ferrotype")
    assert re.findall(r"\]\((?!https?://)[^)]*\)|\]:", description) == []


def test_metadata_names_license_and_python_versions(metadata: Message) -> None:
    assert (metadata["License-Expression"], metadata["License-File"]) == ("Apache-2.0", "LICENSE")
    classifiers = metadata.get_all("Classifier", [])
    versions = [line for each in classifiers if (line := each.rpartition(":: ")[2]).startswith("3.")]
    assert metadata["Requires-Python"] == f">={versions[0]}"
    assert not [each for each in classifiers if each.startswith("License ::")], "PEP 639 forbids both"
