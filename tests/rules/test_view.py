"""What callers see of an image: the parts that hang on locations, and on what the service keeps for itself."""

from typing import Any

import pytest
from msgspec.structs import replace

from ferrotype.config.api import Api
from ferrotype.model.caller import Caller
from ferrotype.model.image import Image, Location
from ferrotype.rules.view import View

ANYBODY = Caller(user="u", project="p1", roles=frozenset({"member", "reader"}))
ADMIN = replace(ANYBODY, is_admin=True)
WEIGHTS = {"fast": 10, "cheap": 0, "slow": -5}


def at(url: str, store: str | None = None) -> Location:
    return Location(url, {"store": store} if store else {}, "internal")


PLACES = (at("s", "slow"), at("g", "gone"), at("c", "cheap"), at("f", "fast"), at("f2", "fast"), at("n"))
IMAGE = Image(id="i", status="active", locations=PLACES)


def view(multi: bool = True, **changes: Any) -> View:
    api = Api(**{"show_locations": True, "show_direct_url": True, **changes})
    return View(api, multi, lambda location: WEIGHTS.get(location.store or "", 0))


def test_copies_in_preferred_stores_come_first_and_equals_in_their_order() -> None:
    shown = view().image(ANYBODY, IMAGE)
    # IMG-ENT-31, IMG-ENT-18
    assert [each["url"] for each in shown["locations"]] == ["f", "f2", "g", "c", "n", "s"]
    assert shown["locations"][0] == {"url": "f", "metadata": {"store": "fast"}}
    # IMG-ENT-19, IMG-ENT-20
    assert (shown["direct_url"], shown["stores"]) == ("f", "fast,fast,gone,cheap,slow")


def test_with_one_store_copies_come_in_the_order_they_were_added() -> None:
    shown = view(multi=False).image(ANYBODY, IMAGE)
    # IMG-ENT-31, IMG-ENT-20
    assert [each["url"] for each in shown["locations"]] == ["s", "g", "c", "f", "f2", "n"]
    assert shown["direct_url"] == "s" and "stores" not in shown


@pytest.mark.parametrize(("caller", "count"), [(ANYBODY, 0), (ADMIN, 6)])
def test_copies_of_an_image_out_of_use_are_for_administrators(caller: Caller, count: int) -> None:
    shown = view().image(caller, replace(IMAGE, status="deactivated"))
    # IMG-ENT-32
    assert len(shown["locations"]) == count
    assert ("direct_url" in shown) is ("stores" in shown) is bool(count)


def test_an_image_without_copies_names_no_store() -> None:
    shown = view().image(ANYBODY, replace(IMAGE, locations=()))
    # IMG-ENT-18, IMG-ENT-19, IMG-ENT-20
    assert shown["locations"] == [] and not {"direct_url", "stores"} & shown.keys()


def test_what_the_service_notes_is_shown_among_the_properties() -> None:
    image = replace(
        IMAGE, properties={"a": "x"}, system={"os_glance_failed_import": "", "os_glance_import_task": "t"}
    )
    shown = view().image(ANYBODY, image)
    # IMG-ENT-22
    assert (shown["a"], shown["os_glance_failed_import"], shown["os_glance_import_task"]) == ("x", "", "t")
