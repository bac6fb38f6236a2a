"""A store of type ``memory``: objects in the memory of the process, for tests and demonstrations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ferrotype.config.options import STORE, Option, at_least
from ferrotype.config.values import Values


@dataclass(frozen=True)
class MemoryStore:
    """How much a memory store may hold, in bytes."""

    max_bytes: int = 1 << 30

    @property
    def place(self) -> str:
        """What an operator reads about where the objects are."""
        return "memory"

    @property
    def properties(self) -> Mapping[str, Any]:
        """What the operators' discovery shows (DISC-87)."""
        return {"max_bytes": self.max_bytes}


_MAX_BYTES = Option(
    STORE, "memory_store_max_bytes", at_least(1), MemoryStore.max_bytes,
    "most bytes in a memory store; its data is lost when the service stops", dest="stores.entries.options.max_bytes",
)  # fmt: skip
OPTIONS = (_MAX_BYTES,)


def read(values: Values, sections: Sequence[str]) -> MemoryStore:
    """Return the store's configuration; the first of ``sections`` that sets an option decides about it."""
    values.warn(f"[{sections[0]}] is a store of type memory: its images are lost when the service stops.")
    return MemoryStore(max_bytes=values.of_store(sections, _MAX_BYTES)[1])
