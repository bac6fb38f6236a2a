"""Dependencies shared by all service functions, and how they fetch an image."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ferrotype.config import Config
from ferrotype.db import images as rows
from ferrotype.db.engine import Connection, Database
from ferrotype.model.caller import Caller
from ferrotype.model.errors import NotFound
from ferrotype.model.image import Image
from ferrotype.offload import ThreadPools
from ferrotype.rules.permit import Authoriser
from ferrotype.rules.protection import Protection
from ferrotype.rules.review import could_be_image_id
from ferrotype.rules.schemas import Schemas
from ferrotype.rules.view import View
from ferrotype.service.lease import Lease
from ferrotype.service.record_quota import RecordQuota
from ferrotype.stores.stores import Stores


class UnifiedLimits(Protocol):
    """Source of the projects' limits when they are Keystone's."""

    async def of(self, project: str | None) -> Mapping[str, int]:
        """Return the limits of a project by resource. Raises Busy while they are not available."""


@dataclass(frozen=True, kw_only=True)
class ServiceContext:
    """The dependencies of one process.

    Immutable: a reload and a change of the policy files build another context, with the same database, stores,
    thread pools and lease. A request keeps the context that it began with.
    """

    config: Config
    db: Database
    stores: Stores
    pools: ThreadPools
    lease: Lease
    authoriser: Authoriser
    schemas: Schemas
    view: View
    protection: Protection | None = None
    #: when the projects' limits are Keystone's
    unified_limits: UnifiedLimits | None = None
    #: when they are not
    record_quota: RecordQuota = field(default_factory=RecordQuota)


async def fetch(
    ctx: ServiceContext, connection: Connection, caller: Caller, image_id: str, action: str, lock: bool = False
) -> tuple[Image, bool]:
    """Return an image to which the caller may do ``action``, and whether it is shared with the caller.

    All access to images goes through here. With ``lock`` its row is locked until the transaction ends. Raises
    NotFound and Forbidden.
    """
    ctx.authoriser.check_scope(caller, action)
    found = await rows.get(connection, image_id, caller.project, lock) if could_be_image_id(image_id) else None
    if found is None:
        raise NotFound(f"No image found with ID {image_id[:64]}.")
    image, shared = found
    ctx.authoriser.permit(caller, action, image, shared)
    return image, shared
