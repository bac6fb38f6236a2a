"""An image: its record, the locations of its data, and the transitions of its status."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from msgspec import Struct
from msgspec.structs import replace

from ferrotype.model.errors import Conflict
from ferrotype.model.external import Validators

#: Names that are attributes of every image, and therefore never additional properties.
BASE_ATTRIBUTES = frozenset(
    {
        "id", "name", "status", "visibility", "owner", "protected", "os_hidden", "tags", "disk_format",
        "container_format", "min_disk", "min_ram", "size", "virtual_size", "checksum", "os_hash_algo",
        "os_hash_value", "created_at", "updated_at", "self", "file", "schema", "locations", "direct_url", "stores",
    }
)  # fmt: skip

Visibility = Literal["private", "shared", "community", "public"]
Status = Literal[
    "queued", "saving", "uploading", "importing", "active", "deactivated", "killed", "pending_delete", "deleted",
]  # fmt: skip

VISIBILITIES: tuple[Visibility, ...] = get_args(Visibility)

#: status -> the statuses that may follow it
NEXT: Mapping[Status, frozenset[Status]] = {
    "queued": frozenset({"saving", "uploading", "importing", "active", "deleted"}),
    "saving": frozenset({"active", "queued", "deleted"}),
    "uploading": frozenset({"importing", "queued", "deleted"}),
    "importing": frozenset({"active", "queued", "deleted"}),
    "active": frozenset({"deactivated", "deleted", "pending_delete"}),
    "deactivated": frozenset({"active", "deleted"}),
    "killed": frozenset({"deleted"}),
    "pending_delete": frozenset({"deleted", "active"}),
    "deleted": frozenset(),
}


class Location(Struct, frozen=True, gc=False, omit_defaults=True):
    """Where one copy of an image's data is. ``blob`` names its row in the ledger; None for data that has none."""

    url: str
    metadata: dict[str, Any]
    blob: str | None = None
    #: of external data: what its server reported when the location was added; never shown
    validators: Validators | None = None

    @property
    def reads_ranges(self) -> bool:
        """Whether a part of the data can be read without all that precedes it."""
        return self.validators is None or self.validators.ranges

    @property
    def store(self) -> str | None:
        """The id of the store, if the metadata name one."""
        store = self.metadata.get("store")
        return store if isinstance(store, str) else None


class Image(Struct, frozen=True, gc=False, kw_only=True):
    """An image as the database stores it. Times are microseconds since 1970, UTC; sizes are bytes."""

    id: str
    name: str | None = None
    status: Status = "queued"
    visibility: Visibility = "shared"
    owner: str | None = None
    protected: bool = False
    os_hidden: bool = False
    disk_format: str | None = None
    container_format: str | None = None
    min_disk: int = 0
    min_ram: int = 0
    size: int | None = None
    virtual_size: int | None = None
    checksum: str | None = None
    os_hash_algo: str | None = None
    os_hash_value: str | None = None
    created_at: int = 0
    updated_at: int = 0
    tags: tuple[str, ...] = ()
    properties: dict[str, Any] = {}
    #: ``os_glance_*``: set by the service alone, outside quotas and protection
    system: dict[str, str] = {}
    locations: tuple[Location, ...] = ()


class NewImage(Struct, frozen=True):
    """An image as the client asked for it, by attribute name. ``rules.review`` checks names and values."""

    #: those of ``BASE_ATTRIBUTES`` that the client named
    attributes: Mapping[str, Any]
    #: additional properties, in the client's order
    properties: Mapping[str, Any]


class NewLocation(Struct, frozen=True):
    """A location as the client asked for it, and the digest that its data are expected to have."""

    url: str
    hash_algo: str | None = None
    hash_value: str | None = None


#: The attributes of an image without data.
NO_DATA: Mapping[str, Any] = {
    "size": None,
    "virtual_size": None,
    "checksum": None,
    "os_hash_algo": None,
    "os_hash_value": None,
    "locations": (),
}


def transition(image: Image, status: Status, **changes: Any) -> Image:
    """Return the image in its next status, with ``changes`` applied; raise Conflict if the table forbids it."""
    if status not in NEXT[image.status]:
        raise Conflict(f"Image {image.id} is {image.status} and cannot become {status}.")
    if status == "queued":  # Back to the start: size, digests and locations no longer apply.
        changes = {**NO_DATA, **changes}
    return replace(image, status=status, **changes)
