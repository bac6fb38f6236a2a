"""Pagination through the clients, with and without a path prefix in front of the service."""

from collections.abc import Iterator

import pytest
from glanceclient import Client
from plain_http import Plain
from reverse_proxy import Proxy, proxied
from sdk_connection import connected

from ferrotype.testing.process import Served

COUNT = 7


@pytest.fixture(scope="module")
def ids(plain: Plain) -> list[str]:
    """The ids of the images of this module, the newest first, which is the API's order."""
    return [plain.image(name=f"n{number}", tags=["walk"]) for number in range(COUNT)][::-1]


@pytest.fixture(scope="module", params=["", "/image", "/cloud/image"], ids=["root", "prefix", "two-segments"])
def mounted(service: Served, request: pytest.FixtureRequest) -> Iterator[Proxy]:
    """The service, reached below a path."""
    with proxied(service.url, request.param) as proxy:
        yield proxy


def test_glanceclient_follows_every_page(mounted: Proxy, ids: list[str]) -> None:
    # CL-09, CL-100, CL-194
    mounted.taken()
    found = [each.id for each in Client("2", mounted.url).images.list(page_size=2, filters={"tag": ["walk"]})]
    assert found == ids
    pages = [each for each in mounted.taken() if each.target.startswith("/v2/images?")]
    assert [each.status for each in pages] == [200] * 4
    assert "marker=" not in pages[0].target
    assert all(f"marker={ids[index]}" in page.target for index, page in zip((1, 3, 5), pages[1:], strict=True))


def test_sdk_follows_every_page(mounted: Proxy, ids: list[str]) -> None:
    # CL-09, CL-23, CL-43, CL-82, CL-194
    mounted.taken()
    with connected(mounted.url) as connection:
        found = [each.id for each in connection.image.images(limit=3, tag="walk")]
    assert found == ids
    seen = mounted.taken()
    assert {each.status for each in seen} <= {200, 300}
    assert len([each for each in seen if each.target.startswith("/v2/images?")]) == 4


def test_upload_and_download_work_below_a_path_prefix(mounted: Proxy) -> None:
    # CL-23, CL-194
    with connected(mounted.url) as connection:
        made = connection.image.create_image(
            "below", data=b"12345", disk_format="raw", container_format="bare", allow_duplicates=True
        )
        assert connection.image.download_image(made).content == b"12345"
        connection.image.delete_image(made, ignore_missing=False)


@pytest.mark.parametrize(("limit", "pages"), [(COUNT, 2), (COUNT + 1, 2), (1, COUNT + 1)])
def test_sdk_stops_after_an_empty_page(recorder: Proxy, ids: list[str], limit: int, pages: int) -> None:
    # CL-10
    with connected(recorder.url) as connection:
        assert [each.id for each in connection.image.images(limit=limit, tag="walk")] == ids
    assert len([line for line in recorder.lines() if line.startswith("GET /v2/images?")]) == pages


def test_next_link_starts_with_the_version_and_is_absent_on_the_last_page(plain: Plain, ids: list[str]) -> None:
    # CL-09, CL-10
    first = plain.ask("GET", "/v2/images?tag=walk&limit=4").json
    assert first["next"].startswith("/v2/images?")
    assert first["first"].startswith("/v2/images?")
    assert "next" not in plain.ask("GET", first["next"]).json


@pytest.mark.parametrize("key", ["name", "created_at", "id", "size"])
@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_sorted_pagination_yields_every_image_once(
    key: str, direction: str, recorder: Proxy, ids: list[str], plain: Plain
) -> None:
    # CL-81, CL-100, CL-150
    listed = Client("2", recorder.url).images.list(
        page_size=2, filters={"tag": ["walk"]}, sort_key=[key], sort_dir=[direction]
    )
    walked = [each.id for each in listed]
    assert sorted(walked) == sorted(ids)
    if key == "id":
        assert walked == sorted(ids, reverse=direction == "desc")
    elif key != "size":
        assert walked == (ids if direction == "desc" else ids[::-1])


def test_default_page_has_a_next_link(recorder: Proxy, plain: Plain) -> None:
    # CL-81, CL-82
    for number in range(26):
        plain.image(name=f"page{number}", tags=["long"])
    with connected(recorder.url) as connection:
        assert len(list(connection.image.images(tag="long"))) == 26
    lists = [line for line in recorder.lines() if line.startswith("GET /v2/images?")]
    assert len(lists) == 2
    assert "limit=" not in lists[0]
