"""Two nodes start on an empty database, one of them without the shared file system: it must not become the store."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from needs import need

from ferrotype.config.database import Database
from ferrotype.db import schema
from ferrotype.stores.directories import ID_FILE
from ferrotype.testing.callers_process import KeepAliveClient
from ferrotype.testing.process import Served, served


@contextmanager
def node(directory: Path, name: str, database: str, *wrapper: str) -> Iterator[Served]:
    """Run a node whose store is in ``directory``/share."""
    file = directory / f"{name}.conf"
    file.write_text(
        "[DEFAULT]\nworkers = 1\n"
        f"[database]\nconnection = {database}\n"
        f"[glance_store]\nfilesystem_store_datadir = {directory}/share\n"
    )
    with served(directory / name, "--config-file", str(file), wrapper=wrapper) as service:
        yield service


def not_mounted(directory: Path) -> list[str]:
    """Return words that run a command where something else is in the place of ``directory``/share."""
    script = f'mount -t tmpfs -o mode=0750 ferrotype-test {directory}/share && exec "$@"'
    return [str(need("unshare")), "--mount", "sh", "-c", script, "sh"]


@pytest.fixture
def database(postgresql_url: str) -> str:
    """The URL of a database without a row."""
    schema.sync(Database(url=postgresql_url, kind="postgresql"))
    return postgresql_url


def upload(service: Served) -> int:
    with KeepAliveClient(service.port) as ask:
        made = ask("POST", "/v2/images", json={"disk_format": "raw", "container_format": "bare"}).json
        headers = {"content-type": "application/octet-stream"}
        return ask("PUT", f"/v2/images/{made['id']}/file", body=b"data", headers=headers).status


@pytest.mark.slow
def test_a_node_without_the_share_does_not_replace_its_id(tmp_path: Path, database: str) -> None:
    share = tmp_path / "share"
    with node(tmp_path, "right", database) as right:
        id_file = (share / ID_FILE).read_text()
        with node(tmp_path, "wrong", database, *not_mounted(tmp_path)) as wrong:
            assert "is its file system mounted" in wrong.log.read_text()
            assert upload(wrong) == 503
            assert upload(right) == 204
        with node(tmp_path, "third", database) as third:
            assert upload(third) == 204
        assert (share / ID_FILE).read_text() == id_file


@pytest.mark.slow
def test_the_operator_decides_when_the_wrong_node_was_first(tmp_path: Path, database: str) -> None:
    share = tmp_path / "share"
    share.mkdir()
    with node(tmp_path, "wrong", database, *not_mounted(tmp_path)):
        time.sleep(0.1)
    with node(tmp_path, "right", database) as right:
        assert upload(right) == 503
    assert [path.name for path in share.iterdir()] == []
    (share / ID_FILE).touch()
    with node(tmp_path, "right", database) as right:
        assert upload(right) == 204
    assert len((share / ID_FILE).read_text()) == 32
