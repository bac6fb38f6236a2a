"""Do ledger, stores and counters say the same? Read-only unless told to repair."""

from dataclasses import asdict, dataclass
from typing import Any

from ferrotype.db import blobs, directory_ids
from ferrotype.db import images as rows
from ferrotype.model.blob import Blob, image_of, is_object_name
from ferrotype.model.errors import BlobDamaged, BlobNotFound, StoreError
from ferrotype.model.image import Location
from ferrotype.service.context import ServiceContext
from ferrotype.stores.store import Store

MAY_BE_NEEDED = (
    "; nor does the database say that its image was deleted or has its data elsewhere, so it stays: is this the"
    " database of these stores, and up to date? If it is, --remove-unknown removes the object"
)


@dataclass(frozen=True)
class Difference:
    """One place where two accounts differ. ``kind`` is a stable code."""

    kind: str
    subject: str
    detail: str
    repaired: bool = False

    def sentence(self) -> str:
        """Return the difference as one line for people."""
        return f"{self.kind}: {self.subject}: {self.detail}" + (" (repaired)" if self.repaired else "")

    def to_dict(self) -> dict[str, Any]:
        """Return the difference as data for JSON."""
        return asdict(self)


async def differences(ctx: ServiceContext, repair: bool, remove_unknown: bool = False) -> list[Difference]:
    """Return every difference there is. The service may run meanwhile: what only looks like one is looked at again.

    unknown-object    a store holds what the ledger does not know; removed by repair when its name is one of ours and
                      its image was deleted, or has its data elsewhere; ``remove_unknown``: whatever its image
    missing-object    the ledger says an object is finished, and its store does not have it
    damaged-object    an object is there and is not what was stored: another size, or no plain file
    marked-damaged    a read once failed, and the object is good again; repaired by taking the mark away
    no-such-store     the ledger names a store that this node does not have
    unused-object     a finished object that no image names; repaired by dooming it
    wrong-count       a project's counter is not the ledger's sum; repaired by setting it
    unreadable-store  an object of a store could not be looked at, or the store could not be listed; then none was
    """
    found: list[Difference] = []
    known = await blobs.everything(ctx.db)
    marked = await blobs.damaged(ctx.db)
    unreadable: set[str] = set()
    for store in ctx.stores:
        store.expect(await directory_ids.of_store(ctx.db, store.id))
        told = await _unknown(
            ctx, store, {blob.name for blob in known if blob.store == store.id}, repair, remove_unknown
        )
        unreadable |= {each.subject for each in told if each.kind == "unreadable-store"}
        found += told
    for blob in known:
        if ctx.stores.get(blob.store) is None:
            detail = f"the ledger has it in store {blob.store}, which is not configured"
            found.append(Difference("no-such-store", blob.name, detail))
        if blob.state == "live" and blob.store not in unreadable:
            found += await _finished(ctx, blob, blob.id in marked, repair)
    found += await _counts(ctx, repair)
    return found


async def _unknown(
    ctx: ServiceContext, store: Store, known: set[str], repair: bool, remove_unknown: bool
) -> list[Difference]:
    try:
        unknown = {name async for name in store.names()} - known
        if unknown:  # What came meanwhile is in the ledger by now, and what went is in the store no more.
            later = {blob.name for blob in await blobs.everything(ctx.db)}
            unknown = {name async for name in store.names()} & unknown - later
    except StoreError as error:
        return [Difference("unreadable-store", store.id, str(error))]
    found = []
    for name in sorted(unknown):
        detail, repaired = f"store {store.id} holds it, the ledger does not", False
        if repair and not is_object_name(name):
            detail += "; its name was not made here, so it stays"
        elif repair and not remove_unknown and not await _is_left_over(ctx, image_of(name)):
            # It may be the only copy that an image of another service has, or that this one got after the backup from
            # which the database was restored.
            detail += MAY_BE_NEEDED
        elif repair:
            try:
                await store.delete(name)
                repaired = True
            except StoreError as error:
                detail += f"; it cannot be removed: {error}"
        found.append(Difference("unknown-object", name, detail, repaired))
    return found


async def _is_left_over(ctx: ServiceContext, image_id: str) -> bool:
    """Say whether an image can do without objects that the ledger does not know."""
    known = await rows.marker(ctx.db, image_id, None)
    if known is None:
        return False
    locations = known[0].locations
    if not locations:
        return await rows.get(ctx.db, image_id, None) is None  # Deleted for good; else it waits for its data.
    return any([await _is_whole(ctx, each) for each in locations])


async def _is_whole(ctx: ServiceContext, location: Location) -> bool:
    blob = await blobs.by_id(ctx.db, location.blob) if location.blob else None
    store = ctx.stores.get(blob.store) if blob else None
    if blob is None or store is None:
        return False
    try:
        file = await store.get(location, blob.size)
    except StoreError:  # Told where the finished objects are looked at.
        return False
    if file is not None:
        file.close()
    return True


async def _finished(ctx: ServiceContext, blob: Blob, marked: bool, repair: bool) -> list[Difference]:
    """Return what is wrong with an object that an image should have. A deleted image that is kept counts."""
    image = await rows.marker(ctx.db, blob.image_id, None)
    locations = [each for each in image[0].locations if each.blob == blob.id] if image else []
    if not await _is_live(ctx, blob):  # It went while we were looking.
        return []
    if not locations:
        if repair:
            async with ctx.db.begin() as tx:
                await blobs.doom(tx, {blob.id}, blob.image_id)
        return [Difference("unused-object", blob.name, f"image {blob.image_id} does not name it", repair)]
    store = ctx.stores.get(blob.store)
    if store is None:
        return []
    try:
        file = await store.get(locations[0], blob.size)
    except (BlobNotFound, BlobDamaged) as error:
        if not await _is_live(ctx, blob):  # It went before we opened it.
            return []
        if isinstance(error, BlobDamaged):
            return [Difference("damaged-object", blob.name, f"image {blob.image_id} needs it: {error}")]
        detail = f"image {blob.image_id} needs it, store {store.id} does not have it"
        return [Difference("missing-object", blob.name, detail)]
    except StoreError as error:
        return [Difference("unreadable-store", store.id, str(error))]
    if file is not None:
        file.close()
    if not marked:
        return []
    if repair:
        async with ctx.db.begin() as tx:
            await blobs.unmark_damaged(tx, blob.id)
    return [Difference("marked-damaged", blob.name, f"image {blob.image_id} can be read again", repair)]


async def _is_live(ctx: ServiceContext, blob: Blob) -> bool:
    now = await blobs.by_id(ctx.db, blob.id)
    return now is not None and now.state == "live"


async def _counts(ctx: ServiceContext, repair: bool) -> list[Difference]:
    counted, summed = await blobs.accounts(ctx.db)
    found = []
    for project in sorted(counted.keys() | summed.keys()):
        says, is_ = counted.get(project, 0), summed.get(project, 0)
        if says == is_:
            continue
        if repair:
            async with ctx.db.begin() as tx:
                await blobs.correct_account(tx, project)
        detail = f"the counter says {says} bytes, the ledger adds up to {is_}"
        found.append(Difference("wrong-count", f"project {project or '(none)'}", detail, repair))
    return found
