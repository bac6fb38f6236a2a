"""A quick run leaves out tests that can start a server."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

HELPERS = """
import subprocess
from contextlib import contextmanager
from needs import need

class Server:
    def start(self):
        return subprocess.Popen(["sleep", "1"])

@contextmanager
def running():
    yield Server()

def describe():
    return "no server"

def command():
    return subprocess.run(["true"])
"""

TESTS = """
import helpers
import pytest
from helpers import command, describe, running
from hypothesis import given, strategies
from needs import need

@pytest.fixture(scope="module")
def server():
    with running() as found:
        yield found

@pytest.fixture
def beside(server): return server

def test_fixture(server): pass
def test_fixture_of_a_fixture(beside): pass
def test_helper():
    with running(): pass
def test_module(): helpers.running()
def test_inner():
    def later(): return running()
    later()
def test_program(): need("no-such-tool")
@given(strategies.none())
def test_property(value): running()
def test_database(database_url): pass
@pytest.mark.slow
def test_slow(): pass

def test_quick(tmp_path): describe()
def test_quick_command(): command()
@given(strategies.none())
def test_quick_property(value): describe()
"""


@pytest.mark.slow
def test_a_quick_run_leaves_out_slow_tests_and_those_that_can_start_a_server(tmp_path: Path) -> None:
    for name in ("conftest.py", "needs.py", "reach.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path)
    (tmp_path / "helpers.py").write_text(HELPERS)
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\naddopts = -q -p no:cacheprovider\nmarkers =\n    slow\n    servers\n"
    )
    command = [sys.executable, "-m", "pytest", "--collect-only", "-m", "not servers and not slow"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTEST_ADDOPTS": ""}, capture_output=True, text=True, check=False
    )
    found = [line.partition("::")[2] for line in done.stdout.splitlines() if "::" in line]
    assert found == ["test_database[sqlite]", "test_quick", "test_quick_command", "test_quick_property"], done.stdout
