"""The ring of keys: what a verb needs is on it, and nothing is reached in another way."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ferrotype.config import Config
from ferrotype.db import images as rows
from ferrotype.db.engine import Connection, Database
from ferrotype.model.caller import Caller
from ferrotype.model.errors import NotFound
from ferrotype.model.image import Image
from ferrotype.offload import Crew
from ferrotype.rules.permit import Authoriser
from ferrotype.rules.protection import Protection
from ferrotype.rules.review import could_be_image_id
from ferrotype.rules.schemas import Schemas
from ferrotype.rules.view import View
from ferrotype.service.lease import Lease
from ferrotype.stores.store import Stores


class UnifiedLimits(Protocol):
    """Says what projects may have, where Keystone is asked."""

    async def of(self, project: str | None) -> Mapping[str, int]:
        """Return the limits of a project by resource. Raises Busy where they cannot be known."""


@dataclass
class Service:
    """One process's service. ``config`` and what is made from it are swapped whole on a reload."""

    config: Config
    db: Database
    stores: Stores
    crew: Crew
    lease: Lease
    authoriser: Authoriser
    schemas: Schemas
    view: View
    protection: Protection | None = None
    #: where limits of projects are Keystone's
    unified_limits: UnifiedLimits | None = None


async def fetch(
    svc: Service, connection: Connection, caller: Caller, image_id: str, action: str, lock: bool = False
) -> tuple[Image, bool]:
    """Return an image that the caller may do ``action`` to, and whether it is shared with the caller.

    There is no other way to get an image. With ``lock`` it stays as it is until the transaction ends.
    """
    svc.authoriser.admit(caller, action)
    found = await rows.get(connection, image_id, caller.project, lock) if could_be_image_id(image_id) else None
    if found is None:
        raise NotFound(f"No image found with ID {image_id[:64]}.")
    image, shared = found
    svc.authoriser.permit(caller, action, image, shared)
    return image, shared
