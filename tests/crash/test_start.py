"""Errors and signals during startup, as an operator sees them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from crash_wire import eventually, running, write_options

from ferrotype.testing.process import served

pytestmark = pytest.mark.slow

#: Sends a signal to its own process as soon as a module is looked for, which is when it is imported.
STOPPER = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["AT"] and self in sys.meta_path:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), int(os.environ["SIGNAL"]))

sys.meta_path.insert(0, Finder())
"""


def ferrotype(tmp_path: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"XDG_DATA_HOME": str(tmp_path / "home")} | more
    return subprocess.run(
        [sys.executable, "-m", "ferrotype", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def stopping(tmp_path: Path, module: str, number: int) -> dict[str, str]:
    """Return an environment in which importing ``module`` sends a signal."""
    (tmp_path / "stopper").mkdir()
    (tmp_path / "stopper" / "sitecustomize.py").write_text(STOPPER)
    return {"PYTHONPATH": str(tmp_path / "stopper"), "AT": module, "SIGNAL": str(int(number))}


@pytest.mark.parametrize("module", ["ferrotype.cli", "click", "ferrotype.config.read", "ferrotype.app", "httptools"])
def test_ctrl_c_during_startup_exits_quietly(tmp_path: Path, module: str) -> None:
    done = ferrotype(tmp_path, "serve", "--port", "0", **stopping(tmp_path, module, signal.SIGINT))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_during_import_of_another_command_exits_quietly(tmp_path: Path) -> None:
    done = ferrotype(tmp_path, "config", "check", **stopping(tmp_path, "click", signal.SIGINT))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("module", ["ferrotype.cli", "ferrotype.app"])
def test_sighup_during_startup_is_handled_once_started(tmp_path: Path, module: str) -> None:
    with served(tmp_path, environment=stopping(tmp_path, module, signal.SIGHUP)) as service:
        eventually(lambda: "configuration reloaded" in service.log.read_text(), say=service.log.read_text)
        assert service.stop() == 0


def test_service_runs_with_closed_or_full_standard_output(tmp_path: Path) -> None:
    for number, output in enumerate((">&-", ">&- 2>/dev/full <&-", ">/dev/full")):
        log = tmp_path / f"{number}.log"
        (tmp_path / f"{number}.conf").write_text(f"[DEFAULT]\nlog_file = {log}\n")
        words = f"exec {sys.executable} -m ferrotype serve --port 0 --config-file {tmp_path}/{number}.conf {output}"
        process = subprocess.Popen(
            ["sh", "-c", words],
            env=os.environ | {"XDG_DATA_HOME": str(tmp_path)},
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        try:
            eventually(lambda log=log: log.exists() and "is ready" in log.read_text())
            assert ("banner could not be written to standard output: No space left on device" in log.read_text()) == (
                output == ">/dev/full"
            )
            process.terminate()
            assert process.communicate(timeout=60)[1] == ""
            assert process.returncode == 0
        finally:
            process.kill()
            process.wait()


def missing(tmp_path: Path) -> tuple[str, str]:
    return f"log_file = {tmp_path}/none/t.log", "No such file or directory"


def folder(tmp_path: Path) -> tuple[str, str]:
    return f"log_file = {tmp_path}", "Is a directory"


def under_a_file(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "plain").write_text("")
    return f"log_dir = {tmp_path}/plain", "Not a directory"


@pytest.mark.parametrize("option", [missing, folder, under_a_file])
def test_serve_and_config_check_report_an_unusable_log_file_in_one_sentence(
    tmp_path: Path, option: Callable[[Path], tuple[str, str]]
) -> None:
    line, reason = option(tmp_path)
    file = tmp_path / "t.conf"
    write_options(file, f"sqlite:///{tmp_path}/t.sqlite", tmp_path / "objects", line)
    before = sorted(tmp_path.iterdir())
    started = ferrotype(tmp_path, "serve", "--port", "0", "--config-file", str(file))
    assert started.returncode == 1 and started.stdout == ""
    assert started.stderr.startswith("The log file ") and started.stderr.count("\n") == 1
    assert reason in started.stderr
    checked = ferrotype(tmp_path, "config", "check", "--json", "--config-file", str(file))
    assert checked.returncode == 1 and json.loads(checked.stdout)["problems"] == [started.stderr.strip()]
    assert sorted(tmp_path.iterdir()) == before, "nothing is created"


@pytest.mark.parametrize("command", [["check"], ["check", "--repair"], ["seed", "1"]])
def test_empty_database_is_reported_in_one_sentence_and_left_unchanged(
    tmp_path: Path, database_url: str, command: list[str]
) -> None:
    file = tmp_path / "t.conf"
    write_options(file, database_url, tmp_path / "objects")
    before = sorted(tmp_path.iterdir())
    done = ferrotype(tmp_path, *command, "--config-file", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "The database is empty. Run: ferrotype db sync\n"
    assert sorted(tmp_path.iterdir()) == before
    assert ferrotype(tmp_path, "db", "version", "--config-file", str(file)).stdout.startswith("database: empty\n")


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["check"], ["db", "sync"], ["db", "version"]])
def test_unreachable_database_is_reported_with_its_address_and_without_its_password(
    tmp_path: Path, command: list[str]
) -> None:
    file = tmp_path / "t.conf"
    write_options(file, "postgresql://glance:secret@127.0.0.1:1/images", tmp_path / "objects")
    done = ferrotype(tmp_path, *command, "--config-file", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = [line for line in done.stderr.splitlines() if "Running as root" not in line]
    assert line.startswith("PostgreSQL: ")
    assert "([database] connection = postgresql://glance:***@127.0.0.1:1/images)" in line


def test_the_greeting_states_the_authentication_mode(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        (line,) = [line for line in run.service.log.read_text().splitlines() if "Authentication is" in line]
        assert line.endswith("Authentication is disabled; only this machine can connect.")
    with running(tmp_path, None, "--host", "0.0.0.0", "--allow-unauthenticated-listen") as run:
        line = [line for line in run.service.log.read_text().splitlines() if "listens on" in line][-1]
        assert line.endswith("Authentication is disabled; any client that can connect has full access.")


def test_remove_unknown_requires_repair(tmp_path: Path) -> None:
    done = ferrotype(tmp_path, "check", "--remove-unknown")
    assert done.returncode == 2 and "--repair" in done.stderr


def test_check_repair_names_the_option_that_removes_unknown_objects(tmp_path: Path) -> None:
    with running(tmp_path / "run") as run:
        image = run.create()
        assert run.upload(image, b"data") == 204
        run.service.stop()
        (name,) = (name for name in run.files() if name.startswith(image))
        other = tmp_path / "other.conf"
        write_options(other, f"sqlite:///{tmp_path}/other.sqlite", run.folder)
        words = ("check", "--repair", "--config-file", str(other))
        assert run.service.command("db", "sync", "--config-file", str(other)).returncode == 0
        kept = run.service.command(*words)
        assert kept.returncode == 1 and name in kept.stdout and "--remove-unknown" in kept.stdout
        assert name in run.files()
        assert run.service.command(*words, "--remove-unknown").returncode == 0
        assert name not in run.files()
