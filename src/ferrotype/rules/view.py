"""What do they see of it? Records on their way out, as the documents of the API."""

from collections.abc import Callable
from typing import Any

from ferrotype.config.api import Api
from ferrotype.model.caller import Caller
from ferrotype.model.image import Image, Location
from ferrotype.model.member import Member
from ferrotype.model.times import shown
from ferrotype.rules.protection import Protection

Document = dict[str, Any]


class View:
    """How this deployment shows images. ``weight`` says how much a location's store is preferred."""

    def __init__(
        self, api: Api, multi: bool, weight: Callable[[Location], int], protection: Protection | None = None
    ):
        self._protection = protection
        self._direct_url, self._locations = api.show_direct_url, api.show_locations
        self._multi, self._weight = multi, weight
        self._known = api.schema_properties

    def image(self, caller: Caller, image: Image) -> Document:
        """Return the image as the caller sees it."""
        path = "/v2/images/" + image.id
        document = {
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
            "created_at": shown(image.created_at),
            "updated_at": shown(image.updated_at),
            "self": path,
            "file": path + "/file",
            "schema": "/v2/schemas/image",
        }
        if image.properties:
            document.update(image.properties)
            if None in image.properties.values():  # Only a property that the schema knows can be without a value.
                document.update({k: "" for k, v in image.properties.items() if v is None and k not in self._known})
            if self._protection:
                for name in self._protection.unreadable(caller, image.properties):
                    del document[name]
        if image.system:
            document.update(image.system)
        if image.locations or self._locations:
            self._add_locations(document, caller, image)
        return document

    def _add_locations(self, document: Document, caller: Caller, image: Image) -> None:
        hidden = image.status == "deactivated" and not caller.is_admin
        locations = () if hidden else self.ordered(image)
        if self._locations:
            document["locations"] = [{"url": each.url, "metadata": each.metadata} for each in locations]
        if self._direct_url and locations:
            document["direct_url"] = locations[0].url
        if self._multi:
            stores = [each.store for each in locations if each.store]
            if stores:
                document["stores"] = ",".join(stores)

    def ordered(self, image: Image) -> tuple[Location, ...]:
        """Return the locations, those in the preferred stores first."""
        if not self._multi or len(image.locations) < 2:
            return image.locations
        return tuple(sorted(image.locations, key=self._weight, reverse=True))

    @staticmethod
    def member(member: Member) -> Document:
        """Return a member as everybody sees it."""
        return {
            "member_id": member.member,
            "image_id": member.image_id,
            "status": member.status,
            "created_at": shown(member.created_at),
            "updated_at": shown(member.updated_at),
            "schema": "/v2/schemas/member",
        }
