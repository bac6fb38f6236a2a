"""A list request: filters, order and page, and the scope of images that the caller may list."""

from typing import Literal

from msgspec import Struct

#: API sort key -> column that is never null and sorts alike in every database
SORT_KEYS = {
    "name": "name_key",
    "status": "status",
    "container_format": "container_format_key",
    "disk_format": "disk_format_key",
    "size": "size_key",
    "id": "id",
    "created_at": "created_at",
    "updated_at": "updated_at",
}

#: ``property`` and ``tag`` go through the search index. ``from`` is >=, ``before`` is <, ``min`` and ``max`` include
#: their value, ``between`` and ``not_between`` have the first time and the one after the last.
FilterOp = Literal["eq", "in", "tag", "property", "min", "max", "from", "before", "between", "not_between"]
#: own: the owner is the project. visible: of one visibility. member: shared with the project. all: every image.
#: default: every image but the community images of other projects.
BranchKind = Literal["own", "visible", "member", "all", "default"]
MemberStatusFilter = Literal["pending", "accepted", "rejected", "all"]
#: (key, descending) of each sort key
Sort = tuple[tuple[str, bool], ...]


class Filter(Struct, frozen=True):
    """One condition on an image."""

    field: str
    op: FilterOp
    value: str | int | bool | tuple[str, ...] | tuple[int, int] | None


class ImageQuery(Struct, frozen=True, kw_only=True):
    """A list request, checked. ``sort`` ends with the id, so that the order is total."""

    filters: tuple[Filter, ...] = ()
    sort: Sort = (("created_at", True), ("id", True))
    limit: int = 25
    marker: str | None = None
    visibility: str | None = None  # one of VISIBILITIES, "all", or None for the default view
    member_status: MemberStatusFilter = "accepted"
    hidden: bool = False


class Branch(Struct, frozen=True):
    """Images of one kind, each found through an index of its own. ``own`` may be narrowed to one visibility."""

    kind: BranchKind
    visibility: str | None = None


class Scope(Struct, frozen=True):
    """Branches whose union is what the caller's list may contain; no image is in more than two of them."""

    project: str | None
    branches: tuple[Branch, ...]
