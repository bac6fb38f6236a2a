"""One object in one store, as the ledger knows it.

writing --all bytes durable--> ready --committed with the image--> live
   \\--lease lapsed, refused, failed--> doomed <--image deleted, copy removed--/
                                       doomed --bytes gone--> (row removed)
"""

import re
import secrets

from msgspec import Struct


class Blob(Struct, frozen=True, gc=False, kw_only=True):
    """A row of the ledger. ``charged`` is what counts against ``project`` now, in bytes."""

    id: str
    store: str
    name: str
    image_id: str
    project: str | None
    purpose: str
    state: str
    charged: int
    size: int | None = None
    writer: str | None = None
    checksum: str | None = None
    hash_algo: str | None = None
    hash_value: str | None = None
    findings: str | None = None


class Stored(Struct, frozen=True, kw_only=True):
    """What is known of bytes that went through the pipe and are durable in a store."""

    url: str
    size: int
    checksum: str
    hash_algo: str
    hash_value: str
    findings: str
    virtual_size: int | None


def object_name(image_id: str) -> str:
    """Return a name for a new object. It is used once, so a late writer can never overwrite a newer attempt."""
    return f"{image_id.lower()}-{secrets.token_hex(4)}"


_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-[0-9a-f]{8}", re.ASCII)


def image_of(name: str) -> str:
    """Return the id of the image that an object of this name was made for."""
    return name.rpartition("-")[0]


def is_object_name(name: str) -> bool:
    """Tell whether ``object_name`` could have made this name."""
    return _NAME.fullmatch(name) is not None
