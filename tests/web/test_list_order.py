"""GET /v2/images in order: sorting, and walking while the images change."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from listing import names, new_caller

from ferrotype.model.caller import Caller
from ferrotype.testing.client import Client, client

KEYS = ("name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at")


@pytest.fixture(scope="module")
def api(shared_directory: Path, shared_database_url: str) -> Iterator[Client]:
    """A service; each test creates images of a caller of its own."""
    with client(shared_directory, database_url=shared_database_url) as api:
        yield api


HERE = new_caller()
ALBUM: list[dict[str, Any]] = [
    {"name": None, "disk_format": None, "container_format": None},
    {"name": "b", "size": 3},
    {"name": "", "disk_format": "iso"},
    {"name": "B", "container_format": "ovf"},
    {"name": "a", "size": 10},
    {"name": "é", "disk_format": "qcow2", "container_format": "ova"},
    {"name": "\U0001f600"},
    {"name": "\uff5e"},
    {"name": "b", "disk_format": "vhd"},
]


@pytest.fixture(scope="module")
def album(api: Client) -> list[dict[str, Any]]:
    """The documents of nine images, the oldest first."""
    for attributes in ALBUM:
        size = attributes.get("size")
        given = {key: value for key, value in attributes.items() if key != "size"}
        api.image(b"x" * size if size else None, caller=HERE, **given)
    return api.get("/v2/images?sort_key=created_at&sort_dir=asc", caller=HERE).json["images"]


def value(key: str, image: dict[str, Any]) -> Any:
    """What an image is sorted by: text byte by byte, the unknown first."""
    known = image[key]
    if isinstance(known, str):
        return known.encode()
    return (0 if key == "size" else b"") if known is None else known


# IMG-LIST-20/21/22/24/25/41
@pytest.mark.parametrize("key", KEYS)
def test_each_key_sorts_by_bytes_with_nulls_first(api: Client, album: list[dict[str, Any]], key: str) -> None:
    assert len(album) == len(ALBUM)
    for direction in ("asc", "desc"):
        reply = api.get(f"/v2/images?sort_key={key}&sort_dir={direction}", caller=HERE)
        listed = reply.json["images"]
        keyed = [value(key, image) for image in listed]
        assert keyed == sorted(keyed, reverse=direction == "desc")
        same = api.get(f"/v2/images?sort={key}:{direction}", caller=HERE).json["images"]
        assert same == listed
        if key in ("name", "status", "size", "disk_format", "container_format"):
            ages = {image["id"]: age for age, image in enumerate(album)}
            pairs = [(value(key, image), ages[image["id"]]) for image in listed]
            assert pairs == sorted(pairs, reverse=direction == "desc")
    assert api.get(f"/v2/images?sort_key={key}", caller=HERE).json["images"] == listed
    assert api.get(f"/v2/images?sort={key}", caller=HERE).json["images"] == listed


# IMG-LIST-21/22/24
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [8, 7, 6, 5, 4, 3, 2, 1, 0]),
        ("sort_dir=asc", [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("sort_key=size&sort_key=name&sort_dir=desc&sort_dir=asc", [4, 1, 2, 0, 3, 8, 5, 7, 6]),
        ("sort=size:desc,name:asc", [4, 1, 2, 0, 3, 8, 5, 7, 6]),
        ("sort=%20status%20:%20asc%20,%20name", [1, 4, 6, 7, 5, 8, 3, 2, 0]),
        ("sort_key=status&sort_key=disk_format&sort_dir=asc", [1, 4, 0, 2, 5, 3, 6, 7, 8]),
    ],
)
def test_several_sort_keys_apply_in_order(
    api: Client, album: list[dict[str, Any]], query: str, expected: list[int]
) -> None:
    places = {image["id"]: place for place, image in enumerate(album)}
    listed = api.get(f"/v2/images?{query}", caller=HERE).json["images"]
    assert [places[image["id"]] for image in listed] == expected


# IMG-LIST-12/13/24
@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize("key", KEYS)
def test_pagination_during_changes_yields_stable_images_once(api: Client, key: str, direction: str) -> None:
    who = new_caller()
    made = [_make(api, who, n) for n in range(14)]
    stay = {image["id"] for image in made}
    seen: Counter[str] = Counter()
    path = f"/v2/images?limit=3&sort_key={key}&sort_dir={direction}"
    pages = 0
    while True:
        reply = api.get(path, caller=who)
        page = reply.json["images"]
        seen.update(image["id"] for image in page)
        if "next" not in reply.json:
            break
        path = reply.json["next"]
        pages += 1
        gone = [page[-1]["id"]] if key != "status" else []
        ahead = [image["id"] for image in made if image["id"] not in seen and image["id"] in stay]
        gone += ahead[:1]
        for image_id in gone:
            assert api.delete(f"/v2/images/{image_id}", caller=who).status == 204
            stay.discard(image_id)
        for image_id in {page[0]["id"], *ahead[-1:]} - {page[-1]["id"], *gone}:
            change = [{"op": "add", "path": "/note", "value": str(pages)}]
            assert api.patch(f"/v2/images/{image_id}", change, caller=who).status == 200
            if key == "updated_at":  # A walk by what changes promises nothing of what has changed.
                stay.discard(image_id)
        _make(api, who, 20 + pages)
        assert pages < 20
    assert pages >= 3 and stay
    assert {image_id: seen[image_id] for image_id in stay} == dict.fromkeys(stay, 1)


def _make(api: Client, who: Caller, n: int) -> dict[str, Any]:
    return api.image(
        b"x" * (n % 3) if n % 4 == 0 else None,
        caller=who,
        name=(None, "a", "b")[n % 3],
        disk_format=("raw", "iso")[n % 2],
        container_format="bare",
    )  # type: ignore[no-any-return]


# IMG-ENT-30
def test_the_list_shows_when_an_image_was_last_saved(api: Client) -> None:
    who = new_caller()
    first, second = (api.image(caller=who, name=name)["id"] for name in ("first", "second"))

    def latest() -> str:
        return names(api.get("/v2/images?sort_key=updated_at&limit=1", caller=who))[0]

    same_name = [{"op": "replace", "path": "/name", "value": "first"}]
    for save in (
        lambda image_id: api.patch(f"/v2/images/{image_id}", same_name, caller=who),
        lambda image_id: api.put(f"/v2/images/{image_id}/tags/t", caller=who),
        lambda image_id: api.delete(f"/v2/images/{image_id}/tags/t", caller=who),
        lambda image_id: api.put(f"/v2/images/{image_id}/file", body=b"x", caller=who,
                                 headers={"content-type": "application/octet-stream"}),
        lambda image_id: api.post(f"/v2/images/{image_id}/actions/deactivate", caller=who),
    ):  # fmt: skip
        api.patch(f"/v2/images/{second}", [{"op": "add", "path": "/note", "value": "x"}], caller=who)
        assert latest() == "second"
        assert save(first).status in (200, 204)
        assert latest() == "first"
    assert api.patch(f"/v2/images/{second}", [], caller=who).status == 200
    assert latest() == "first"
    assert api.post(f"/v2/images/{second}/members", json={"member": "p9"}, caller=who).status == 200
    assert latest() == "first"
