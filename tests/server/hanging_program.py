"""``ferrotype`` with a file system that hangs as long as there is the file that HANG names."""

import os
import time
from pathlib import Path
from typing import Any

from ferrotype.__main__ import main
from ferrotype.stores.file import FileDriver
from ferrotype.stores.store import DRIVERS


def as_ever() -> None:
    hang = Path(os.environ["HANG"])
    while hang.exists():
        hang.with_suffix(".waits").touch()
        time.sleep(0.05)


class Hanging(FileDriver):
    """Files whose file system may hang."""

    async def get(self, url: str, size: int | None) -> Any:
        await self._threads.offload(as_ever)
        return await super().get(url, size)


DRIVERS["file"] = Hanging  # type: ignore[index]

if __name__ == "__main__":
    main()
