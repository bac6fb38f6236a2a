"""Concurrent callers: no lost updates, and exclusive operations succeed once."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ferrotype.config.limits import Limits
from ferrotype.testing.client import MEMBER, OCTETS, OWNER, Client, Reply, client


@pytest.fixture
def api(tmp_path: Any, database_url: str) -> Iterator[Client]:
    with client(tmp_path, database_url=database_url) as api:
        yield api


def send_together(*calls: Callable[[], Reply]) -> list[Reply]:
    """Call each in a thread of its own, all at the same moment."""
    gate = threading.Barrier(len(calls))

    def ask(call: Callable[[], Reply]) -> Reply:
        gate.wait(60)
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(ask, calls))


def statuses(*calls: Callable[[], Reply]) -> Counter[int]:
    return Counter(reply.status for reply in send_together(*calls))


def change(api: Client, path: str, *operations: tuple[str, str, Any]) -> Callable[[], Reply]:
    patch = [{"op": op, "path": where, "value": value} for op, where, value in operations]
    return lambda: api.patch(path, patch, caller=OWNER)


def test_changes_of_different_attributes_lose_nothing(api: Client) -> None:
    path = api.image(caller=OWNER)["self"]
    names = [f"p{number}" for number in range(12)]
    changes = [change(api, path, ("add", f"/{name}", name)) for name in names]
    changes += [change(api, path, ("replace", "/name", "x")), change(api, path, ("replace", "/min_ram", 7))]
    changes += [change(api, path, ("replace", "/protected", True)), lambda: api.put(f"{path}/tags/t", caller=OWNER)]
    # IMG-CONC-02, SEC-111
    assert statuses(*changes) == {200: 15, 204: 1}
    shown = api.get(path, caller=OWNER).json
    assert {name: shown[name] for name in names} == dict(zip(names, names, strict=True))
    assert (shown["name"], shown["min_ram"], shown["protected"], shown["tags"]) == ("x", 7, True, ["t"])
    for name in names:
        found = api.get(f"/v2/images?{name}={name}", caller=OWNER).json["images"]
        assert [each["self"] for each in found] == [path]


def test_changes_of_the_same_attributes_are_atomic(api: Client) -> None:
    path = api.image(caller=OWNER)["self"]
    writers = [
        change(api, path, ("add", "/a", str(n)), ("add", "/b", str(n)), ("replace", "/name", str(n)))
        for n in range(10)
    ]
    # SEC-111: the last one counts, all of it
    assert statuses(*writers) == {200: 10}
    shown = api.get(path, caller=OWNER).json
    assert shown["a"] == shown["b"] == shown["name"]
    found = [api.get(f"/v2/images?a={n}", caller=OWNER).json["images"] for n in range(10)]
    assert [len(each) for each in found] == [int(str(n) == shown["a"]) for n in range(10)]


def test_of_concurrent_removals_of_a_property_one_succeeds(api: Client) -> None:
    path = api.image(caller=OWNER, a="x")["self"]
    remove = [{"op": "remove", "path": "/a"}]
    assert statuses(*[lambda: api.patch(path, remove, caller=OWNER)] * 6) == {200: 1, 409: 5}


def test_of_concurrent_creates_of_an_id_one_succeeds(api: Client) -> None:
    document = {"id": "5f1c4a52-6f1a-4b0e-9c38-0d8f3f6f2a11", "tags": ["t"], "a": "x"}
    # IMG-ENT-01
    assert statuses(*[lambda: api.post("/v2/images", json=document, caller=OWNER)] * 8) == {201: 1, 409: 7}
    assert len(api.get("/v2/images?tag=t&a=x", caller=OWNER).json["images"]) == 1


def test_concurrent_tags_are_all_kept_within_the_limit(tmp_path: Any, database_url: str) -> None:
    with client(tmp_path, database_url=database_url, limits=Limits(image_tag_quota=10)) as api:
        path = api.image(caller=OWNER)["self"]

        def tag(name: str, method: str = "PUT") -> Callable[[], Reply]:
            return lambda: api.request(method, f"{path}/tags/{name}", caller=OWNER)

        assert statuses(*(tag(f"t{number % 8}") for number in range(16))) == {204: 16}
        assert sorted(api.get(path, caller=OWNER).json["tags"]) == [f"t{number}" for number in range(8)]
        # IMG-TAG-03
        assert statuses(*(tag(f"more{number}") for number in range(8))) == {204: 2, 413: 6}
        assert len(api.get(path, caller=OWNER).json["tags"]) == 10
        # IMG-TAG-01
        assert statuses(*[tag("t0", "DELETE")] * 4) == {204: 1, 404: 3}
        for name in api.get(path, caller=OWNER).json["tags"]:
            assert len(api.get(f"/v2/images?tag={name}", caller=OWNER).json["images"]) == 1
        assert api.get("/v2/images?tag=t0", caller=OWNER).json["images"] == []


def test_a_member_is_added_once(tmp_path: Any, database_url: str) -> None:
    with client(tmp_path, database_url=database_url, limits=Limits(image_member_quota=4)) as api:
        path = api.image(caller=OWNER)["self"]

        def add(name: str) -> Callable[[], Reply]:
            return lambda: api.post(f"{path}/members", json={"member": name}, caller=OWNER)

        # IMG-MEM-04
        assert statuses(*[add("p9")] * 6) == {200: 1, 409: 5}
        assert statuses(*[lambda: api.delete(f"{path}/members/p9", caller=OWNER)] * 4) == {204: 1, 404: 3}
        assert statuses(*[add("p9")] * 4) == {200: 1, 409: 3}
        # IMG-MEM-05
        assert statuses(*(add(f"m{number}") for number in range(8))) == {200: 3, 413: 5}
        assert len(api.get(f"{path}/members", caller=OWNER).json["members"]) == 4


def test_a_deletion_among_concurrent_requests_is_final(api: Client) -> None:
    for _ in range(4):
        _delete_amid_everything_else(api, api.image(b"data", caller=OWNER, a="x", tags=["t"])["self"])


def _delete_amid_everything_else(api: Client, path: str) -> None:
    api.post(f"{path}/members", json={"member": "p9"}, caller=OWNER)
    replies = send_together(
        *[lambda: api.delete(path, caller=OWNER)] * 2,
        *(change(api, path, ("replace", "/name", str(number)), ("add", "/a", "y")) for number in range(3)),
        lambda: api.put(f"{path}/tags/t2", caller=OWNER),
        lambda: api.post(f"{path}/members", json={"member": "p8"}, caller=OWNER),
        lambda: api.put(f"{path}/members/p9", json={"status": "accepted"}, caller=MEMBER),
        lambda: api.post(f"{path}/actions/deactivate", caller=OWNER),
        lambda: api.get(f"{path}/file", caller=OWNER),
    )
    # IMG-DEL-01
    assert sorted(reply.status for reply in replies[:2]) == [204, 404]
    assert all(reply.status in (200, 204, 403, 404) for reply in replies), [each.text for each in replies]
    assert api.get(path, caller=OWNER).status == 404
    for query in ("a=x", "a=y", "tag=t", "tag=t2"):
        assert api.get(f"/v2/images?{query}", caller=OWNER).json["images"] == []
    assert api.get("/v2/images?member_status=all&visibility=shared", caller=MEMBER).json["images"] == []


def test_concurrent_deactivate_and_reactivate_end_in_one_status(api: Client) -> None:
    path = api.image(b"data", caller=OWNER)["self"]
    calls = [
        lambda name=name: api.post(f"{path}/actions/{name}", caller=OWNER) for name in ["deactivate", "reactivate"]
    ]
    # IMG-STM-24
    assert statuses(*calls * 4) == {204: 8}
    assert api.get(path, caller=OWNER).json["status"] in ("active", "deactivated")


def test_changes_during_an_upload_are_kept(api: Client) -> None:
    path = api.image(caller=OWNER, a="old", b="old", tags=["old"])["self"]
    begun, go_on = threading.Event(), threading.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        begun.set()
        await asyncio.to_thread(go_on.wait, 600)
        yield b"second"

    def send() -> Reply:
        return api.put(f"{path}/file", body=body(), headers={"content-type": OCTETS}, caller=OWNER)

    with ThreadPoolExecutor(1) as threads:
        upload = threads.submit(send)
        assert begun.wait(60)
        try:
            assert api.get(path, caller=OWNER).json["status"] == "saving"
            changed = change(
                api, path, ("replace", "/name", "new"), ("replace", "/a", "new"), ("add", "/c", "new"),
                ("replace", "/tags", ["new"]), ("replace", "/visibility", "private"), ("replace", "/min_ram", 9),
            )  # fmt: skip
            assert changed().status == 200
            assert api.patch(path, [{"op": "remove", "path": "/b"}], caller=OWNER).status == 200
            # IMG-CONC-03, IMG-UP-09
            again = api.put(f"{path}/file", body=b"x", headers={"content-type": OCTETS}, caller=OWNER)
            assert again.status == 409
            # IMG-PATCH-15, IMG-ACT-02
            assert change(api, path, ("replace", "/disk_format", "iso"))().status == 403
            assert api.post(f"{path}/actions/deactivate", caller=OWNER).status == 403
        finally:
            go_on.set()
        assert upload.result(60).status == 204
    # IMG-CONC-01, IMG-WART-05
    shown = api.get(path, caller=OWNER).json
    assert (shown["status"], shown["size"], shown["name"], shown["a"], shown["c"]) == (
        "active",
        11,
        "new",
        "new",
        "new",
    )
    assert (shown["tags"], shown["visibility"], shown["min_ram"], "b" in shown) == (["new"], "private", 9, False)
    assert api.get(f"{path}/file", caller=OWNER).body == b"firstsecond"
