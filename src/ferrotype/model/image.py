"""An image: its record, the locations of its data, and where its status may go."""

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ferrotype.model.errors import Conflict

#: Attributes that a PATCH or a create may never set as additional properties.
BASE_ATTRIBUTES = frozenset(
    [
        "id",
        "name",
        "status",
        "visibility",
        "owner",
        "protected",
        "os_hidden",
        "tags",
        "disk_format",
        "container_format",
        "min_disk",
        "min_ram",
        "size",
        "virtual_size",
        "checksum",
        "os_hash_algo",
        "os_hash_value",
        "created_at",
        "updated_at",
        "self",
        "file",
        "schema",
        "locations",
        "direct_url",
        "stores",
    ]
)

VISIBILITIES = ("private", "shared", "community", "public")

#: status -> the statuses it may be followed by
NEXT: dict[str, frozenset[str]] = {
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


class Location(Struct, frozen=True, gc=False):
    """Where one copy of an image's data is. ``blob`` names its row in the ledger; None for data kept by others."""

    url: str
    metadata: dict[str, Any]
    blob: str | None = None

    @property
    def store(self) -> str | None:
        """The id of the store, where the metadata name one."""
        return self.metadata.get("store")


class Image(Struct, frozen=True, gc=False, kw_only=True):
    """An image as the database knows it. Times are microseconds since 1970, UTC; sizes are bytes."""

    id: str
    name: str | None = None
    status: str = "queued"
    visibility: str = "shared"
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


#: What an image without data cannot say.
NOTHING_KNOWN: dict[str, Any] = {
    "size": None,
    "virtual_size": None,
    "checksum": None,
    "os_hash_algo": None,
    "os_hash_value": None,
    "locations": (),
}


def move(image: Image, status: str, **changes: Any) -> Image:
    """Return the image in its next status, or say why it cannot go there."""
    if status not in NEXT[image.status]:
        raise Conflict(f"Image {image.id} is {image.status} and cannot become {status}.")
    if status == "queued":  # Going back: what was known of the data is void.
        changes = {**NOTHING_KNOWN, **changes}
    return replace(image, status=status, **changes)
