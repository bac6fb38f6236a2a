"""Records -> the JSON documents of the Image API. What a caller may see is decided by ``rules.view``."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import urlencode

from ferrotype.model.caller import Caller
from ferrotype.model.image import Image, Location
from ferrotype.model.member import Member
from ferrotype.model.quota import COUNT, MIB, SIZE, STAGE, UPLOADING, ProjectUsage, Quota
from ferrotype.model.store import StoreDetail, StoreInfo
from ferrotype.model.times import isoformat
from ferrotype.model.urls import without_credentials
from ferrotype.rules.view import View

Document = dict[str, Any]

# -- images -------------------------------------------------------------------------------------


def image_documents(view: View, caller: Caller) -> Callable[[Image], Document]:
    """Return the function that makes the document of an image for this caller.

    A page has up to 1,000 images, so whatever is the same for all of them is looked up once.
    """
    known, protected = view.schema_properties, view.protection is not None
    show_locations = view.show_locations

    def document(image: Image) -> Document:
        path = "/v2/images/" + image.id
        made = {
            "id": image.id,
            "name": image.name,
            "status": image.status,
            "visibility": image.visibility,
            "owner": image.owner,
            "protected": image.protected,
            "os_hidden": image.os_hidden,
            "tags": image.tags,
            "disk_format": image.disk_format,
            "container_format": image.container_format,
            "size": image.size,
            "virtual_size": image.virtual_size,
            "min_disk": image.min_disk,
            "min_ram": image.min_ram,
            "checksum": image.checksum,
            "os_hash_algo": image.os_hash_algo,
            "os_hash_value": image.os_hash_value,
            "created_at": isoformat(image.created_at),
            "updated_at": isoformat(image.updated_at),
            "self": path,
            "file": path + "/file",
            "schema": "/v2/schemas/image",
        }
        if image.properties:
            made.update(image.properties)
            if None in image.properties.values():  # Only a property that the schema describes can be null.
                made.update({k: "" for k, v in image.properties.items() if v is None and k not in known})
            if protected:
                for name in view.hidden(caller, image.properties):
                    del made[name]
        if image.system:
            made.update(image.system)
        if image.locations or show_locations:
            _add_locations(made, view, caller, image)
        return made

    return document


def image(view: View, caller: Caller, shown: Image) -> Document:
    """Return the document of one image."""
    return image_documents(view, caller)(shown)


def _add_locations(document: Document, view: View, caller: Caller, image: Image) -> None:
    """Add every key that shows where the data is, as far as the caller may see it (POL-32, SEC-54)."""
    shown = view.locations(caller, image)
    if (view.show_locations or view.show_direct_url) and view.may_see_locations(caller, image):
        if view.show_locations:
            document["locations"] = locations(shown)
        if view.show_direct_url and shown:
            document["direct_url"] = without_credentials(shown[0].url)
    if view.multi_store:
        stores = [store for each in shown if (store := each.store)]
        if stores:
            document["stores"] = ",".join(stores)


def image_page(
    view: View, caller: Caller, page: Sequence[Image], pairs: list[tuple[str, str]], limit: int
) -> Document:
    """Return one page of a list, with links to the first page and, if this one is full, to the next.

    ``pairs`` is the query, which the links repeat (IMG-LIST-14).
    """
    query = [(key, value) for key, value in pairs if key != "marker"]
    document: Document = {
        "images": list(map(image_documents(view, caller), page)),
        "schema": "/v2/schemas/images",
        "first": "/v2/images" + (f"?{urlencode(query)}" if query else ""),
    }
    if page and len(page) == limit:
        document["next"] = "/v2/images?" + urlencode([*query, ("marker", page[-1].id)])
    return document


def locations(shown: Iterable[Location]) -> list[Document]:
    """Return the documents of locations; no URL in them holds credentials (SEC-60)."""
    return [{"url": without_credentials(each.url), "metadata": each.metadata} for each in shown]


def tasks() -> Document:
    """Return the list of an image's tasks: this version has none."""
    return {"tasks": []}


# -- members ------------------------------------------------------------------------------------


def member(shown: Member) -> Document:
    """Return the document of one member."""
    return {
        "member_id": shown.member,
        "image_id": shown.image_id,
        "status": shown.status,
        "created_at": isoformat(shown.created_at),
        "updated_at": isoformat(shown.updated_at),
        "schema": "/v2/schemas/member",
    }


def members(shown: Iterable[Member]) -> Document:
    """Return the list of an image's members."""
    return {"members": [member(each) for each in shown], "schema": "/v2/schemas/members"}


# -- discovery ----------------------------------------------------------------------------------


def import_methods(methods: Sequence[str]) -> Document:
    """Return the document of the enabled import methods."""
    described = {"description": "Import methods available.", "type": "array", "value": methods}
    return {"import-methods": described}


def stores(shown: Iterable[StoreInfo]) -> Document:
    """Return the list of stores for users."""
    return {"stores": [_store(each) for each in shown]}


def stores_detail(shown: Iterable[StoreDetail]) -> Document:
    """Return the list of stores for operators."""
    return {
        "stores": [
            {**_store(each.info), "type": each.type, "properties": dict(each.properties), "weight": each.weight}
            for each in shown
        ]
    }


def _store(info: StoreInfo) -> Document:
    document = {"id": info.id}
    if info.description:
        document["description"] = info.description
    if info.is_default:
        document["default"] = "true"
    if info.read_only:
        document["read-only"] = "true"
    return document


def usage(shown: ProjectUsage | None) -> Document:
    """Return usage and quotas of a project, data in MiB; empty if there are no quotas to show."""
    if shown is None:
        return {"usage": {}}
    used, quotas = shown.used, shown.quotas
    return {
        "usage": {
            SIZE: {"usage": used.size // MIB, "limit": _in_mib(quotas.size)},
            STAGE: {"usage": used.stage // MIB, "limit": _in_mib(quotas.stage)},
            COUNT: {"usage": used.count, "limit": quotas.count.most},
            UPLOADING: {"usage": used.uploading, "limit": quotas.uploading.most},
        }
    }


def _in_mib(quota: Quota) -> int:
    return quota.most // MIB if quota.counts else -1
