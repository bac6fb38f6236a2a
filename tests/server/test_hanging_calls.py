"""The service stops although the file system hangs."""

import threading
import time
from pathlib import Path

from ferrotype.testing.callers_process import KeepAliveClient
from ferrotype.testing.process import served


def test_a_worker_stops_cleanly_while_a_read_hangs(tmp_path: Path) -> None:
    hang, file = tmp_path / "hang", tmp_path / "glance-api.conf"
    file.write_text(
        "[DEFAULT]\ngraceful_shutdown_timeout = 1\nworkers = 1\n"
        f"[database]\nconnection = sqlite:///{tmp_path}/t.sqlite\n"
        f"[glance_store]\nfilesystem_store_datadir = {tmp_path}/objects\n"
    )
    environment = {"HANG": str(hang), "PYTHONPATH": str(Path(__file__).parent)}
    with served(
        tmp_path, "--config-file", str(file), environment=environment, program=("hanging_program", "serve")
    ) as service:
        with KeepAliveClient(service.port) as ask:
            made = ask("POST", "/v2/images", json={"disk_format": "raw", "container_format": "bare"}).json
            path = f"/v2/images/{made['id']}/file"
            assert ask("PUT", path, body=b"data", headers={"content-type": "application/octet-stream"}).status == 204
        hang.touch()
        answers = []

        def read() -> None:
            with KeepAliveClient(service.port) as ask:
                answers.append(ask("GET", path).status)

        reading = threading.Thread(target=read)
        reading.start()
        while not hang.with_suffix(".waits").exists():
            assert reading.is_alive()
            time.sleep(0.02)
        assert service.stop() == 0
        reading.join(60)
    assert answers == [503]
    assert "did not end in time" not in service.log.read_text()
