"""Read the data of images to its end and compute its digest."""

import hashlib

from ferrotype.model.errors import BlobDamaged, StoreError
from ferrotype.model.image import Image, Location
from ferrotype.model.urls import shown
from ferrotype.offload import shielded
from ferrotype.service.context import ServiceContext
from ferrotype.stores.store import Store

#: The digest by which data is compared where the image has none.
ALGORITHM = "sha256"


async def digest(ctx: ServiceContext, store: Store, location: Location, size: int | None, algorithm: str) -> str:
    """Return the digest of a copy in hexadecimal; raise a StoreError, BlobDamaged when it has another size."""
    computed = hashlib.new(algorithm, usedforsecurity=False)
    source = await store.open(location.url, size, location.validators)
    length = 0
    try:
        async for chunk in source.read(0, None):
            length += len(chunk)
            if size is not None and length > size:
                break
            await ctx.pools.offload(computed.update, chunk)
    finally:
        await shielded(source.close())
    if size is not None and length != size:
        raise BlobDamaged(f"{shown(location.url)} has {length} bytes or more, but {size} were stored")
    return computed.hexdigest()


async def check_copy(ctx: ServiceContext, image: Image, location: Location, store: Store) -> None:
    """Raise a StoreError unless a copy is what was stored: by digest, where the image has one, else by its size."""
    found = await digest(ctx, store, location, image.size, image.os_hash_algo or ALGORITHM)
    if image.os_hash_value and found != image.os_hash_value:
        raise BlobDamaged(f"{shown(location.url)} has another {image.os_hash_algo} than was stored")


async def data_digest(ctx: ServiceContext, image: Image) -> tuple[str, str]:
    """Return algorithm and digest of an image's data, read from its first readable copy where the image has none."""
    if image.os_hash_algo and image.os_hash_value:
        return image.os_hash_algo, image.os_hash_value
    failure: StoreError | None = None
    for location in ctx.view.ordered(image):
        if store := ctx.stores.of(location):
            try:
                return ALGORITHM, await digest(ctx, store, location, image.size, ALGORITHM)
            except StoreError as error:
                failure = error
    raise failure or StoreError(f"no store of image {image.id} is configured on this node")
