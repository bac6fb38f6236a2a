"""``ferrotype`` with a file system that hangs as long as there is the file that HANG names."""

import os
import time
from pathlib import Path

from ferrotype.__main__ import main
from ferrotype.config.file_store import FileStore
from ferrotype.offload import ThreadPools
from ferrotype.stores.file import FileDriver, FileSource
from ferrotype.stores.stores import DRIVERS


def wait_while_it_hangs() -> None:
    hang = Path(os.environ["HANG"])
    while hang.exists():
        hang.with_suffix(".waits").touch()
        time.sleep(0.05)


class Hanging(FileDriver):
    """Files whose file system may hang."""

    def __init__(self, store: str, options: FileStore, pools: ThreadPools):
        super().__init__(store, options, pools)
        self.threads = pools.new_pool(8, "hanging")

    async def open(self, handle: str) -> FileSource:
        await self.threads.offload(wait_while_it_hangs)
        return await super().open(handle)


DRIVERS["file"] = Hanging  # type: ignore[index]

if __name__ == "__main__":
    main()
