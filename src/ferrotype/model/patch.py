"""A change to an image as a caller asked for it: operations in order, each on one attribute."""

from typing import Any, Literal

from msgspec import Struct


class Operation(Struct, frozen=True):
    """One step of a patch. ``path`` is the attribute's name, or ``locations`` and a position."""

    op: Literal["add", "replace", "remove"]
    path: tuple[str, ...]
    value: Any = None

    @property
    def name(self) -> str:
        """The attribute that is touched."""
        return self.path[0]


class Patch(Struct, frozen=True):
    """Operations that are applied together or not at all.

    ``only_new``: an ``add`` of what is there already is a conflict, as the first patch media type has it.
    """

    operations: tuple[Operation, ...]
    only_new: bool = False
