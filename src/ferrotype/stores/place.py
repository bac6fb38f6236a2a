"""One directory of a file store: its threads, its health for reading and for writing, and its free space."""

import asyncio
import os
from pathlib import Path

from ferrotype.offload import ThreadPools
from ferrotype.stores.directories import Directories, translated
from ferrotype.stores.driver import Health
from ferrotype.stores.space import Space
from ferrotype.stores.supervisor import Supervisor

#: Threads of one directory for writing, for reading, for sendfile, and for probes.
WRITING, READING, SENDING, PROBING = 32, 32, 8, 3


class Place:
    """A directory. Where its file system hangs, only calls that need it wait: it has threads of its own."""

    def __init__(self, path: Path, priority: int, directories: Directories, pools: ThreadPools):
        self.path, self.priority = path, priority
        self._directories = directories
        self.writing_threads = pools.new_pool(WRITING, "writing")
        self.reading_threads = pools.new_pool(READING, "reading")
        self.sending_threads = pools.new_pool(SENDING, "sending")
        self._probing_threads = pools.new_pool(PROBING, "probing")
        silence = f"{path} does not answer. Check its file system, or the network to it."
        self.writing = Supervisor(self._probe_writing, silence)
        self.reading = Supervisor(self._probe_reading, silence)
        self.space = Space(path, pools.totals)
        self._initializing: asyncio.Future[str] | None = None

    async def initialize(self, known: str | None) -> str | None:
        """Return the ID that the directory has and should have; None when it is offline or does not answer."""
        if self._initializing is None:
            work = self._probing_threads.offload(self._directories.initialize, self.path, known)
            self._initializing = asyncio.ensure_future(work)
        if not (await asyncio.wait([self._initializing], timeout=self.writing.timeout))[0]:
            return None
        answered, self._initializing = self._initializing, None
        try:
            return answered.result()
        except OSError:  # The next probe reports it.
            return None

    async def _probe_reading(self) -> Health:
        await self._probing_threads.offload(self._directories.check_readable, self.path)
        return Health(True)

    async def _probe_writing(self) -> Health:
        await self.space.update(lambda: self._probing_threads.offload(self._directories.check_writable, self.path))
        return Health(True)

    async def update_space(self) -> None:
        """Ask the file system how much is free."""
        await self.space.update(lambda: self.writing_threads.offload(_free_bytes, self.path))


def _free_bytes(path: Path) -> int:
    with translated(f"use {path}"):
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize
