"""Which URLs a location may have, and what an operation of a patch makes of an image's locations.

Pure: what stores and the ledger know was asked before.
"""

import hashlib
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ferrotype.model.errors import Conflict, Forbidden, Invalid
from ferrotype.model.external import Validators
from ferrotype.model.image import Image, Location, transition
from ferrotype.model.patch import Operation
from ferrotype.model.urls import without_credentials
from ferrotype.rules.review import NESTING, PROPERTY_BYTES, ready_for_data

#: Longest URL, in characters; the schema of images allows 255 in a PATCH.
MAX_URL = 1024
#: Schemes that mean files and settings of the service's own machine (SEC-50).
_LOCAL = frozenset({"file", "filesystem", "swift+config"})

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?]*)(.*)", re.DOTALL)
_NOT_IN_URLS = re.compile(r'[\x00-\x20\x7f\\"<>^`{|}]')
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def check_url(url: str) -> None:
    """Raise Invalid unless the URL has the form that a location of others' data may have.

    The gate for every such URL: what does not mean the same to every reader is refused, before a store or an address
    is asked (SEC-40, SEC-50).
    """
    if len(url) > MAX_URL:
        raise Invalid(f"The URL of a location must have at most {MAX_URL} characters.")
    parts = _URL.fullmatch(url)
    if parts is None:
        raise Invalid("The URL of a location must begin with a scheme and '://'.")
    scheme, authority, rest = parts[1].lower(), parts[2], parts[3]
    if scheme in _LOCAL:
        raise Invalid(f"A location must not have a URL with the scheme '{scheme}'.")
    if _NOT_IN_URLS.search(url) or not url.isprintable() or not authority.isascii():
        raise Invalid("The URL of a location must not contain spaces, control characters or backslashes.")
    if "#" in url:
        raise Invalid("The URL of a location must not have a fragment ('#').")
    if "@" in authority or without_credentials(url) != url:
        raise Invalid("The URL of a location must not contain a user or a password.")
    if not authority or (scheme in ("http", "https") and "%" in authority):
        raise Invalid("The URL of a location must name a host or a place of its store, unencoded.")
    path = rest.partition("?")[0]
    decoded = unquote(path)
    if _BARE_PERCENT.search(url) or not unquote(url).isprintable():
        raise Invalid("The URL of a location must be percent-encoded as RFC 3986 says, without control characters.")
    if {".", ".."} & {*path.split("/"), *decoded.split("/")}:
        raise Invalid("The URL of a location must not have '.' or '..' as a part of its path.")


class Found(Struct, frozen=True):
    """What the store knows of the data that a new location names: which store it is, its handle, and bytes."""

    store: str
    handle: str
    size: int
    validators: Validators | None = None


class Change(Struct, frozen=True):
    """How the operations of one patch change locations.

    ``found`` has the data of new URLs; None before they were asked for: then the result has no size and no stores.
    ``wanted`` is called with each new URL. ``multi_store``: metadata name stores. ``algorithm`` is that of digests.
    """

    found: Mapping[str, Found] | None
    wanted: Callable[[str], None]
    multi_store: bool
    algorithm: str

    def apply(self, image: Image, operation: Operation) -> Image:
        """Return the image after one operation; ``image.locations`` are in the order that clients see."""
        if operation.op == "remove":
            return _remove(image, operation.path[1])
        if image.status not in ("active", "queued"):
            raise Conflict(f"Image {image.id} is {image.status}; its locations cannot be changed.")
        if operation.op == "add":
            position = _position(operation.path[1], len(image.locations), adding=True)
            return self._add(image, position, operation.value)
        return self._replace(image, operation.value)

    def _add(self, image: Image, position: int, value: Mapping[str, Any]) -> Image:
        url, metadata = value["url"], _metadata(value)
        check_url(url)
        self.wanted(url)
        given = _digests(image, value, self.algorithm)
        found = self.found[url] if self.found is not None else None
        if found and self.multi_store:
            metadata = {**metadata, "store": found.store}
        new = Location(url, metadata, str(uuid.uuid4()), found.validators if found else None)
        _reject_duplicate(image.locations, new)
        locations = (*image.locations[:position], new, *image.locations[position:])
        if image.status == "active":
            return replace(image, locations=locations)
        ready_for_data(image)
        return transition(image, "active", locations=locations, size=found.size if found else None, **given)

    def _replace(self, image: Image, values: Sequence[Mapping[str, Any]]) -> Image:
        """Change metadata and order of the locations; an image without any gets them all."""
        if not values:
            raise Forbidden("The locations of an image cannot be replaced by none.")
        if not image.locations:
            for value in values:
                image = self._add(image, len(image.locations), value)
            return image
        left = list(image.locations)
        changed: list[Location] = []
        for value in values:
            _digests(image, value, self.algorithm)
            same = next((each for each in left if without_credentials(each.url) == value["url"]), None)
            if same is None:
                raise Invalid("The data of an image cannot change: 'locations' must keep its URLs.")
            left.remove(same)
            metadata = _metadata(value)
            if self.multi_store and same.store:  # Where the data is does not change with what clients write.
                metadata = {**metadata, "store": same.store}
            new = replace(same, metadata=metadata)
            _reject_duplicate(changed, new)
            changed.append(new)
        if left:
            raise Invalid("The data of an image cannot change: 'locations' must keep its URLs.")
        return replace(image, locations=tuple(changed))


def _remove(image: Image, position: str) -> Image:
    if image.status != "active":
        raise Conflict(f"Image {image.id} is {image.status}; locations can be removed from an active image only.")
    if len(image.locations) < 2:
        raise Forbidden(f"The last location of image {image.id} cannot be removed.")
    at = _position(position, len(image.locations), adding=False)
    return replace(image, locations=image.locations[:at] + image.locations[at + 1 :])


def _position(text: str, count: int, adding: bool) -> int:
    """Return the index that the last part of a path names; ``-`` is the end."""
    if text == "-":
        return count if adding else count - 1
    if not re.fullmatch("[0-9]{1,9}", text, re.ASCII):
        raise Invalid(f"The position of a location must be a whole number or '-'; got '{text[:32]}'.")
    if adding:
        return min(int(text), count)
    if int(text) >= count:
        raise Invalid(f"There is no location {int(text)}; the image has {count}.")
    return int(text)


def _metadata(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a location, checked: strings, and lists and objects of them (STOR-41)."""
    metadata: dict[str, Any] = value["metadata"]
    if not _is_of_strings(metadata, NESTING):
        raise Invalid(
            f"The metadata of a location must be strings, or lists and objects of them, in at most {NESTING} levels."
        )
    if (size := len(msgspec.json.encode(metadata))) > PROPERTY_BYTES:
        raise Invalid(f"The metadata of a location must have at most {PROPERTY_BYTES} bytes; they have {size}.")
    return metadata


def _is_of_strings(value: Any, levels: int) -> bool:
    if isinstance(value, dict | list) and levels > 0:
        inner = value.values() if isinstance(value, dict) else value
        return all(_is_of_strings(each, levels - 1) for each in inner)
    return isinstance(value, str)


def _reject_duplicate(locations: Iterable[Location], new: Location) -> None:
    def without_store(location: Location) -> dict[str, Any]:
        return {key: value for key, value in location.metadata.items() if key != "store"}

    for each in locations:
        if each.url == new.url and without_store(each) == without_store(new):
            raise Invalid("The image already has a location with this URL and these metadata.")


def _digests(image: Image, value: Mapping[str, Any], algorithm: str) -> dict[str, str]:
    """Return the digests that a location's ``validation_data`` claim, as attributes; raise Conflict if impossible.

    They are stored as they are given for an image without data, and must be those of an image that has some.
    """
    claimed: dict[str, str] = {name: text.lower() for name, text in value.get("validation_data", {}).items()}
    if not claimed:
        return {}
    if image.status == "queued":
        digits = hashlib.new(algorithm, usedforsecurity=False).digest_size * 2
        if claimed["os_hash_algo"] != algorithm:
            raise Conflict(f"'os_hash_algo' must be {algorithm}, the algorithm of this deployment.")
        if not re.fullmatch(f"[0-9a-f]{{{digits}}}", claimed["os_hash_value"]):
            raise Conflict(f"'os_hash_value' must have {digits} hexadecimal digits for {algorithm}.")
        if not re.fullmatch("[0-9a-f]{32}", claimed.get("checksum", "0" * 32)):
            raise Conflict("'checksum' must have 32 hexadecimal digits.")
        return claimed
    for name, text in claimed.items():
        if getattr(image, name) != text:
            raise Conflict(f"'{name}' is not that of the image's data.")
    return {}
