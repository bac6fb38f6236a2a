"""What a list of images should contain, in which order and on which page: the model's answer."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from image_model import Model, in_view
from walk_records import MEMBER_STATUSES, VISIBILITIES, Record, Who

SORT_KEYS = (
    "name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at",
)  # fmt: skip
DEFAULT_LIMIT = 25


@dataclass(frozen=True)
class Query:
    """A list that is asked for. ``sort`` are pairs of key and direction, a direction may be left out."""

    visibility: str | None = None
    member_status: str | None = None
    os_hidden: str | None = None
    filters: tuple[tuple[str, str], ...] = ()
    sort: tuple[tuple[str, str | None], ...] = ()
    classic: bool = False
    limit: int | None = None

    def pairs(self, marker: str | None) -> list[tuple[str, str]]:
        found = [(name, getattr(self, name)) for name in ("visibility", "member_status", "os_hidden")]
        found = [(name, value) for name, value in found if value is not None] + list(self.filters)
        if self.classic:
            found += [("sort_key", key) for key, _ in self.sort]
            found += [("sort_dir", direction) for direction in self.directions()]
        elif self.sort:
            found.append(("sort", ",".join(key + (f":{way}" if way else "") for key, way in self.sort)))
        if self.limit is not None:
            found.append(("limit", str(self.limit)))
        return [*found, ("marker", marker)] if marker is not None else found

    def target(self, marker: str | None) -> str:
        pairs = self.pairs(marker)
        return "/v2/images" + (f"?{urlencode(pairs)}" if pairs else "")

    def directions(self) -> list[str]:
        """In the classic form either each key has a direction or none has."""
        return [way or "desc" for _, way in self.sort] if any(way for _, way in self.sort) else []

    def is_wrong(self) -> bool:
        values = [value for name, value in self.filters if name in ("name", "status", "id")]
        return (
            self.visibility not in (None, "all", *VISIBILITIES)
            or self.member_status not in (None, "all", *MEMBER_STATUSES)
            or (self.os_hidden or "true").lower() not in ("true", "false")
            or any(key not in SORT_KEYS for key, _ in self.sort)
            or (self.limit or 0) < 0
            or any(":" in value and value.partition(":")[0] not in ("eq", "in") for value in values)
        )  # IMG-LIST-03, IMG-LIST-04, IMG-LIST-05, IMG-LIST-20, IMG-LIST-11, IMG-LIST-30

    def order(self) -> list[tuple[str, bool]]:
        """Return (key, descending), total."""
        ways = [way or "desc" for _, way in self.sort]
        given = ways if not self.classic else self.directions()
        rest = given[0] if len(given) == 1 else "desc"  # IMG-LIST-24
        order = list(zip([key for key, _ in self.sort], ways, strict=True)) or [("created_at", "desc")]
        order += [(key, rest) for key in ("created_at", "id") if key not in [key for key, _ in order]]
        return [(key, way == "desc") for key, way in order]


@dataclass(frozen=True)
class Page:
    status: int
    images: list[Record] = field(default_factory=list)
    is_full: bool = False


def page(model: Model, who: Who, query: Query, marker: str | None) -> Page:
    if not (who.admin or who.has("reader")):
        return Page(403)
    start = None
    if marker is not None:
        start = model.live.get(marker) or model.dead.get(marker)
        if start is None or not in_view(who, start):
            return Page(400)  # IMG-LIST-12
    found = [image for image in view(model, who, query) if all(holds(image, *each) for each in query.filters)]
    if start is not None and start not in found:
        found.append(start)
    for key, descending in reversed(query.order()):
        found.sort(key=lambda image: sort_value(image, key), reverse=descending)
    if start is not None:
        found = found[found.index(start) + 1 :]
    limit = DEFAULT_LIMIT if query.limit is None else query.limit
    return Page(200, found[:limit], 0 < limit <= len(found))  # IMG-LIST-13


def view(model: Model, who: Who, query: Query) -> list[Record]:
    """Return what may be listed before filters are looked at."""
    hidden = (query.os_hidden or "false").lower() == "true"
    return [
        image
        for image in model.live.values()
        if image.os_hidden == hidden and is_listed(who, image, query.visibility, query.member_status or "accepted")
    ]


def is_listed(who: Who, image: Record, visibility: str | None, member_status: str) -> bool:
    own = who.project is not None and image.owner == who.project
    if visibility not in (None, "all", image.visibility):
        return False
    if visibility is None and image.visibility == "community" and not own:
        return False  # IMG-LIST-02
    if who.admin or own or image.visibility in ("public", "community"):
        return True
    share = image.members().get(who.project or "")
    return image.visibility == "shared" and share is not None and member_status in ("all", share.status)


def holds(image: Record, name: str, value: str) -> bool:
    """Tell whether one filter lets an image through."""
    if name == "tag":
        return value.strip() in image.tags
    if name in ("name", "status", "id", "disk_format", "container_format"):
        operator, colon, rest = value.partition(":")
        wanted = rest.split(",") if operator == "in" and colon else [rest if colon else value]
        return getattr(image, name) in wanted and (operator != "in" or rest != "")
    if name.endswith(("_min", "_max")):
        has = getattr(image, name[:-4])
        return has is not None and (has >= int(value) if name.endswith("_min") else has <= int(value))
    if name == "protected":
        return image.protected == (value.lower() == "true")
    if name in ("size", "min_disk", "min_ram"):
        return str(getattr(image, name)) == value
    if name == "owner":
        return image.owner == value
    return image.properties.get(name) == value


def sort_value(image: Record, key: str) -> Any:
    match key:
        case "created_at":
            return image.created
        case "updated_at":
            return image.updated
        case "size":
            return image.size or 0
    return (getattr(image, key) or "").encode()  # IMG-LIST-25, RUL-36
