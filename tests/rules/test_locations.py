"""The gate for URLs of locations, and what operations make of locations, without a service."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrotype.model.errors import Conflict, Forbidden, Invalid
from ferrotype.model.image import Image, Location
from ferrotype.model.patch import Operation
from ferrotype.model.urls import without_credentials
from ferrotype.rules.locations import Change, Found, check_url

GOOD = "https://mirror.example/a/disk.img"
ONE = Image(
    id="5f1c4a52-6f1a-4b0e-9c38-0d8f3f6f2a11",
    status="active",
    size=3,
    checksum="a" * 32,
    os_hash_algo="sha512",
    os_hash_value="b" * 128,
    locations=(Location("file:///x/1", {"store": "fast"}, "blob-1"),),
)
QUEUED = Image(id=ONE.id, disk_format="raw", container_format="bare")


# SEC-40, SEC-50, IMG-LOCP-05
@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "FILE:///etc/passwd", "File://localhost/etc/passwd", "filesystem:///etc/passwd",
        "file:/etc/passwd", " file:///etc/passwd", "file:///etc/passwd ", "swift+config://ref1/glance/x",
        "SWIFT+CONFIG://ref1/glance/x", "/etc/passwd", "", "x", "://x", "1http://x/y", "sheepdog:;cmd", "http:/x/y",
        "http:x", "http://", "http:///path", "https://?x", "http://user:pass@host/x", "http://user@host/x",
        "http://allowed.example@127.0.0.1/", "http://allowed.example#@127.0.0.1/", "http://host/x#part", "http://#",
        "http://host\\@evil/x", "http://host/a\\b", "http://ho st/x", "http://host/a b", "http://host/a\tb",
        "http://host/a\r\nHost: b", "http://host/\0", "http://host/%00", "http://host/%0d%0a", "http://host/%7f",
        "http://host/%zz", "http://host/%", "http://host/a%2", "http://%31%32%37.0.0.1/", "http://[fe80::1%25eth0]/",
        "http://\uff11\uff12\uff17.0.0.1/", "http://b\u00fccher.example/", "http://host/\u202egmi", "http://host/\u00a0",
        "http://host/a/../b", "http://host/a/%2e%2E/b", "http://host/./b", "http://host/a/%2e", "http://host/x%2f..%2fy",
        "s3://key:secret@host/bucket/x", "s3+https://ke/y:se/cret@host/bucket/x", "http://host/<x>", "http://host/`x`",
        "http://host/" + "x" * 1024, "http://host/%ff%00", "http://host/\ud800",
    ],
)  # fmt: skip
def test_urls_with_two_meanings_and_local_ones_are_refused(url: str) -> None:
    with pytest.raises(Invalid, match="location"):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        GOOD, "http://host:8080/x?sig=a%2Fb&x=1", "s3+https://host/bucket/a/b", "rbd://fsid/pool/img/snap",
        "cinder://fast/5f1c4a52-6f1a-4b0e-9c38-0d8f3f6f2a11", "memory://my%20store/x", "HTTPS://Host/x",
        "gs://bucket/key", "azure://account/container/key", "http://host/b%C3%BCcher", "http://host/bücher/日本",
        "http://[2001:db8::1]/x", "http://host/a@b", "http://host/..a/b..", "vsphere://h/folder/x?dcPath=a&dsName=b",
    ],
)  # fmt: skip
def test_other_urls_are_for_their_store_to_judge(url: str) -> None:
    check_url(url)  # UNI-01


@given(st.text(), st.sampled_from(["file", "filesystem", "swift+config"]), st.booleans())
def test_no_local_scheme_passes_in_any_form(rest: str, scheme: str, upper: bool) -> None:
    for separator in ("://", ":", ":/", ":\\\\"):
        with pytest.raises(Invalid):
            check_url((scheme.upper() if upper else scheme) + separator + rest)


# SEC-60, STOR-52, STOR-54
@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://key:secret@host/bucket/id", "s3://host/bucket/id"),
        ("s3+https://key:a/b+c@host/bucket/id", "s3+https://host/bucket/id"),
        ("s3+http://key:a@b/c@host:80/bucket/id", "s3+http://host:80/bucket/id"),
        ("swift+https://tenant%3Auser:key@auth/v3/glance/id", "swift+https://auth/v3/glance/id"),
        ("S3+HTTPS://key:secret@host/bucket/id", "S3+HTTPS://host/bucket/id"),
        ("http://user:pass@host/a@b", "http://host/a@b"),
        ("http://host/a@b", "http://host/a@b"),
        ("file:///x/a@b", "file:///x/a@b"),
        ("nonsense@", "nonsense@"),
    ],
)
def test_credentials_in_old_urls_are_not_shown(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


# -- operations ---------------------------------------------------------------------------------


def changed(image: Image, op: Any, path: str, value: Any = None, multi: bool = True, size: int = 3) -> Image:
    found = {url: Found("mem", "handle", size) for url in (GOOD, f"{GOOD}2")}
    change = Change(found, lambda url: None, multi, "sha512")
    return change.apply(image, Operation(op, tuple(path.split("/")), value))


def given_(url: str = GOOD, **metadata: Any) -> dict[str, Any]:
    return {"url": url, "metadata": metadata}


def places(image: Image) -> list[str]:
    return [each.url for each in image.locations]


# IMG-LOCP-04
@pytest.mark.parametrize(
    ("position", "at"), [("-", 1), ("0", 0), ("1", 1), ("2", 1), ("999999999", 1), ("007", 1), ("00", 0)]
)
def test_a_position_beyond_the_end_appends(position: str, at: int) -> None:
    assert places(changed(ONE, "add", f"locations/{position}", given_())).index(GOOD) == at


@pytest.mark.parametrize("position", ["-1", "x", "1.0", "1e3", "", "\u0661", "--", "9" * 10, "+1", " 1"])
@pytest.mark.parametrize("op", ["add", "remove"])
def test_other_positions_are_refused(op: str, position: str) -> None:
    two = changed(ONE, "add", "locations/-", given_())
    with pytest.raises(Invalid):
        changed(two, op, f"locations/{position}", given_())


# IMG-LOCP-13, SEC-52
def test_removing_leaves_one() -> None:
    two = changed(ONE, "add", "locations/-", given_())
    assert places(changed(two, "remove", "locations/-")) == ["file:///x/1"]
    assert places(changed(two, "remove", "locations/0")) == [GOOD]
    with pytest.raises(Invalid):
        changed(two, "remove", "locations/2")
    for last in ("locations/0", "locations/-", "locations/7"):
        with pytest.raises(Forbidden):
            changed(ONE, "remove", last)


# IMG-LOCP-04, IMG-LOCP-12, IMG-LOCP-13
@pytest.mark.parametrize("status", ["saving", "uploading", "importing", "deactivated", "pending_delete", "killed"])
def test_locations_change_while_the_image_is_active_or_queued(status: Any) -> None:
    image = Image(id=ONE.id, status=status, locations=ONE.locations)
    for op, path, value in (
        ("add", "locations/-", given_()),
        ("replace", "locations", [given_("file:///x/1", a="b")]),
        ("remove", "locations/0", None),
    ):
        with pytest.raises(Conflict):
            changed(image, op, path, value)
    with pytest.raises(Conflict):
        changed(QUEUED, "remove", "locations/0")


# IMG-LOCP-08, IMG-STM-04, IMG-STM-21
def test_the_first_location_makes_a_queued_image_active() -> None:
    after = changed(QUEUED, "add", "locations/-", given_())
    assert (after.status, after.size, after.virtual_size, after.checksum, after.os_hash_value) == (
        "active", 3, None, None, None,
    )  # fmt: skip
    for missing in ("disk_format", "container_format"):
        image = Image(**{"id": ONE.id, "disk_format": "raw", "container_format": "bare"} | {missing: None})
        with pytest.raises(Invalid, match=missing):
            changed(image, "add", "locations/-", given_())
    signed = {f"img_signature{part}": "x" for part in ("", "_hash_method", "_key_type", "_certificate_uuid")}
    with pytest.raises(Invalid, match="signature"):
        changed(
            Image(id=ONE.id, disk_format="raw", container_format="bare", properties=signed),
            "add",
            "locations/0",
            given_(),
        )


# IMG-LOCP-09, STOR-41
def test_metadata_name_the_store_whatever_clients_say() -> None:
    assert changed(ONE, "add", "locations/-", given_(store="fast", a="b")).locations[1].metadata == {
        "store": "mem", "a": "b",
    }  # fmt: skip
    own = [given_("file:///x/1", store="mem", b="c")]
    assert changed(ONE, "replace", "locations", own).locations[0].metadata == {"store": "fast", "b": "c"}
    single = changed(ONE, "add", "locations/-", given_(a=["b", {"c": "d"}]), multi=False)
    assert single.locations[1].metadata == {"a": ["b", {"c": "d"}]}


@pytest.mark.parametrize(
    "metadata", [{"a": 1}, {"a": None}, {"a": True}, {"a": ["x", 1]}, {"a": {"b": 1.5}}, {"a": "x" * 65536}], ids=str
)
def test_metadata_are_strings_and_no_more_than_fit(metadata: Any) -> None:
    for op, path, value in (
        ("add", "locations/-", given_(**metadata)),
        ("replace", "locations", [given_("file:///x/1", **metadata)]),
    ):
        with pytest.raises(Invalid, match="metadata"):
            changed(ONE, op, path, value)


def test_metadata_have_a_bounded_depth() -> None:
    nested: Any = "x"
    for _ in range(10_000):
        nested = [nested]
    with pytest.raises(Invalid, match="levels"):
        changed(ONE, "add", "locations/-", given_(a=nested))


# IMG-LOCP-07
def test_the_same_url_needs_other_metadata() -> None:
    two = changed(ONE, "add", "locations/-", given_(a="b"))
    for metadata in ({"a": "b"}, {"a": "b", "store": "fast"}):
        with pytest.raises(Invalid, match="already"):
            changed(two, "add", "locations/-", given_(**metadata))
    three = changed(two, "add", "locations/-", given_(a="c"))
    assert len({each.blob for each in three.locations}) == 3


# IMG-LOCP-12, SEC-52
def test_replacing_keeps_the_urls() -> None:
    two = changed(ONE, "add", "locations/-", given_(a="b"))
    swapped = changed(two, "replace", "locations", [given_(a="z"), given_("file:///x/1")])
    assert places(swapped) == [GOOD, "file:///x/1"]
    assert {each.blob for each in swapped.locations} == {each.blob for each in two.locations}
    first = given_("file:///x/1")
    for values in (
        [given_()],
        [first],
        [first, given_(f"{GOOD}2")],
        [first, given_(), given_(a="c")],
        [first, first],
    ):
        with pytest.raises(Invalid):
            changed(two, "replace", "locations", values)
    with pytest.raises(Forbidden):
        changed(two, "replace", "locations", [])
    with pytest.raises(Forbidden):
        changed(QUEUED, "replace", "locations", [])


def test_replacing_recognises_an_old_url_as_it_is_shown() -> None:
    old = Location("s3+https://key:se/cret@host/bucket/id", {}, "blob-1")
    image = Image(id=ONE.id, status="active", locations=(old,))
    after = changed(image, "replace", "locations", [given_("s3+https://host/bucket/id", a="b")])
    assert after.locations == (Location(old.url, {"a": "b"}, "blob-1"),)


def test_a_queued_image_gets_all_the_locations_at_once() -> None:
    after = changed(QUEUED, "replace", "locations", [given_(), given_(f"{GOOD}2")])
    assert (after.status, places(after)) == ("active", [GOOD, f"{GOOD}2"])  # IMG-LOCP-12
    with pytest.raises(Invalid):
        changed(QUEUED, "replace", "locations", [given_(), given_()])


SHA512 = {"os_hash_algo": "sha512", "os_hash_value": "B" * 128}


# IMG-LOCP-10, MIN-09
@pytest.mark.parametrize(
    ("data", "right"),
    [
        (SHA512, True),
        (SHA512 | {"checksum": "a" * 32}, True),
        (SHA512 | {"checksum": "g" * 32}, False),
        (SHA512 | {"os_hash_value": "b" * 127}, False),
        (SHA512 | {"os_hash_value": "g" * 128}, False),
        ({"os_hash_algo": "sha256", "os_hash_value": "b" * 64}, False),
        ({"os_hash_algo": "nonsense", "os_hash_value": "b" * 64}, False),
    ],
    ids=str,
)
def test_claimed_digests_of_a_queued_image_are_stored(data: dict[str, str], right: bool) -> None:
    value = given_() | {"validation_data": data}
    if not right:
        with pytest.raises(Conflict):
            changed(QUEUED, "add", "locations/0", value)
        return
    after = changed(QUEUED, "add", "locations/0", value)
    assert (after.os_hash_algo, after.os_hash_value) == ("sha512", "b" * 128)
    assert after.checksum == data.get("checksum")


# IMG-LOCP-11
def test_claimed_digests_must_be_those_of_the_image() -> None:
    right = SHA512 | {"checksum": "A" * 32}
    assert len(changed(ONE, "add", "locations/0", given_() | {"validation_data": right}).locations) == 2
    for wrong in ({"checksum": "b" * 32}, {"os_hash_value": "c" * 128}, {"os_hash_algo": "sha256"}):
        with pytest.raises(Conflict):
            changed(ONE, "add", "locations/0", given_() | {"validation_data": right | wrong})
    bare = Image(id=ONE.id, status="active", size=3, locations=ONE.locations)
    with pytest.raises(Conflict):
        changed(bare, "add", "locations/0", given_() | {"validation_data": SHA512})
    with pytest.raises(Conflict):
        changed(
            ONE, "replace", "locations", [given_("file:///x/1") | {"validation_data": right | {"checksum": "b" * 32}}]
        )
