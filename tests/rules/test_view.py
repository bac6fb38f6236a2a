"""Which locations and properties of an image callers may see, and in which order."""

from typing import Any

import pytest
from msgspec.structs import replace

from ferrotype.model.caller import Caller
from ferrotype.model.image import Image, Location
from ferrotype.rules.protection import protection, sections
from ferrotype.rules.view import View

ANYBODY = Caller(user="u", project="p1", roles=frozenset({"member", "reader"}))
ADMIN = replace(ANYBODY, is_admin=True)
WEIGHTS = {"fast": 10, "cheap": 0, "slow": -5}


def at(url: str, store: str | None = None) -> Location:
    return Location(url, {"store": store} if store else {}, "internal")


COPIES = (at("s", "slow"), at("g", "gone"), at("c", "cheap"), at("f", "fast"), at("f2", "fast"), at("n"))
IMAGE = Image(id="i", status="active", locations=COPIES)


def view(**changes: Any) -> View:
    defaults: dict[str, Any] = {
        "show_direct_url": True,
        "show_locations": True,
        "multi_store": True,
        "weight": lambda location: WEIGHTS.get(location.store or "", 0),
        "schema_properties": {},
    }
    return View(**defaults | changes)


def urls(locations: tuple[Location, ...]) -> list[str]:
    return [each.url for each in locations]


def test_copies_are_ordered_by_weight_with_a_stable_sort() -> None:
    # IMG-ENT-31
    assert urls(view().ordered(IMAGE)) == urls(view().locations(ANYBODY, IMAGE)) == ["f", "f2", "g", "c", "n", "s"]


def test_with_one_store_copies_come_in_the_order_they_were_added() -> None:
    # IMG-ENT-31
    assert urls(view(multi_store=False).locations(ANYBODY, IMAGE)) == ["s", "g", "c", "f", "f2", "n"]


@pytest.mark.parametrize(("caller", "count"), [(ANYBODY, 0), (ADMIN, 6)])
def test_only_administrators_see_the_copies_of_a_deactivated_image(caller: Caller, count: int) -> None:
    deactivated = replace(IMAGE, status="deactivated")
    # IMG-ENT-32
    assert len(view().locations(caller, deactivated)) == count
    assert len(view().ordered(deactivated)) == 6


def test_properties_are_hidden_by_protection_alone() -> None:
    text = "[^x_]\ncreate=@\nread=keeper\nupdate=@\ndelete=@\n[.]\ncreate=@\nread=@\nupdate=@\ndelete=@\n"
    found = protection(sections(text), None)
    # PROP-10
    assert view(protection=found).hidden(ANYBODY, ["x_a", "b", "x_c"]) == ["x_a", "x_c"]
    assert view().hidden(ANYBODY, ["x_a", "b"]) == []
