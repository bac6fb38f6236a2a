"""Check counts and sizes against the configured limits. Pure: the numbers were fetched before."""

from collections.abc import Collection, Mapping
from typing import Any

from ferrotype.config.limits import Limits
from ferrotype.model.errors import OverLimit


def _within(count: int, limit: int, what: str) -> None:
    if 0 <= limit < count:
        raise OverLimit(f"An image may have at most {limit} {what}; this request would make it {count}.")


def tags_fit(before: Collection[str], after: Collection[str], limits: Limits) -> None:
    """Raise OverLimit if new tags exceed the limit; keeping and removing tags is always allowed."""
    if set(after) - set(before):
        _within(len(set(after)), limits.image_tag_quota, "tags")


def properties_fit(
    before: Mapping[str, Any], after: Mapping[str, Any], limits: Limits, hidden: Collection[str] = ()
) -> None:
    """Raise OverLimit if new properties exceed the limit; changing and removing them is always allowed.

    The error has no count if that would reveal the number of properties ``hidden`` from the caller (SEC-89).
    """
    limit = limits.image_property_quota
    if hidden and after.keys() - before.keys() and 0 <= limit < len(after):
        raise OverLimit(f"An image may have at most {limit} properties.")
    if after.keys() - before.keys():
        _within(len(after), limit, "properties")


def locations_fit(before: int, after: int, limits: Limits) -> None:
    """Raise OverLimit if added locations exceed the limit; changing and removing them is always allowed."""
    if after > before:
        _within(after, limits.image_location_quota, "locations")


def members_fit(count: int, limits: Limits) -> None:
    """Raise OverLimit if ``count`` members exceed the limit."""
    _within(count, limits.image_member_quota, "members")


def size_fits(size: int, limits: Limits) -> None:
    """Raise OverLimit if an announced size exceeds ``image_size_cap``."""
    if size > limits.image_size_cap:
        raise OverLimit(f"An image may have at most {limits.image_size_cap} bytes; the request announces {size}.")
