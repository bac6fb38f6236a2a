"""The documents of the API: which keys a record gets, and when a key is left out."""

from typing import Any

import pytest
from msgspec.structs import replace

from ferrotype.model.caller import Caller
from ferrotype.model.image import Image, Location
from ferrotype.model.quota import MIB, ProjectUsage, Quota, Quotas, Usage
from ferrotype.model.store import StoreDetail, StoreInfo
from ferrotype.rules.view import View
from ferrotype.web import documents

ANYBODY = Caller(user="u", project="p1", roles=frozenset({"member", "reader"}))
ADMIN = replace(ANYBODY, is_admin=True)
COPIES = (Location("f", {"store": "fast"}, "b1"), Location("c", {"store": "cheap"}, "b2"), Location("n", {}))
IMAGE = Image(id="i", status="active", locations=COPIES)


def image(shown: Image, caller: Caller = ANYBODY, **changes: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "show_direct_url": True,
        "show_locations": True,
        "multi_store": True,
        "weight": lambda _: 0,
        "schema_properties": {"kernel_id": {}},
    }
    return documents.image(View(**defaults | changes), caller, shown)


def test_locations_are_shown_where_the_deployment_shows_them() -> None:
    document = image(IMAGE)
    # IMG-ENT-18, IMG-ENT-19, IMG-ENT-20
    assert document["locations"] == [
        {"url": "f", "metadata": {"store": "fast"}},
        {"url": "c", "metadata": {"store": "cheap"}},
        {"url": "n", "metadata": {}},
    ]
    assert (document["direct_url"], document["stores"]) == ("f", "fast,cheap")
    document = image(IMAGE, show_direct_url=False, show_locations=False, multi_store=False)
    assert not {"locations", "direct_url", "stores"} & document.keys()


@pytest.mark.parametrize(("caller", "count"), [(ANYBODY, 0), (ADMIN, 3)])
def test_only_administrators_see_copies_of_a_deactivated_image(caller: Caller, count: int) -> None:
    document = image(replace(IMAGE, status="deactivated"), caller)
    # IMG-ENT-32
    assert len(document["locations"]) == count
    assert ("direct_url" in document) is ("stores" in document) is bool(count)


def test_an_image_without_copies_names_no_store() -> None:
    document = image(replace(IMAGE, locations=()))
    # IMG-ENT-18, IMG-ENT-19, IMG-ENT-20
    assert document["locations"] == [] and not {"direct_url", "stores"} & document.keys()


def test_properties_of_the_service_are_shown_among_the_others() -> None:
    shown = replace(
        IMAGE, properties={"a": "x"}, system={"os_glance_failed_import": "", "os_glance_import_task": "t"}
    )
    document = image(shown)
    # IMG-ENT-22
    assert (document["a"], document["os_glance_failed_import"], document["os_glance_import_task"]) == ("x", "", "t")


def test_only_a_property_of_the_schema_can_be_null() -> None:
    document = image(replace(IMAGE, properties={"kernel_id": None, "a": None, "b": "x"}))
    assert (document["kernel_id"], document["a"], document["b"]) == (None, "", "x")


@pytest.mark.parametrize(("count", "limit", "more"), [(2, 2, True), (2, 3, False), (0, 0, False)])
def test_a_page_links_to_the_next_one_when_it_is_full(count: int, limit: int, more: bool) -> None:
    view = View(False, False, False, lambda _: 0, {})
    page = [replace(IMAGE, id=f"i{number}") for number in range(count)]
    pairs = [("marker", "before"), ("name", "a b"), ("tag", "x"), ("tag", "y")]
    document = documents.image_page(view, ANYBODY, page, pairs, limit)
    # IMG-LIST-13, IMG-LIST-14, IMG-LIST-15
    assert document["first"] == "/v2/images?name=a+b&tag=x&tag=y"
    assert document.get("next") == ("/v2/images?name=a+b&tag=x&tag=y&marker=i1" if more else None)
    assert [each["id"] for each in document["images"]] == [each.id for each in page]


def test_users_see_less_of_a_store_than_operators() -> None:
    info = StoreInfo("fast", "an SSD", is_default=True, read_only=False)
    # DISC-31, DISC-37
    assert documents.stores([info, StoreInfo("cold", None, is_default=False, read_only=True)]) == {
        "stores": [{"id": "fast", "description": "an SSD", "default": "true"}, {"id": "cold", "read-only": "true"}]
    }
    assert documents.stores_detail([StoreDetail(info, "file", 7, {"data_dir": "/d"})]) == {
        "stores": [
            {
                "id": "fast", "description": "an SSD", "default": "true", "type": "file", "weight": 7,
                "properties": {"data_dir": "/d"},
            }
        ]
    }  # fmt: skip


def test_usage_of_data_is_in_mebibytes_and_no_limit_is_minus_one() -> None:
    quotas = Quotas(Quota("a", 5 * MIB, "bytes"), Quota("b", -1, "bytes"), Quota("c", 9), Quota("d", -1))
    document = documents.usage(ProjectUsage(Usage(3 * MIB + 1, 0, 4, 1), quotas))["usage"]
    assert list(document.values()) == [
        {"usage": 3, "limit": 5},
        {"usage": 0, "limit": -1},
        {"usage": 4, "limit": 9},
        {"usage": 1, "limit": -1},
    ]
    assert documents.usage(None) == {"usage": {}}
