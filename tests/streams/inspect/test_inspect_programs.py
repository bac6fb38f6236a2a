"""Images of real programs, each declared as its format: detected, sized and accepted."""

import json
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from made import MADE, Made, fetch_packages, make, result, table
from needs import need

ROOT = Path(__file__).parents[3]
#: What qemu calls the formats that it can open and size.
QEMU = {"qcow2": "qcow2", "vmdk": "vmdk", "vdi": "vdi", "vhd": "vpc", "vhdx": "vhdx"}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Return a function that fetches the packages once, for the first test that asks."""
    return cache(lambda: fetch_packages(tmp_path_factory.mktemp("packages")))


@pytest.mark.parametrize("made", MADE, ids=lambda made: f"{made.declared} of {made.title}")
def test_an_image_of_a_program_is_found_sized_and_accepted(
    made: Made, packages: Callable[[], Path], tmp_path: Path
) -> None:
    # RUL-70, RUL-71, SEC-15, IMP-101, IMP-118, IMG-UP-41
    data = make(made, tmp_path, packages)
    found, virtual_size, refused = result(made, data)
    assert (found, refused) == (made.found, made.refused)
    if made.virtual_size is not None:
        assert virtual_size == made.virtual_size
    elif made.declared == "raw" and not refused:
        assert virtual_size == len(data)
    elif made.declared == "iso":
        assert virtual_size is not None
        assert 0 < virtual_size <= len(data)


@pytest.mark.parametrize(
    "made", [made for made in MADE if made.declared in QEMU], ids=lambda made: f"{made.declared} of {made.title}"
)
def test_qemu_opens_the_same_image_and_sees_the_same_size(
    made: Made, packages: Callable[[], Path], tmp_path: Path
) -> None:
    # IMG-UP-41: so that the images that are put together here are real ones for another reader too
    path = tmp_path / "image"
    path.write_bytes(make(made, tmp_path, packages))
    command = [need("qemu-img"), "info", "-f", QEMU[made.declared], "--output=json", path]
    info = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    # qemu rounds the size of a VHD to whole cylinders unless it knows the program that made it.
    assert info["virtual-size"] == made.virtual_size or "Hyper-V" in made.program


def test_the_table_of_formats_shows_these_images() -> None:
    assert table() in (ROOT / "docs" / "reference" / "image-formats.md").read_text()
