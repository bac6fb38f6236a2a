"""The supervisor on a machine without resources left."""

import errno
import os
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ferrotype.server import supervisor


def no_processes_left() -> int:
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def test_a_failed_fork_is_retried_later(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    config: Any = SimpleNamespace(server=SimpleNamespace(workers=1))
    unused: Any = None
    with socket.socket() as listener:
        state = supervisor.Supervisor(config, unused, unused, listener, started=True)
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        monkeypatch.setattr(os, "fork", no_processes_left)
        assert supervisor.needs_worker(state)
        supervisor.add_worker(state)
        assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    assert state.workers == {} and state.not_before > time.monotonic() and not supervisor.needs_worker(state)
    assert "no worker can be started: Resource temporarily unavailable; retrying in 2 s" in caplog.text
