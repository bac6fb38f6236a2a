"""SIGHUP to the whole service: some options change at once, the others need a restart, in later workers too."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ferrotype.config.read import read
from ferrotype.db import schema
from ferrotype.testing.callers_process import KeepAliveClient
from ferrotype.testing.process import Served, served

SETTINGS = """
[DEFAULT]
{options}
[database]
connection = sqlite:///{home}/{database}.sqlite
[glance_store]
filesystem_store_datadir = {home}/objects
"""


def configure(home: Path, database: str, options: str) -> Path:
    """Write the configuration and make the database that it names."""
    file = home / "glance-api.conf"
    file.write_text(SETTINGS.format(home=home, database=database, options=options))
    schema.sync(read([file], [], {}).database)
    return file


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Served]:
    file = configure(tmp_path, "first", "workers = 2\nmax_request_id_length = 64\nimage_tag_quota = 1")
    with served(tmp_path, "--config-file", str(file)) as service:
        until(lambda: len(service.workers()) == 2 and said(service, "is ready") == 2)
        yield service


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def said(service: Served, words: str) -> int:
    return service.log.read_text().count(words)


def test_a_worker_replaced_after_sighup_applies_nothing_that_needs_a_restart(service: Served, tmp_path: Path) -> None:
    with KeepAliveClient(service.port) as ask:
        assert ask("POST", "/v2/images", json={"name": "precious"}).status == 201
    configure(tmp_path, "second", "workers = 3\nimage_tag_quota = 0\nauth_strategy = http_basic")
    service.process.send_signal(signal.SIGHUP)
    until(lambda: said(service, "configuration reloaded") == 1)
    for name in ("[DEFAULT] workers", "[database] connection", "[DEFAULT] auth_strategy or [paste_deploy] flavor"):
        # It is said once, and not by every worker.
        assert said(service, f"{name} has changed; it takes effect after a restart.") == 1
    for worker in service.workers():
        os.kill(worker, signal.SIGKILL)
    until(lambda: said(service, "is ready") == 4)
    assert len(service.workers()) == 2
    for _ in range(20):
        with KeepAliveClient(service.port) as ask:
            listed = ask("GET", "/v2/images").json["images"]
            assert [image["name"] for image in listed] == ["precious"]
            path = f"/v2/images/{listed[0]['id']}/tags/any"
            assert ask("PUT", path).status == 413  # The quota may change, and has.


def test_sighups_in_a_row_leave_the_last_configuration(service: Served, tmp_path: Path) -> None:
    with KeepAliveClient(service.port) as ask:
        image = ask("POST", "/v2/images", json={}).json["id"]
        for quota in (0, 5, 0, 5, 0):
            configure(tmp_path, "first", f"workers = 2\nimage_tag_quota = {quota}")
            service.process.send_signal(signal.SIGHUP)
    until(lambda: said(service, "configuration reloaded") >= 1)
    refused = 0
    end = time.monotonic() + 60
    while refused < 20:  # Both workers have it, as far as one can see from here.
        assert time.monotonic() < end
        with KeepAliveClient(service.port) as ask:
            refused = refused + 1 if ask("PUT", f"/v2/images/{image}/tags/any").status == 413 else 0
            ask("DELETE", f"/v2/images/{image}/tags/any")


def test_debug_applies_to_later_workers_too(service: Served, tmp_path: Path) -> None:
    def break_off() -> bool:
        with KeepAliveClient(service.port) as ask:
            image = ask("POST", "/v2/images", json={"disk_format": "raw", "container_format": "bare"}).json["id"]
        head = (
            f"PUT /v2/images/{image}/file HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
        )
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall(f"{head}Content-Length: 9\r\n\r\nno".encode())
        return said(service, " DEBUG ferrotype.") > 0

    assert not break_off()
    configure(tmp_path, "first", "workers = 2\ndebug = true")
    service.process.send_signal(signal.SIGHUP)
    until(lambda: said(service, "configuration reloaded") == 1)
    for worker in service.workers():
        os.kill(worker, signal.SIGKILL)
    until(lambda: said(service, "is ready") == 4)
    until(break_off)


def test_invalid_policies_reject_the_whole_reload(service: Served, tmp_path: Path) -> None:
    (tmp_path / "stricter.yaml").write_text('get_images: "role:admin and ("\n')
    configure(
        tmp_path, "first", f"workers = 2\nimage_tag_quota = 0\n[oslo_policy]\npolicy_file = {tmp_path}/stricter.yaml"
    )
    service.process.send_signal(signal.SIGHUP)
    until(lambda: said(service, "configuration not reloaded; keeping the running one") == 1)
    os.kill(service.workers()[0], signal.SIGKILL)
    until(lambda: said(service, "is ready") == 3)  # It starts with the policies of before.
    with KeepAliveClient(service.port) as ask:
        image = ask("POST", "/v2/images", json={}).json["id"]
        assert ask("PUT", f"/v2/images/{image}/tags/any").status == 204
