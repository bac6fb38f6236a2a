"""What the Image API should answer: its rules once more, small and slow, without a database and without the product.

Written from ``docs/spec`` alone. Every question is answered with the statuses that are right; where the rules leave
open which of several faults is reported, there is more than one.
"""

import hashlib
from collections.abc import Collection
from copy import deepcopy
from typing import Any

from walk_records import (
    BYTES,
    CAP,
    CHANGED_BY_CLIENTS,
    CONTAINER_FORMATS,
    DISK_FORMATS,
    IMAGES,
    MEMBER_STATUSES,
    MEMBERS,
    MIB,
    NEVER_GIVEN,
    PROPERTIES,
    READ_ONLY,
    RESERVED,
    TAGS,
    VISIBILITIES,
    Record,
    Sent,
    Share,
    Who,
)  # fmt: skip

# -- who may see and do what ----------------------------------------------------------------------

OWNER_WRITES = {
    "modify_image", "delete_image", "upload_image", "deactivate", "reactivate", "add_member", "delete_member",
}  # fmt: skip


def is_owner(who: Who, image: Record) -> bool:
    """A caller without project is like one of another project, also where an image has no owner."""  # IMG-POL-06
    return who.project is not None and who.project == image.owner


def in_view(who: Who, image: Record) -> bool:  # IMG-POL-01
    shared = image.visibility == "shared" and who.project in image.members()
    public = image.visibility in ("public", "community")
    return who.admin or image.owner is None or public or is_owner(who, image) or shared


def reaches(who: Who, image: Record) -> bool:
    return is_owner(who, image) or image.visibility in ("shared", "community", "public")


def allowed(who: Who, action: str, image: Record) -> bool:  # IMG-POL-03
    if who.admin:
        return True
    is_member = image.visibility == "shared" and who.project in image.members()
    match action:
        case "get_image":
            return who.has("reader") and reaches(who, image)
        case "download_image":
            return who.has("member") and reaches(who, image)
        case "get_image_location":
            return who.has("reader") and is_owner(who, image)
        case "get_members":
            return who.has("reader") and (is_owner(who, image) or is_member)
        case "modify_member":
            return who.has("member") and is_member
        case "fetch_image_location":
            return who.has("service")
        case "delete_image_location" | "publicize_image":
            return False
    assert action in OWNER_WRITES, action
    return who.has("member") and is_owner(who, image)


def refusal(who: Who, action: str, image: Record | None) -> int | None:
    """The status that a call is refused with because of who calls; None when it is not."""  # POL-10..12
    if image is None:
        return 404
    beyond = action == "fetch_image_location" and who.has("service")  # RUL-12
    if not in_view(who, image) and not beyond:
        return 404
    if allowed(who, action, image):
        return None
    return 403 if allowed(who, "get_image", image) else 404


# -- what is wrong with a value -------------------------------------------------------------------


def is_text(value: Any, most: int = 255, null: bool = True) -> bool:
    return (value is None and null) or (isinstance(value, str) and len(value) <= most)


def schema_fault(name: str, value: Any) -> bool:  # SCH-10b..t
    match name:
        case "name" | "owner":
            return not is_text(value)
        case "visibility":
            return value not in VISIBILITIES
        case "protected" | "os_hidden":
            return not isinstance(value, bool)
        case "tags":
            return not (isinstance(value, list) and all(is_text(each, null=False) for each in value))
        case "disk_format":
            return value not in (None, *DISK_FORMATS)
        case "container_format":
            return value not in (None, *CONTAINER_FORMATS)
        case "min_disk" | "min_ram":
            return isinstance(value, bool) or not isinstance(value, int)
        case "status":
            return value not in ("queued", "active")  # of those that a walk sends
        case "id" | "self" | "checksum" | "created_at" | "stores":
            return not isinstance(value, str)
        case "size":
            return not isinstance(value, int)
        case "kernel_id":
            return value is not None and not (isinstance(value, str) and len(value) == 36)
    return not isinstance(value, str)


def number_fault(value: int) -> bool:  # IMG-ENT-11
    return not 0 <= value <= 2147483647


# -- the model ------------------------------------------------------------------------------------


class Model:
    """All images, live and deleted, and what may be done with them next."""

    def __init__(self) -> None:
        self.live: dict[str, Record] = {}
        self.dead: dict[str, Record] = {}
        self.step = 0

    def tick(self) -> int:
        self.step += 1
        return self.step

    def owned(self, project: str | None) -> list[Record]:
        return [image for image in self.live.values() if image.owner == project]

    def used(self, project: str | None) -> int:  # QUO-40
        return sum(image.size or 0 for image in self.owned(project))

    # -- create

    def create(self, who: Who, document: dict[str, Any]) -> set[int]:  # IMG-CREATE-02
        if any(name in document for name in NEVER_GIVEN):
            return {403}  # IMG-PROP-06
        if any(schema_fault(name, value) for name, value in document.items()):
            return {400}
        if any(len(name) > 255 or not name for name in document):
            return {400}
        if any(name.startswith("os_glance") or name in RESERVED for name in document):
            return {403}  # IMG-PROP-04, IMG-PROP-05
        owner = document.get("owner", who.project)
        if not who.admin and (not who.has("member") or who.project is None or owner != who.project):
            return {403}  # IMG-CREATE-03, AUT-06
        if document.get("visibility") == "public" and not who.admin:
            return {403}  # IMG-CREATE-04
        full = {413} if len(self.owned(owner or None)) >= IMAGES else set()  # QUO-30; when it is reported is open
        if len(set(document.get("tags", ()))) > TAGS:
            return {413}
        if any(name in document for name in READ_ONLY):
            return full | {403}  # IMG-PROP-07
        if any(number_fault(document.get(name, 0)) for name in ("min_disk", "min_ram")):
            return full | {400}
        if len(properties_of(document)) > PROPERTIES:
            return {413}
        if document.get("id") in self.live or document.get("id") in self.dead:
            return full | {409}  # IMG-ENT-01
        return full or {201}

    def created(self, who: Who, document: dict[str, Any], image_id: str) -> None:
        now = self.tick()
        image = Record(image_id, document.get("owner", who.project) or None, now, now)
        for name in CHANGED_BY_CLIENTS:
            if name in document and name != "owner":
                setattr(image, name, frozenset(document[name]) if name == "tags" else document[name])
        image.properties = properties_of(document)
        self.live[image_id] = image

    # -- change

    def patch(self, who: Who, image: Record | None, operations: list[dict[str, Any]], only_new: bool) -> Any:
        """The status, and the image as it is afterwards when that is 200."""
        for each in operations:  # IMG-PATCH-04
            name = each["path"][1:]
            if name in ("id", *READ_ONLY, *NEVER_GIVEN) or name.startswith("os_glance") or name in RESERVED:
                return 403, None
            if each["op"] != "remove":
                if schema_fault(name, each["value"]):
                    return 400, None
                if name in ("min_disk", "min_ram") and number_fault(each["value"]):
                    return 400, None
        status = refusal(who, "modify_image", image)
        if status or image is None:
            return status, None
        after = deepcopy(image)
        for each in operations:
            status = self._operation(who, after, each, only_new)
            if status:
                return status, None
        if after.tags - image.tags and len(after.tags) > TAGS:
            return 413, None
        if after.properties.keys() - image.properties.keys() and len(after.properties) > PROPERTIES:
            return 413, None  # IMG-PROP-09
        if operations:
            after.updated = self.tick()  # IMG-ENT-30
        return 200, after

    @staticmethod
    def _operation(who: Who, image: Record, operation: dict[str, Any], only_new: bool) -> int | None:
        op, name = operation["op"], operation["path"][1:]
        if name == "locations":
            return 403  # IMG-LOCP-01
        if name not in CHANGED_BY_CLIENTS:
            present = name in image.properties
            if (op != "add" and not present) or (op == "add" and only_new and present):
                return 409  # IMG-PATCH-11..13
            if op == "remove":
                del image.properties[name]
            else:
                image.properties[name] = operation["value"]
            return None
        if op == "remove":
            return 403
        if op == "add" and only_new:
            return 409
        value = operation["value"]
        if name in ("disk_format", "container_format") and image.status != "queued":
            return 403  # IMG-PATCH-15
        if name == "owner" and not who.admin:
            return 403  # IMG-PATCH-17
        if name == "visibility" and value == "public" and not who.admin:
            return 403  # IMG-PATCH-16
        setattr(image, name, frozenset(value) if name == "tags" else (value or None) if name == "owner" else value)
        return None

    def tag(self, who: Who, image: Record | None, tag: str) -> set[int]:
        status = refusal(who, "modify_image", image)
        if len(tag) > 255:
            return {400, status or 400}
        if status or image is None:
            return {status or 404}
        return {413} if tag not in image.tags and len(image.tags) >= TAGS else {204}

    # -- members

    def share(self, who: Who, image: Record | None, project: str) -> set[int]:
        status = refusal(who, "add_member", image)
        if status or image is None:
            return {status or 404}
        if image.visibility != "shared":
            return {403}  # IMG-MEM-06
        if len(image.members()) >= MEMBERS:
            return {413}  # IMG-MEM-05
        return {409} if project in image.members() else {200}

    def shared(self, image: Record, project: str) -> None:
        before = image.shares.get(project)
        image.shares[project] = Share("pending", before.created if before else self.tick())  # IMG-MEM-04

    def set_member_status(self, who: Who, image: Record | None, project: str, status: str) -> set[int]:
        if status not in MEMBER_STATUSES:
            return {400}
        refused = refusal(who, "get_image", image)
        if refused or image is None:
            return {refused or 404}
        if image.visibility != "shared":
            return {403}
        if not who.admin and who.project not in (image.owner, project):
            return {404, 403} if project in image.members() else {404}
        if project not in image.members():
            return {404}
        if who.project == image.owner and not who.admin:
            return {403}  # IMG-MEM-10: also where its own project was added
        return {200} if allowed_member(who, project) else {403}  # IMG-MEM-10

    def unshare(self, who: Who, image: Record | None, project: str) -> set[int]:
        refused = refusal(who, "delete_member", image)
        if refused or image is None:
            # IMG-MEM-11: a member does not see the other members.
            return {404, 403} if refused == 403 and who.project != project else {refused or 404}
        if image.visibility != "shared":
            return {403}
        return {204} if project in image.members() else {404}

    def members(self, who: Who, image: Record | None) -> tuple[int, Collection[str]]:
        refused = refusal(who, "get_members", image)
        if image is not None and refused != 404 and image.visibility != "shared":
            refused = 403
        if refused or image is None:
            return refused or 404, ()
        everything = who.admin or is_owner(who, image)
        return 200, [each for each in image.members() if everything or each == who.project]  # IMG-MEM-07

    # -- data

    def upload(self, who: Who, image: Record | None, sent: Sent) -> set[int]:
        if sent.store not in (None, "fast", "cheap"):
            return {400}  # IMG-UP-06
        status = refusal(who, "upload_image", image)
        if status or image is None:
            return {status or 404}
        if image.status != "queued":
            return {409}
        if not image.disk_format or not image.container_format:
            return {400}
        size, free = len(sent.data), BYTES - self.used(image.owner)
        known = sent.announced or (0 if sent.chunked else size)
        faults = {413} if max(size, known) > CAP or max(size, known) > free else set()
        faults |= {413} if not known and free <= 0 else set()  # IMG-UP-27
        faults |= {400} if sent.announced and sent.announced != size else set()
        faults |= {415} if sent.is_refused_in(image) else set()
        return faults or {204}

    def stored(self, image: Record, sent: Sent) -> None:
        image.status, image.data, image.store = "active", sent.data, sent.store or "fast"
        image.virtual_size = sent.virtual_size_in(image)
        image.updated = self.tick()

    def download(self, who: Who, image: Record | None) -> int:
        status = refusal(who, "download_image", image)
        if status or image is None:
            return status or 404
        if image.status == "deactivated" and not who.admin:
            return 403  # IMG-DL-04
        return 204 if image.data is None else 200

    # -- the end

    def delete(self, who: Who, image: Record | None) -> int:
        status = refusal(who, "delete_image", image)
        if status or image is None:
            return status or 404
        return 403 if image.protected else 204

    def deleted(self, image: Record) -> None:
        self.dead[image.id] = self.live.pop(image.id)

    def delete_from_store(self, who: Who, image: Record | None, store: str) -> int:  # IMG-DFS
        if store not in ("fast", "cheap"):
            return 409
        for action in ("get_image_location", "delete_image_location"):
            status = refusal(who, action, image)
            if status:
                return status
        assert image is not None
        return 409 if image.status != "active" else 403

    # -- what is shown

    def document(self, who: Who, image: Record) -> dict[str, Any]:
        """The image as ``who`` sees it, without its times."""
        data = image.data
        shown = {name: getattr(image, name) for name in CHANGED_BY_CLIENTS} | {
            "id": image.id, "status": image.status, "tags": sorted(image.tags), "size": image.size,
            "virtual_size": image.virtual_size,
            "checksum": None if data is None else hashlib.md5(data).hexdigest(),
            "os_hash_algo": None if data is None else "sha512",
            "os_hash_value": None if data is None else hashlib.sha512(data).hexdigest(),
            "self": f"/v2/images/{image.id}", "file": f"/v2/images/{image.id}/file", "schema": "/v2/schemas/image",
        }  # fmt: skip
        if image.store and (who.admin or image.status != "deactivated"):
            shown["stores"] = image.store  # IMG-ENT-20, IMG-ENT-32
        return shown | image.properties

    def usage(self, who: Who) -> dict[str, Any]:  # DISC-91, DISC-92
        return {
            "image_size_total": {"usage": self.used(who.project) // MIB, "limit": BYTES // MIB},
            "image_stage_total": {"usage": 0, "limit": 1},
            "image_count_total": {"usage": len(self.owned(who.project)), "limit": IMAGES},
            "image_count_uploading": {"usage": 0, "limit": 2},
        }


def allowed_member(who: Who, project: str) -> bool:
    return who.admin or (who.project == project and who.has("member"))


def properties_of(document: dict[str, Any]) -> dict[str, Any]:
    base = {"id", *CHANGED_BY_CLIENTS, *READ_ONLY, *NEVER_GIVEN}
    return {name: value for name, value in document.items() if name not in base}
