"""What the service says of itself: only what is so."""

from typing import Any

from ferrotype.model.caller import Caller
from ferrotype.model.errors import NotFound
from ferrotype.service.context import Service
from ferrotype.stores.store import Store


def import_methods(svc: Service) -> tuple[str, ...]:
    """Return the ways of importing that work here."""
    return svc.config.api.import_methods


def store_ids(svc: Service) -> tuple[str, ...]:
    """Return the ids that users may name; none in single-store mode."""
    return tuple(store.id for store in svc.stores) if svc.stores.multi else ()


def _entry(svc: Service, store: Store) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": store.id}
    if store.description:
        entry["description"] = store.description
    if store.id == svc.stores.default:
        entry["default"] = "true"
    if not store.health.writable:
        entry["read-only"] = "true"
    return entry


def _multi_store_only(svc: Service) -> None:
    if not svc.stores.multi:
        raise NotFound("Multi backend is not supported at this site.")


def stores(svc: Service) -> list[dict[str, Any]]:
    """Return the stores as users see them, from memory: no store is asked."""
    _multi_store_only(svc)
    return [_entry(svc, store) for store in svc.stores]


def stores_detail(svc: Service, caller: Caller) -> list[dict[str, Any]]:
    """Return the stores as operators see them, from memory: no store is asked."""
    _multi_store_only(svc)
    svc.authoriser.permit_at_all(caller, "stores_info_detail")
    return [
        {**_entry(svc, store), "type": store.type, "properties": dict(store.properties), "weight": store.weight}
        for store in svc.stores
    ]
