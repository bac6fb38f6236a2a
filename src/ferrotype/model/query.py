"""What a list of images was asked for, and whose images it may come from."""

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


class Filter(Struct, frozen=True):
    """One condition. ``op`` is one of eq, in, tag, property, min, max, from, before, between, not_between."""

    field: str
    op: str
    value: str | int | bool | tuple[str, ...] | tuple[int, int] | None


class ImageQuery(Struct, frozen=True, kw_only=True):
    """A list request, checked. ``sort`` ends with the id, so that the order is total."""

    filters: tuple[Filter, ...] = ()
    sort: tuple[tuple[str, bool], ...] = (("created_at", True), ("id", True))  # (key, descending)
    limit: int = 25
    marker: str | None = None
    visibility: str | None = None  # one of VISIBILITIES, "all", or None for the default view
    member_status: str = "accepted"  # or "pending", "rejected", "all"
    hidden: bool = False


class Branch(Struct, frozen=True):
    """Images of one kind, each found through an index of its own.

    ``kind`` is mine (owner is the project), visible (one visibility), member (shared with the project), all,
    or usual (all but the community images of other projects).
    """

    kind: str
    visibility: str | None = None


class Scope(Struct, frozen=True):
    """Branches whose union is what the caller's list may contain; no image is in more than two of them."""

    project: str | None
    branches: tuple[Branch, ...]
