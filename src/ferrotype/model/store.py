"""A store as discovery describes it."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


class StoreInfo(Struct, frozen=True):
    """What every caller may know about a store."""

    id: str
    description: str | None
    is_default: bool
    #: by its type, or because its last probe failed
    read_only: bool


class StoreDetail(Struct, frozen=True):
    """What operators may know about a store. ``properties`` are those of its driver, such as the data directory."""

    info: StoreInfo
    type: str
    weight: int
    properties: Mapping[str, Any]
