"""What the service says of itself: only what is so."""

from typing import Any

from ferrotype.model.caller import Caller
from ferrotype.model.errors import NotFound
from ferrotype.service.context import ServiceContext
from ferrotype.stores.store import Store


def import_methods(ctx: ServiceContext) -> tuple[str, ...]:
    """Return the ways of importing that work here."""
    return ctx.config.api.import_methods


def store_ids(ctx: ServiceContext) -> tuple[str, ...]:
    """Return the ids that users may name; none in single-store mode."""
    return tuple(store.id for store in ctx.stores) if ctx.stores.multi else ()


def _entry(ctx: ServiceContext, store: Store) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": store.id}
    if store.description:
        entry["description"] = store.description
    if store.id == ctx.stores.default:
        entry["default"] = "true"
    if not store.health.writable:
        entry["read-only"] = "true"
    return entry


def _multi_store_only(ctx: ServiceContext) -> None:
    if not ctx.stores.multi:
        raise NotFound("Multi backend is not supported at this site.")


def stores(ctx: ServiceContext) -> list[dict[str, Any]]:
    """Return the stores as users see them, from memory: no store is asked."""
    _multi_store_only(ctx)
    return [_entry(ctx, store) for store in ctx.stores]


def stores_detail(ctx: ServiceContext, caller: Caller) -> list[dict[str, Any]]:
    """Return the stores as operators see them, from memory: no store is asked."""
    _multi_store_only(ctx)
    ctx.authoriser.permit_at_all(caller, "stores_info_detail")
    return [
        {**_entry(ctx, store), "type": store.type, "properties": dict(store.properties), "weight": store.weight}
        for store in ctx.stores
    ]
