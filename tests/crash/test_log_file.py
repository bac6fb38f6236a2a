"""The service keeps serving while its log file cannot be written."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path

from crash_wire import Running, eventually, running
from needs import need

from ferrotype.testing.postgres import postgres

UNWRITABLE = "log file cannot be written; using standard error until it can: file="


def said(run: Running, text: str) -> None:
    """Wait until standard error holds a text."""
    eventually(lambda: text in run.service.log.read_text(), say=run.service.log.read_text)


def test_unwritable_log_directory_is_reported_on_stderr_and_requests_continue(tmp_path: Path) -> None:
    logs, file = tmp_path / "log", tmp_path / "log" / "ferrotype.log"
    logs.mkdir()
    with running(tmp_path / "run", options=f"log_dir = {logs}") as run:
        image = run.create()
        eventually(lambda: "POST /v2/images" in file.read_text())
        (first,) = run.service.workers()
        logs.rename(tmp_path / "gone")
        for _ in range(2):
            run.service.process.send_signal(signal.SIGHUP)
            said(run, f" {run.service.pid} INFO ferrotype.server configuration reloaded")
            assert run.show(image)["status"] == "queued"
            said(run, f"GET /v2/images/{image}")
        os.kill(first, signal.SIGKILL)
        said(run, f"worker {first} ended by SIGKILL")
        eventually(lambda: first not in run.service.workers() and run.service.workers() != [])
        run.service.wait_until_ready()
        assert run.show(image)["status"] == "queued"
        for pid in (run.service.pid, first):
            said(run, f" {pid} ERROR ferrotype.logs {UNWRITABLE}{file}: No such file or directory")

        logs.mkdir()
        assert run.create()
        run.service.process.send_signal(signal.SIGHUP)
        eventually(lambda: file.exists() and "configuration reloaded" in file.read_text())
        eventually(lambda: "POST /v2/images" in file.read_text())
        # Once by each process, and not again by one that was started while it was known.
        assert run.service.log.read_text().count(UNWRITABLE) == 2

        logs.rename(tmp_path / "gone again")
        assert run.service.stop() == 0
        said(run, f" {run.service.pid} INFO ferrotype.server stopped")
    assert "Traceback" not in run.service.log.read_text()


def test_postgresql_outage_is_logged_without_tracebacks(tmp_path: Path) -> None:
    need("postgresql")
    with ExitStack() as stack:
        with postgres() as server:
            run = stack.enter_context(running(tmp_path, server.create_database()))
            assert run.create()
        eventually(lambda: run.ask("GET", "/v2/images")[0] == 503)
        assert run.service.stop() == 0
        logged = run.service.log.read_text()
        assert "lease could not be released; it will expire: PostgreSQL: " in logged
        assert "Traceback" not in logged and "asyncpg.pool" not in logged


def test_rotated_log_file_is_recreated(tmp_path: Path) -> None:
    file = tmp_path / "ferrotype.log"
    with running(tmp_path / "run", options=f"log_file = {file}") as run:
        file.rename(tmp_path / "ferrotype.log.1")
        image = run.create()
        eventually(lambda: file.exists() and "POST /v2/images" in file.read_text())
        assert run.show(image)["status"] == "queued"
        assert "POST" not in (tmp_path / "ferrotype.log.1").read_text()
    assert run.service.log.read_text().count("\n") == 1, "all but the banner goes to the file"
