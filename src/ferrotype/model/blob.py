"""One object in one store, as the ledger knows it.

    writing --data durable--> ready --attached to its image--> live
       |                        |                               |
       | failed, refused,       | not needed after all          | image or copy deleted
       | or its worker died     v                               |
       +-------------------> deleting <-------------------------+
                                |
                                +--> data removed, then the row: gone

An upload attaches its object in the transaction that makes the image active, so it is ``writing`` until it is
``live``. ``ready`` is an object that waits to be attached, such as staged data.

An object of purpose ``external`` was written by others, and a location refers to it. Its row is ``live`` from the
start and counts like any other; deleting it deletes the row alone.
"""

import re
import secrets
from typing import Literal

from msgspec import Struct

from ferrotype.model.external import Validators

Purpose = Literal["data", "staged", "external"]
State = Literal["writing", "ready", "live", "deleting"]


class ObjectRef(Struct, frozen=True):
    """Identifies an object to a store driver."""

    name: str
    image_id: str
    owner: str | None


class Blob(Struct, frozen=True, gc=False, kw_only=True):
    """A row of the ledger. ``charged`` is what counts against ``project`` now, in bytes."""

    id: str
    store: str
    #: the service's name for the object, unique per attempt
    name: str
    #: the back end's name for it; None until it is known
    handle: str | None = None
    image_id: str
    project: str | None
    purpose: Purpose
    state: State
    charged: int
    size: int | None = None
    #: the worker that writes the object
    writer: str | None = None
    checksum: str | None = None
    hash_algo: str | None = None
    hash_value: str | None = None
    findings: str | None = None

    @property
    def ref(self) -> ObjectRef:
        """The reference for the store driver."""
        return ObjectRef(self.name, self.image_id, self.project)


class Registered(Struct, frozen=True):
    """An object that others wrote and that a URL names, as the store found it just now.

    ``name`` is the name that the object has if this service wrote it; None where it cannot be one of its objects.
    """

    handle: str
    size: int
    name: str | None = None
    #: of data that its owner may change
    validators: Validators | None = None


class Stored(Struct, frozen=True, kw_only=True):
    """Size, digests and findings of data that is durable in a store."""

    handle: str
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
    """Return whether ``object_name`` could have made this name."""
    return _NAME.fullmatch(name) is not None
