"""A test whose program is missing is skipped and listed at the end of the run; in CI it fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

TESTS = """
import pytest
from needs import need

@pytest.fixture(scope="session")
def server():
    return need("no-such-server")

def test_with_a_server(server): pass

def test_with_a_tool(): need("no-such-tool")

def test_with_what_is_there(): assert need("git").exists()
"""


def run(folder: Path, ci: str, *words: str) -> tuple[int, list[str]]:
    """Run those tests, and return the exit code and the lines of the last section."""
    for name in ("conftest.py", "needs.py", "reach.py"):
        shutil.copy(ROOT / "tests" / name, folder)
    (folder / "test_it.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -q -p no:cacheprovider\n")
    environment = {**os.environ, "CI": ci, "PYTEST_ADDOPTS": ""}
    command = [sys.executable, "-m", "pytest", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.partition("tests that could not run here")[2].splitlines()[1:6]


NAMED = [
    "no-such-server is missing (package no-such-server); not run: 1",
    "    test_it.py::test_with_a_server",
    "no-such-tool is missing (package no-such-tool); not run: 1",
    "    test_it.py::test_with_a_tool",
]


@pytest.mark.slow
def test_test_without_its_program_is_skipped_and_listed(tmp_path: Path) -> None:
    code, lines = run(tmp_path, "", "-n", "1")
    assert (code, lines[:4]) == (0, NAMED)
    assert lines[4].startswith("1 passed, 2 skipped")


@pytest.mark.slow
def test_test_without_its_program_fails_in_ci(tmp_path: Path) -> None:
    code, lines = run(tmp_path, "true")
    assert (code, lines[:4]) == (1, NAMED)
