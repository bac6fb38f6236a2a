"""The consistency check: compare ledger, stores and usage counters. Read-only unless ``repair`` is set."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ferrotype.db import blobs, directory_ids, ledger_check
from ferrotype.db import images as rows
from ferrotype.model.blob import Blob, image_of, is_object_name
from ferrotype.model.errors import BlobDamaged, BlobNotFound, StoreError
from ferrotype.model.image import Location
from ferrotype.service.context import ServiceContext
from ferrotype.stores.store import Store

MAY_BE_NEEDED = (
    "; kept, because it may be the only copy of its image's data. If this database belongs to these stores and is up"
    " to date, remove the object with --repair --remove-unknown"
)


@dataclass(frozen=True)
class Difference:
    """One inconsistency. ``kind`` is a stable code."""

    kind: str
    subject: str
    detail: str
    repaired: bool = False

    def sentence(self) -> str:
        """Return the difference as one line of text."""
        return f"{self.kind}: {self.subject}: {self.detail}" + (" (repaired)" if self.repaired else "")

    def to_dict(self) -> dict[str, Any]:
        """Return the difference as data for JSON."""
        return asdict(self)


async def differences(ctx: ServiceContext, repair: bool, remove_unknown: bool = False) -> list[Difference]:
    """Return every difference. The service may run meanwhile: differences that may be a race are checked again.

    unknown-object    a store has an object that the ledger does not know; repair removes it when its name is one of
                      ours and its image was deleted, or can be read elsewhere; with ``remove_unknown``: in any case
    missing-object    the ledger has a finished object that its store does not have
    damaged-object    an object is there and is not what was stored: another size, or not readable to its end
    marked-damaged    a read once failed, and the object is good again; repair removes the mark
    no-such-store     the ledger names a store that this node does not have
    unused-object     a finished object that no image names; repair marks it for deletion
    wrong-count       a project's usage counter is not the ledger's sum; repair sets it
    unreadable-store  an object of a store could not be checked, or the store could not be listed; then none was
    """
    found: list[Difference] = []
    known = await blobs.all_blobs(ctx.db)
    marked = await ledger_check.damaged(ctx.db)
    unreadable: set[str] = set()
    for store in ctx.stores:
        store.set_expected_ids(await directory_ids.of_store(ctx.db, store.id))
        unknown = await _unknown_objects(ctx, store, _names(known, store), repair, remove_unknown)
        unreadable |= {each.subject for each in unknown if each.kind == "unreadable-store"}
        found += unknown
    for blob in known:
        if ctx.stores.get(blob.store) is None:
            detail = f"the ledger records it in store {blob.store}, which is not configured"
            found.append(Difference("no-such-store", blob.name, detail))
        if blob.state == "live" and blob.store not in unreadable:
            found += await _finished_object(ctx, blob, blob.id in marked, repair)
    found += await _usage(ctx, repair)
    return found


def _names(known: Iterable[Blob], store: Store) -> set[str | None]:
    """Return the names of a store's objects in the ledger, and the handles of those that others wrote."""
    return {blob.handle if blob.purpose == "external" else blob.name for blob in known if blob.store == store.id}


async def _unknown_objects(
    ctx: ServiceContext, store: Store, known: set[str | None], repair: bool, remove_unknown: bool
) -> list[Difference]:
    try:
        unknown = {each.name: each.handle async for each in store.list() if not {each.name, each.handle} & known}
        if unknown:  # What was added meanwhile is in the ledger by now, and what was deleted is not listed any more.
            later = _names(await blobs.all_blobs(ctx.db), store)
            missing = [name for name, handle in unknown.items() if not {name, handle} & later]
            unknown = {each.name: each.handle async for each in store.list() if each.name in missing}
    except StoreError as error:
        return [Difference("unreadable-store", store.id, str(error))]
    found = []
    for name, handle in sorted(unknown.items()):
        detail, repaired = f"store {store.id} has the object, the ledger has no record of it", False
        if repair and not is_object_name(name):
            detail += "; kept, because its name is not one that this service gives"
        elif repair and not remove_unknown and not await _is_dispensable(ctx, image_of(name)):
            # It may be the only copy that an image of another service has, or that this one got after the backup from
            # which the database was restored.
            detail += MAY_BE_NEEDED
        elif repair:
            try:
                await store.delete(name, handle)
                repaired = True
            except StoreError as error:
                detail += f"; removing it failed: {error}"
        found.append(Difference("unknown-object", name, detail, repaired))
    return found


async def _is_dispensable(ctx: ServiceContext, image_id: str) -> bool:
    """Return whether an image can do without objects that the ledger does not know."""
    known = await rows.marker(ctx.db, image_id, None)
    if known is None:
        return False
    locations = known[0].locations
    if not locations:
        return await rows.get(ctx.db, image_id, None) is None  # Deleted for good; otherwise it waits for its data.
    return any([await _is_readable(ctx, each) for each in locations])


async def _is_readable(ctx: ServiceContext, location: Location) -> bool:
    blob = await blobs.by_id(ctx.db, location.blob) if location.blob else None
    store = ctx.stores.get(blob.store) if blob else None
    if blob is None or store is None:
        return False
    try:
        await store.check(location.url, blob.size, location.validators)
    except StoreError:  # Reported where the finished objects are looked at.
        return False
    return True


async def _finished_object(ctx: ServiceContext, blob: Blob, marked: bool, repair: bool) -> list[Difference]:
    """Return what is wrong with an object that an image needs. A deleted image whose data is kept counts."""
    image = await rows.marker(ctx.db, blob.image_id, None)
    locations = [each for each in image[0].locations if each.blob == blob.id] if image else []
    if not await _is_live(ctx, blob):  # It was deleted since the ledger was read.
        return []
    if not locations:
        if repair:
            async with ctx.db.begin() as tx:
                await blobs.mark_for_deletion(tx, {blob.id}, blob.image_id)
        return [Difference("unused-object", blob.name, f"image {blob.image_id} does not refer to it", repair)]
    store = ctx.stores.get(blob.store)
    if store is None:
        return []
    try:
        await store.check(locations[0].url, blob.size, locations[0].validators)
    except (BlobNotFound, BlobDamaged) as error:
        if not await _is_live(ctx, blob):  # It was deleted before it was opened.
            return []
        if isinstance(error, BlobDamaged):
            return [Difference("damaged-object", blob.name, f"image {blob.image_id} refers to it: {error}")]
        detail = f"image {blob.image_id} refers to it, but store {store.id} does not have it"
        return [Difference("missing-object", blob.name, detail)]
    except StoreError as error:
        return [Difference("unreadable-store", store.id, str(error))]
    if not marked:
        return []
    if repair:
        async with ctx.db.begin() as tx:
            await ledger_check.unmark_damaged(tx, blob.id)
    return [
        Difference(
            "marked-damaged", blob.name, f"a read had failed, but image {blob.image_id} is readable again", repair
        )
    ]


async def _is_live(ctx: ServiceContext, blob: Blob) -> bool:
    now = await blobs.by_id(ctx.db, blob.id)
    return now is not None and now.state == "live"


async def _usage(ctx: ServiceContext, repair: bool) -> list[Difference]:
    counted, summed = await ledger_check.usage_vs_ledger(ctx.db)
    found = []
    for project in sorted(counted.keys() | summed.keys()):
        counter, total = counted.get(project, 0), summed.get(project, 0)
        if counter == total:
            continue
        if repair:
            async with ctx.db.begin() as tx:
                await ledger_check.correct_usage(tx, project)
        detail = f"the usage counter is {counter} bytes, the ledger adds up to {total}"
        found.append(Difference("wrong-count", f"project {project or '(none)'}", detail, repair))
    return found
