"""A change to an image as the client asked for it: operations in order, each on one attribute."""

from typing import Any, Literal, get_args

from msgspec import Struct

PatchOp = Literal["add", "replace", "remove"]

OPS: tuple[PatchOp, ...] = get_args(PatchOp)


class Operation(Struct, frozen=True):
    """One step of a patch. ``path`` is the attribute's name, or ``locations`` and a position."""

    op: PatchOp
    path: tuple[str, ...]
    value: Any = None

    @property
    def name(self) -> str:
        """The attribute that the operation changes."""
        return self.path[0]


class Patch(Struct, frozen=True):
    """Operations that are applied together or not at all.

    ``only_new``: an ``add`` of an existing attribute is a conflict, as in the first patch media type.
    """

    operations: tuple[Operation, ...]
    only_new: bool = False

    @property
    def changes_locations(self) -> bool:
        """Whether an operation adds, replaces or removes locations."""
        return any(operation.name == "locations" for operation in self.operations)
