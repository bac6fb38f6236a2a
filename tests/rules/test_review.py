"""Validation of create and update requests, without a service."""

from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ferrotype.config.api import Api
from ferrotype.config.formats import Formats
from ferrotype.config.limits import Limits
from ferrotype.model.caller import Caller
from ferrotype.model.errors import Forbidden, Invalid, OverLimit
from ferrotype.model.image import BASE_ATTRIBUTES, Image
from ferrotype.model.patch import Operation, Patch
from ferrotype.rules import limits, review
from ferrotype.rules.schemas import Schemas

SCHEMAS = Schemas(Formats(), Api())
CALLER = Caller(user="u", project="p1", roles=frozenset({"member", "reader"}))
ADMIN = replace(CALLER, is_admin=True)
IMAGE = Image(id="5f1c4a52-6f1a-4b0e-9c38-0d8f3f6f2a11", owner="p1", properties={"a": "x"}, tags=("t",))

names = st.sampled_from(["name", "tags", "protected", "min_ram", "a", "b", "kernel_id"])


def no_locations(image: Image, operation: Operation) -> Image:
    raise AssertionError(f"no location was to be changed: {operation}")


def changed(image: Image, *operations: Operation, caller: Caller = CALLER, quotas: Limits | None = None) -> Image:
    patch = Patch(operations)
    review.check_patch(patch, SCHEMAS)
    return review.apply_patch(image, patch, caller, lambda _: None, no_locations, quotas or Limits(), SCHEMAS)


def add(name: str, value: Any) -> Operation:
    return Operation("add", (name,), value)


@given(suffix=st.text(max_size=5))
def test_reserved_names_are_refused(suffix: str) -> None:
    # IMG-PROP-04, SEC-73
    with pytest.raises(Forbidden):
        review.check_name_allowed(f"os_glance{suffix}")


@given(name=st.text(max_size=20).filter(lambda name: not name.startswith("os_glance")))
def test_other_names_are_allowed(name: str) -> None:
    if name in ("location", "deleted", "deleted_at"):
        return
    # IMG-PROP-03, IMG-PROP-10
    review.check_name_allowed(name)


@given(text=st.text(max_size=50))
def test_an_image_id_is_hexadecimal_to_its_end(text: str) -> None:
    # SEC-55
    assert not review.could_be_image_id(text) or (len(text) == 36 and text.isascii())
    assert review.could_be_image_id(IMAGE.id) and review.could_be_image_id(IMAGE.id.upper())
    assert not (text and review.could_be_image_id(IMAGE.id + text))
    assert not review.could_be_image_id(IMAGE.id.replace("1", "\uff11"))


@given(value=st.integers() | st.floats(allow_nan=False))
def test_a_number_is_an_integer_within_bounds(value: float) -> None:
    # IMG-ENT-11, IMG-PATCH-18
    if 0 <= value <= 2**31 - 1 and value == int(value):
        after = changed(IMAGE, add("min_ram", value))
        assert after.min_ram == value and type(after.min_ram) is int
    else:
        with pytest.raises(Invalid):
            changed(IMAGE, add("min_ram", value))


@pytest.mark.parametrize(("depth", "fits"), [(1, True), (32, True), (33, False), (5000, False)])
def test_the_nesting_of_a_value_is_limited(depth: int, fits: bool) -> None:
    value: Any = "x"
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    # SEC-107
    if fits:
        review.check_value_size("more", value)
    else:
        with pytest.raises(Invalid):
            review.check_value_size("more", value)


@given(values=st.dictionaries(names, st.none() | st.text(max_size=3) | st.booleans() | st.lists(st.text(max_size=2))))
def test_a_patch_keeps_the_attributes_that_it_does_not_name(values: dict[str, Any]) -> None:
    operations = [add(name, value) for name, value in values.items()]
    try:
        after = changed(IMAGE, *operations)
    except Invalid:
        return
    # IMG-CONC-02: what is saved is what differs
    for field in IMAGE.__struct_fields__:
        if field not in (*values, "properties"):
            assert getattr(after, field) == getattr(IMAGE, field)
    assert {k: v for k, v in after.properties.items() if k not in values} == {
        k: v for k, v in IMAGE.properties.items() if k not in values
    }
    assert after.properties.keys() & BASE_ATTRIBUTES == set()
    assert IMAGE.properties == {"a": "x"}


@pytest.mark.parametrize(
    ("before", "after", "quota", "fits"),
    [
        # IMG-TAG-03, IMG-PROP-09, QUO-03, QUO-04, QUO-07
        ("", "ab", 2, True), ("", "abc", 2, False), ("abc", "abc", 2, True), ("abc", "ab", 2, True),
        ("abc", "abd", 2, False), ("abc", "ad", 2, True), ("", "a", 0, False), ("", "abcdef", -1, True),
        ("", "", 0, True),
    ],
)  # fmt: skip
def test_quotas_are_checked_for_additions_only(before: str, after: str, quota: int, fits: bool) -> None:
    quotas = Limits(image_tag_quota=quota, image_property_quota=quota)
    with nullcontext() if fits else pytest.raises(OverLimit):
        limits.tags_fit(before, after, quotas)
    with nullcontext() if fits else pytest.raises(OverLimit):
        limits.properties_fit(dict.fromkeys(before), dict.fromkeys(after), quotas)


def test_properties_of_the_service_are_not_counted() -> None:
    image = replace(IMAGE, system={"os_glance_import_task": "t", "os_glance_failed_import": ""})
    # IMG-PROP-09, QUO-03
    assert changed(image, add("b", "x"), quotas=Limits(image_property_quota=2)).properties == {"a": "x", "b": "x"}
    assert changed(image, add("b", "x")).system == image.system


@pytest.mark.parametrize("status", ["saving", "uploading", "active", "deactivated", "importing", "queued"])
def test_formats_can_change_only_before_there_is_data(status: str) -> None:
    image = replace(IMAGE, status=status)
    # IMG-ENT-09, IMG-PATCH-15, IMG-PATCH-19
    assert changed(image, add("name", "x"), add("b", "x")).name == "x"
    if status in ("queued", "importing"):
        assert changed(image, add("disk_format", "iso")).disk_format == "iso"
    else:
        with pytest.raises(Forbidden):
            changed(image, add("disk_format", "iso"))


def test_the_policy_is_asked_about_each_new_visibility() -> None:
    asked: list[str] = []
    patch = Patch(tuple(add("visibility", each) for each in ("public", "private", "public")))
    after = review.apply_patch(
        IMAGE, patch, CALLER, lambda image: asked.append(image.visibility), no_locations, Limits(), SCHEMAS
    )
    # IMG-PATCH-16, IMG-ENT-04
    assert (asked, after.visibility) == (["public", "private", "public"], "public")


def test_only_an_administrator_changes_the_owner() -> None:
    # IMG-PATCH-17
    with pytest.raises(Forbidden):
        changed(IMAGE, add("owner", "p1"))
    assert changed(IMAGE, add("owner", ""), caller=ADMIN).owner is None
