"""Do ledger, stores and counters say the same? Read-only unless told to repair."""

from dataclasses import asdict, dataclass
from typing import Any

from tintype.db import blobs
from tintype.db import images as rows
from tintype.model.blob import Blob
from tintype.model.errors import StoreError
from tintype.service.core import Service
from tintype.stores.store import Store


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


async def differences(svc: Service, repair: bool) -> list[Difference]:
    """Return every difference there is.

    unknown-object    a store holds what the ledger does not know; repaired by removing it
    missing-object    the ledger says an object is finished, and its store does not have it
    no-such-store     the ledger names a store that this node does not have
    unused-object     a finished object that no image names; repaired by dooming it
    wrong-count       a project's counter is not the ledger's sum; repaired by setting it
    unreadable-store  a store could not be listed
    """
    found: list[Difference] = []
    known = await blobs.everything(svc.db)
    for store in svc.stores:
        found += await _of_store(svc, store, [blob for blob in known if blob.store == store.id], repair)
    configured = {store.id for store in svc.stores}
    found += [
        Difference("no-such-store", blob.name, f"the ledger has it in store {blob.store}, which is not configured")
        for blob in known
        if blob.store not in configured
    ]
    found += await _unused(svc, known, repair)
    found += await _counts(svc, repair)
    return found


async def _of_store(svc: Service, store: Store, known: list[Blob], repair: bool) -> list[Difference]:
    try:
        names = {name async for name in store.names()}
    except StoreError as error:
        return [Difference("unreadable-store", store.id, str(error))]
    found = []
    # What appeared while we were looking is in the ledger by now: its row is older than its first byte.
    unknown = names - {blob.name for blob in known}
    later = {blob.name for blob in await blobs.everything(svc.db)} if unknown else set()
    for name in sorted(unknown - later):
        if repair:
            await store.delete(name)
        found.append(Difference("unknown-object", name, f"store {store.id} holds it, the ledger does not", repair))
    for blob in known:
        if blob.state in ("ready", "live") and blob.name not in names:
            detail = f"image {blob.image_id} needs it, store {store.id} does not have it"
            found.append(Difference("missing-object", blob.name, detail))
    return found


async def _unused(svc: Service, known: list[Blob], repair: bool) -> list[Difference]:
    found = []
    for blob in known:
        if blob.state != "live" or await _is_used(svc, blob):
            continue
        if repair:
            async with svc.db.begin() as tx:
                await blobs.doom(tx, blob.id, blob.image_id)
        found.append(Difference("unused-object", blob.name, f"image {blob.image_id} does not name it", repair))
    return found


async def _is_used(svc: Service, blob: Blob) -> bool:
    """Whether an image names the object; one that is deleted but kept for a while counts."""
    image = await rows.marker(svc.db, blob.image_id, None)
    return image is not None and any(location.blob == blob.id for location in image[0].locations)


async def _counts(svc: Service, repair: bool) -> list[Difference]:
    counted, summed = await blobs.accounts(svc.db)
    found = []
    for project in sorted(counted.keys() | summed.keys()):
        says, is_ = counted.get(project, 0), summed.get(project, 0)
        if says == is_:
            continue
        if repair:
            async with svc.db.begin() as tx:
                await blobs.correct_account(tx, project)
        detail = f"the counter says {says} bytes, the ledger adds up to {is_}"
        found.append(Difference("wrong-count", f"project {project or '(none)'}", detail, repair))
    return found
