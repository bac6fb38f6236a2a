"""Range requests and conditional requests."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrotype.testing.client import Client, Reply

DATA = b"0123456789"


@pytest.fixture(scope="module")
def image(api: Client) -> Any:
    return api.image(DATA)


@pytest.fixture(scope="module")
def empty(api: Client) -> Any:
    return api.image(b"")


def get(api: Client, image: Any, **headers: str) -> Reply:
    return api.get(
        f"{image['self']}/file", headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


# IMG-DL-10, IMG-DL-11, SEC-100
@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0), ("bytes=2-5", 2, 5), ("bytes=9-9", 9, 9), ("bytes=3-", 3, 9), ("bytes=0-", 0, 9),
        ("bytes=0-9", 0, 9), ("bytes=5-99", 5, 9), ("bytes=0-10", 0, 9), ("bytes=-1", 9, 9), ("bytes=-10", 0, 9),
        ("bytes=-11", 0, 9), ("BYTES=2-5", 2, 5), (" bytes = 2 - 5 ", 2, 5),
        ("bytes=0002-005", 2, 5), ("bytes=" + "0" * 30 + "2-" + "0" * 30 + "5", 2, 5),
        ("bytes=2-" + "9" * 5000, 2, 9),
    ],
)  # fmt: skip
def test_one_range_is_partial_content(api: Client, image: Any, asked: str, first: int, last: int) -> None:
    reply = get(api, image, range=asked)
    assert (reply.status, reply.body) == (206, DATA[first : last + 1])
    assert reply.headers["content-range"] == f"bytes {first}-{last}/10"
    assert reply.headers["content-length"] == str(last + 1 - first)
    assert reply.headers["content-md5"] == image["checksum"]


@given(st.integers(0, 25), st.integers(0, 25))
def test_every_range_is_what_a_slice_is(api: Client, image: Any, first: int, last: int) -> None:
    reply = get(api, image, range=f"bytes={first}-{last}")
    if first > last or first >= len(DATA):
        assert reply.status == 416
    else:
        assert (reply.status, reply.body) == (206, DATA[first : last + 1])


# IMG-DL-12, IMG-DL-14, SEC-100, IMG-WART-11
@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("bytes=-0", 416), ("bytes=-000", 416), ("bytes=10-", 416), ("bytes=10-12", 416), ("bytes=5-4", 416),
        ("bytes=--3", 416), ("bytes=-", 416), ("bytes=", 416), ("bytes", 416), ("", 416),
        ("bytes=a-b", 416), ("bytes=0x1-2", 416), ("bytes=1-2-3", 416), ("bytes=+1-2", 416), ("bytes=1_0-", 416),
        ("bytes=\u0661-", 416), ("bytes=" + "9" * 5000 + "-", 416), ("bytes=-1.5", 416), ("bytes=0-1;x", 416),
    ],
)  # fmt: skip
def test_an_invalid_range_is_refused(api: Client, image: Any, asked: str, status: int) -> None:
    reply = get(api, image, range=asked.encode().decode("latin-1"))
    assert reply.status == status
    assert reply.headers["content-range"] == "bytes */10"


# RUL-74, IMG-DL-12
@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-1,3-4", "bytes=0-1,", "bytes=0-0,0-0,0-0", "bytes=50-60,70-80", "items=0-1", "seconds = 1-2",
        "bytesx=0-1", "x-bytes=0-1", "items=",
    ],
)  # fmt: skip
def test_several_ranges_and_other_units_are_answered_whole(api: Client, image: Any, asked: str) -> None:
    reply = get(api, image, range=asked)
    assert (reply.status, reply.body) == (200, DATA)
    assert "content-range" not in reply.headers


# IMG-DL-13
@pytest.mark.parametrize("asked", ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0", "bytes=1-"])
def test_a_range_of_empty_data_is_416(api: Client, empty: Any, asked: str) -> None:
    reply = get(api, empty, range=asked)
    assert (reply.status, reply.headers["content-range"]) == (416, "bytes */0")


# IMG-DL-15
@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        ("bytes 2-5/*", 206, b"2345"), ("bytes 2-5/10", 206, b"2345"), ("bytes 0-9/10", 206, DATA),
        ("bytes 2-10/*", 416, None), ("bytes 10-11/*", 416, None), ("bytes 3-100/200", 416, None),
        ("bytes 2-5/9", 416, None), ("*/10", 416, None), ("bytes */10", 416, None), ("junk", 416, None),
        ("bytes 5-2/*", 416, None), ("bytes 2-5", 416, None), ("bytes 0-" + "9" * 5000 + "/*", 416, None),
    ],
)  # fmt: skip
def test_the_legacy_content_range_request_is_supported(
    api: Client, image: Any, asked: str, status: int, body: bytes | None
) -> None:
    reply = get(api, image, content_range=asked)
    assert reply.status == status
    if body is not None:
        assert reply.body == body
    assert get(api, image, content_range=asked, range="bytes=0-0").body == b"0"


def test_conditional_requests_use_a_strong_etag(api: Client, image: Any) -> None:
    tag = f'"{image["os_hash_value"]}"'
    assert get(api, image).headers["etag"] == tag
    table: list[tuple[dict[str, str], int]] = [
        ({"if_none_match": tag}, 304), ({"if_none_match": f'W/{tag}, "x"'}, 304), ({"if_none_match": "*"}, 304),
        ({"if_none_match": '"x"'}, 200), ({"if_match": tag}, 200), ({"if_match": "*"}, 200),
        ({"if_match": f"W/{tag}"}, 412), ({"if_match": '"x"'}, 412), ({"if_match": '"x"', "range": "bytes=0-1"}, 412),
        ({"if_range": tag, "range": "bytes=0-1"}, 206), ({"if_range": '"x"', "range": "bytes=0-1"}, 200),
        ({"if_range": f"W/{tag}", "range": "bytes=0-1"}, 200), ({"if_range": tag}, 200),
        ({"if_range": '"x"', "range": "bytes=99-"}, 200), ({"if_none_match": '"x"', "range": "bytes=0-1"}, 206),
    ]  # fmt: skip
    assert [(given, get(api, image, **given).status) for given, _ in table] == table
    unmodified = get(api, image, if_none_match=tag)
    assert (unmodified.body, unmodified.headers["etag"]) == (b"", tag)
