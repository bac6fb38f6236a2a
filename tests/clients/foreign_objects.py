"""``ferrotype`` whose memory stores hold objects that others wrote: ``one``, ``two``, and ``other``, unlike them."""

from typing import Any

from ferrotype.__main__ import main
from ferrotype.stores.memory import MemoryDriver
from ferrotype.stores.stores import DRIVERS

DATA = bytes(range(256)) * 500


class Filled(MemoryDriver):
    """Objects in memory, three of them from the start."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._objects |= {"one": DATA, "two": DATA, "other": DATA[::-1]}


if __name__ == "__main__":  # Not where a test imports the data.
    DRIVERS["memory"] = Filled  # type: ignore[index]
    main()
