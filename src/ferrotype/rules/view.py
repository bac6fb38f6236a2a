"""What callers may see of an image: its locations, in order, and its properties."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ferrotype.model.caller import Caller
from ferrotype.model.image import Image, Location
from ferrotype.rules.protection import Protection


@dataclass(frozen=True, slots=True)
class View:
    """What this deployment shows of images. ``weight`` returns how much a location's store is preferred."""

    show_direct_url: bool
    show_locations: bool
    multi_store: bool
    weight: Callable[[Location], int]
    #: additional properties that the deployment's schema describes
    schema_properties: Mapping[str, Any]
    protection: Protection | None = None
    #: returns locations with the stores that hold them, where their metadata name none (RUL-19)
    attribute: Callable[[tuple[Location, ...]], tuple[Location, ...]] = lambda locations: locations
    #: whether the deployment's policy lets a caller see the locations of an image
    may_see_locations: Callable[[Caller, Image], bool] = lambda caller, image: True

    def ordered(self, image: Image) -> tuple[Location, ...]:
        """Return the locations of the image with their stores, those in preferred stores first (IMG-ENT-31)."""
        if not self.multi_store:
            return image.locations
        located = self.attribute(image.locations)
        return located if len(located) < 2 else tuple(sorted(located, key=self.weight, reverse=True))

    def locations(self, caller: Caller, image: Image) -> tuple[Location, ...]:
        """Return the locations that the caller may see, in order: none of a deactivated image (IMG-ENT-32)."""
        if image.status == "deactivated" and not caller.is_admin:
            return ()
        return self.ordered(image)

    def hidden(self, caller: Caller, properties: Collection[str]) -> list[str]:
        """Return the names of the properties that the caller may not read."""
        return self.protection.hidden(caller, properties) if self.protection else []
