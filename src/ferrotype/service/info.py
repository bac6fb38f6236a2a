"""Discovery of stores and import methods. Answered from memory, without a call to a store."""

from ferrotype.model.caller import Caller
from ferrotype.model.errors import NotFound
from ferrotype.model.store import StoreDetail, StoreInfo
from ferrotype.service.context import ServiceContext
from ferrotype.stores.store import Store


def import_methods(ctx: ServiceContext) -> tuple[str, ...]:
    """Return the enabled import methods."""
    return ctx.config.api.import_methods


def store_ids(ctx: ServiceContext) -> tuple[str, ...]:
    """Return the ids that users may name; none in single-store mode."""
    return tuple(store.id for store in ctx.stores) if ctx.stores.multi else ()


def stores(ctx: ServiceContext) -> list[StoreInfo]:
    """Return the stores as users may see them. Raises NotFound in single-store mode (DISC-41)."""
    _require_multi_store(ctx)
    return [_info(ctx, store) for store in ctx.stores]


def stores_detail(ctx: ServiceContext, caller: Caller) -> list[StoreDetail]:
    """Return the stores as operators may see them. Raises NotFound in single-store mode, and Forbidden."""
    _require_multi_store(ctx)
    ctx.authoriser.require(caller, "stores_info_detail")
    return [StoreDetail(_info(ctx, store), store.type, store.weight, store.properties) for store in ctx.stores]


def _require_multi_store(ctx: ServiceContext) -> None:
    if not ctx.stores.multi:
        raise NotFound("Multi backend is not supported at this site.")


def _info(ctx: ServiceContext, store: Store) -> StoreInfo:
    return StoreInfo(store.id, store.description, store.id == ctx.stores.default, not store.health.writable)
