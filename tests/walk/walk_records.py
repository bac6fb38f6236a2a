"""Who walks, what there is to walk among, and what is sent: plain records."""

from dataclasses import dataclass, field
from typing import Any

MIB = 1 << 20
#: The deployment that the walks are about.
TAGS, PROPERTIES, MEMBERS, CAP = 3, 5, 3, 700_000
IMAGES, BYTES = 7, MIB
DISK_FORMATS = ("ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop")
CONTAINER_FORMATS = ("ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed")
VISIBILITIES = ("private", "shared", "community", "public")
MEMBER_STATUSES = ("pending", "accepted", "rejected")

CHANGED_BY_CLIENTS = (
    "name", "visibility", "owner", "protected", "os_hidden", "tags", "disk_format", "container_format", "min_disk",
    "min_ram",
)  # fmt: skip
READ_ONLY = (
    "status", "checksum", "size", "virtual_size", "created_at", "updated_at", "os_hash_algo", "os_hash_value",
)  # fmt: skip
NEVER_GIVEN = ("direct_url", "self", "file", "schema", "stores")
RESERVED = ("location", "deleted", "deleted_at")


@dataclass(frozen=True)
class Who:
    """A caller. The token is what ``ferrotype.testing.callers_process`` understands."""

    user: str
    project: str | None
    roles: tuple[str, ...]

    @property
    def token(self) -> str:
        return f"{self.user}.{self.project or ''}.{'-'.join(self.roles)}"

    @property
    def admin(self) -> bool:
        return "admin" in self.roles

    def has(self, role: str) -> bool:
        return role in self.roles

    def __repr__(self) -> str:
        return self.user


ADMIN = Who("admin", "admins", ("admin", "member", "reader"))
ANN = Who("ann", "p1", ("member", "reader"))
ABE = Who("abe", "p1", ("member", "reader"))  # another user of the same project
RHEA = Who("rhea", "p1", ("reader",))
BOB = Who("bob", "p2", ("member", "reader"))
MIA = Who("mia", "m1", ("member", "reader"))
MAX = Who("max", "m2", ("member", "reader"))
MAY = Who("may", "m1", ("reader",))
SAM = Who("sam", "p3", ("member", "reader"))  # no member of any image, owns nothing at first
SVEN = Who("sven", "services", ("service",))
NOEL = Who("noel", None, ("member", "reader"))
OLGA = Who("olga", "p1", ("operator",))
ALL_CALLERS = (ADMIN, ANN, ABE, RHEA, BOB, MIA, MAX, MAY, SAM, SVEN, NOEL, OLGA)


@dataclass
class Share:
    status: str
    created: int  # the step of its first creation
    removed: bool = False


@dataclass
class Record:
    """An image. Times are steps of the walk: what the API shows are seconds, and two steps may share one."""

    id: str
    owner: str | None
    created: int
    updated: int
    name: str | None = None
    status: str = "queued"
    visibility: str = "shared"
    protected: bool = False
    os_hidden: bool = False
    disk_format: str | None = None
    container_format: str | None = None
    min_disk: int = 0
    min_ram: int = 0
    tags: frozenset[str] = frozenset()
    properties: dict[str, Any] = field(default_factory=dict)
    data: bytes | None = None
    virtual_size: int | None = None
    store: str | None = None
    shares: dict[str, Share] = field(default_factory=dict)

    @property
    def size(self) -> int | None:
        return None if self.data is None else len(self.data)

    def members(self) -> dict[str, Share]:
        return {who: share for who, share in self.shares.items() if not share.removed}


QCOW2 = b"QFI\xfb\0\0\0\2"


@dataclass(frozen=True, repr=False)
class Sent:
    """A body, and how it is sent."""

    data: bytes
    chunked: bool = False
    announced: int | None = None
    store: str | None = None

    def __repr__(self) -> str:
        start = repr(self.data[:9])
        return f"Sent({len(self.data)} bytes {start}, chunked={self.chunked}, {self.announced}, {self.store})"

    @property
    def is_qcow2(self) -> bool:
        return self.data.startswith(QCOW2)

    @property
    def names_another_file(self) -> bool:
        return self.is_qcow2 and any(self.data[8:16])

    def is_refused_in(self, image: Record) -> bool:
        """The bytes are dangerous whatever is declared, or not what is declared."""  # IMG-UP-42..45
        if self.names_another_file:
            return True
        if image.container_format != "bare" or image.disk_format == "raw":
            return False
        found = "qcow2" if self.is_qcow2 else "raw"
        undetectable = found == "raw" and image.disk_format in ("ami", "aki", "ari", "ploop")
        return image.disk_format != found and not undetectable

    def virtual_size_in(self, image: Record) -> int | None:
        if image.container_format != "bare":
            return None
        if image.disk_format == "raw":
            return len(self.data) or None
        return int.from_bytes(self.data[24:32], "big") or None if image.disk_format == "qcow2" else None


def ranged(data: bytes, asked: tuple[str, int | None, int | None]) -> bytes | None:
    """Return what a range selects; None where it cannot be satisfied."""  # IMG-DL-10..13
    _, first, last = asked
    if not data:
        return None
    if first is None:
        assert last is not None
        return data[-last:] if last else None  # RUL-74
    if first >= len(data) or (last is not None and last < first):
        return None
    return data[first:] if last is None else data[first : last + 1]
