"""PATCH of ``locations``: data of others becomes a copy, metadata and order change, copies go."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha512
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from external import change, exists, put, service
from gates import Gate
from uploads import ask, ledger, run_cleanup, upload

from ferrotype.admin.consistency import differences
from ferrotype.config.api import Api
from ferrotype.config.limits import Limits
from ferrotype.config.policy import Policy
from ferrotype.model.patch import Operation, Patch
from ferrotype.service.patches import update_image
from ferrotype.testing.client import ADMIN, MEMBER, OWNER, READER, SERVICE, STRANGER, Client

DATA = b"the data"
LIMITS = Limits(user_storage_quota=1000, image_location_quota=4, image_size_cap=600)
_names = count()


@pytest.fixture(
    scope="module", params=["several stores", "one store", pytest.param("postgresql", marks=pytest.mark.servers)]
)
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    directory = tmp_path_factory.mktemp("service")
    sections: dict[str, Any] = {"limits": LIMITS}
    if request.param == "postgresql":
        sections["database_url"] = request.getfixturevalue("postgres_server").create_database()
    with service(directory, request.param != "one store", **sections) as api:
        yield api


@pytest.fixture(scope="module")
def multi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with service(tmp_path_factory.mktemp("multi"), limits=LIMITS) as api:
        yield api


def external(api: Client, data: bytes = DATA) -> str:
    """Return the URL of a new object that others wrote."""
    return put(api, f"foreign-{next(_names)}", data)


def added(url: str, position: str = "-", **metadata: Any) -> dict[str, Any]:
    return {"op": "add", "path": f"/locations/{position}", "value": {"url": url, "metadata": metadata}}


def replaced(*values: Any) -> dict[str, Any]:
    return {"op": "replace", "path": "/locations", "value": list(values)}


def removed(position: Any) -> dict[str, Any]:
    return {"op": "remove", "path": f"/locations/{position}"}


def patch(api: Client, image: Any, *operations: Any, caller: Any = OWNER) -> int:
    return api.patch(image["self"], list(operations), caller=caller).status


def shown(api: Client, image: Any) -> Any:
    return api.get(image["self"], caller=ADMIN).json


def urls(api: Client, image: Any) -> list[str]:
    return [each["url"] for each in shown(api, image)["locations"]]


def stored(api: Client, project: str = "p1") -> int:
    return int(ask(api, f"SELECT coalesce(sum(stored), 0) FROM usage WHERE project = '{project}'"))


def assert_consistent(api: Client) -> None:
    found = api.run(differences(api.application.ctx, False))
    assert [each for each in found if each.kind != "unknown-object"] == []  # Those are the objects of others.


@pytest.fixture(autouse=True)
def tidy(request: pytest.FixtureRequest) -> Iterator[None]:
    """Delete all images after a test, and compare ledger, stores and counters."""
    yield
    for name in {"api", "multi"} & set(request.fixturenames):
        api: Client = request.getfixturevalue(name)
        assert_consistent(api)
        while page := api.get("/v2/images?visibility=all").json["images"]:
            for image in page:
                assert api.delete(image["self"]).status == 204
        run_cleanup(api)
        assert ledger(api) == []
        assert stored(api) == 0


# IMG-LOCP-08, IMG-STM-04, IMG-ENT-18, IMG-ENT-19
def test_a_location_makes_a_queued_image_active(api: Client) -> None:
    url, image = external(api), api.image(caller=OWNER)
    reply = api.patch(image["self"], [added(url, a="b")], caller=OWNER)
    now = reply.json
    assert (reply.status, now["status"], now["size"], now["direct_url"]) == (200, "active", len(DATA), url)
    assert [now[name] for name in ("virtual_size", "checksum", "os_hash_algo", "os_hash_value")] == [None] * 4
    # IMG-LOCP-09, STOR-41
    named = {"store": "mem"} if api.application.ctx.stores.multi else {}
    assert now["locations"] == [{"url": url, "metadata": {"a": "b"} | named}]
    assert now.get("stores") == named.get("store")
    assert now == api.get(image["self"], caller=OWNER).json
    assert api.get(f"{image['self']}/locations").json == now["locations"]
    read = api.get(f"{image['self']}/file", caller=OWNER)
    assert (read.status, read.body, "content-md5" in read.headers) == (200, DATA, False)
    assert stored(api) == len(DATA)  # QUO-38


# SEC-51, IMG-DEL-04, IMG-LOCP-13
def test_data_of_others_is_never_deleted(api: Client) -> None:
    first, second = external(api), external(api)
    image = api.image(caller=OWNER)
    assert patch(api, image, added(first), added(second)) == 200
    assert stored(api) == 2 * len(DATA)  # IMG-LOCP-14
    assert patch(api, image, removed(0), caller=ADMIN) == 200
    assert urls(api, image) == [second]
    run_cleanup(api)
    assert stored(api) == len(DATA)
    assert api.delete(image["self"], caller=OWNER).status == 204
    run_cleanup(api)
    assert (exists(api, first), exists(api, second)) == (True, True)
    assert (ledger(api), stored(api)) == ([], 0)


def test_a_store_of_ours_is_never_cleaned_of_data_of_others(multi: Client) -> None:
    image_id = "5f1c4a52-6f1a-4b0e-9c38-0d8f3f6f2a11"
    url = put(multi, f"{image_id}-01234567", DATA)  # named like an object of ours, which the ledger does not know
    image = multi.image(caller=OWNER)
    assert patch(multi, image, added(url)) == 200
    multi.run(differences(multi.application.ctx, True, True))
    assert exists(multi, url)
    change(multi, url, None)
    kinds = {each.kind for each in multi.run(differences(multi.application.ctx, False))}
    assert kinds >= {"missing-object"}
    put(multi, f"{image_id}-01234567", DATA)


# SEC-51
def test_the_data_of_an_image_cannot_be_registered(multi: Client) -> None:
    victim = multi.image(caller=OWNER)
    upload(multi, victim, DATA, {"x-image-meta-store": "mem"}, caller=OWNER)
    url = shown(multi, victim)["locations"][0]["url"]
    mine = multi.image(caller=STRANGER)
    for caller, image in ((STRANGER, mine), (ADMIN, mine)):
        assert patch(multi, image, added(url), caller=caller) == 400
    assert patch(multi, victim, added(url, a="b")) == 400
    assert shown(multi, mine)["status"] == "queued"
    assert multi.delete(mine["self"], caller=STRANGER).status == 204
    assert multi.get(f"{victim['self']}/file").body == DATA
    assert multi.delete(victim["self"]).status == 204
    assert patch(multi, multi.image(caller=STRANGER), added(url), caller=STRANGER) == 400  # It is gone.


# SEC-50, IMG-LOCP-05, SEC-45
@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "FILE:///etc/passwd", "filesystem:///etc/passwd", "file:/etc/passwd",
        " file:///etc/passwd", "swift+config://ref1/glance/x", "sheepdog://;cmd", "rbd://other-fsid/pool/img/snap",
        "cinder://5f1c4a52-6f1a-4b0e-9c38-0d8f3f6f2a11", "nonsense", "", "memory://other/foreign-0",
        "memory://mem/", "memory://mem/missing", "memory://mem/a/b", "memory://mem/%2e%2e/x", "memory://user@mem/x",
        "memory://mem/x#y", "http://169.254.169.254/latest/meta-data/",
    ],
)  # fmt: skip
def test_a_url_that_no_store_takes_is_400(api: Client, url: str, tmp_path: Path) -> None:
    queued, active = api.image(caller=OWNER), api.image(DATA, caller=OWNER)
    for caller in (OWNER, ADMIN):
        for image in (queued, active):
            reply = api.patch(image["self"], [added(url)], caller=caller)
            assert reply.status == 400, reply.text
            assert not url or url not in reply.text
    assert patch(api, queued, replaced({"url": url, "metadata": {}})) == 400
    assert shown(api, queued)["status"] == "queued"
    assert len(urls(api, active)) == 1


def test_the_objects_of_a_file_store_cannot_be_registered(multi: Client, tmp_path: Path) -> None:
    image = multi.image(DATA, caller=OWNER)
    url = urls(multi, image)[0]
    assert url.startswith("file:///")
    assert patch(multi, multi.image(caller=OWNER), added(url)) == 400
    assert patch(multi, image, added(url, a="b")) == 400


# IMG-LOCP-05
def test_empty_data_is_400(api: Client) -> None:
    assert patch(api, api.image(caller=OWNER), added(external(api, b""))) == 400


# IMG-LOCP-01
def test_nothing_is_asked_before_the_request_may_be_granted(multi: Client, tmp_path: Path) -> None:
    """A store is asked last: a refused request cannot find out what is there."""  # IMG-LOCP-06, IMG-WART-07
    there, missing = external(multi), "memory://mem/missing"
    image, active = multi.image(caller=OWNER), multi.image(DATA, caller=OWNER)
    deactivated = multi.image(DATA, caller=OWNER)
    multi.post(f"{deactivated['self']}/actions/deactivate")
    bare = multi.image(caller=OWNER, disk_format=None)
    texts = {}
    for url in (there, missing):
        texts[url] = [
            multi.patch(target["self"], [added(url)], caller=who).text.replace(url, "")
            for target, who in ((image, READER), (image, STRANGER), (deactivated, OWNER), (bare, OWNER))
        ]
    assert texts[there] == texts[missing]
    assert patch(multi, deactivated, added(there)) == 409  # IMG-LOCP-04
    assert patch(multi, bare, added(there)) == 400  # IMG-STM-21
    assert patch(multi, active, added(missing)) == 400


# IMG-LOCP-02
def test_who_may_change_locations(api: Client) -> None:
    image, url = api.image(caller=OWNER, visibility="shared"), external(api)
    api.post(f"{image['self']}/members", json={"member": MEMBER.project}, caller=OWNER)
    refused = {READER: 403, MEMBER: 403, STRANGER: 404, SERVICE: 404}
    assert {who: patch(api, image, added(url), caller=who) for who in refused} == refused
    assert patch(api, image, added(url)) == 200
    assert patch(api, image, added(external(api)), caller=ADMIN) == 200
    assert {who: patch(api, image, removed(0), caller=who) for who in refused | {OWNER: 0}} == refused | {OWNER: 403}
    for other in ({"op": "add", "path": "/a", "value": "b"}, added(external(api))):
        assert patch(api, image, other, removed(0)) == 403  # each action is asked for
        assert patch(api, image, removed(0), other) == 403
    assert ("a" in shown(api, image), len(urls(api, image))) == (False, 2)
    assert patch(api, image, removed(0), caller=ADMIN) == 200


# SEC-54, POL-32
def test_policy_narrows_each_action(tmp_path: Path) -> None:
    rules = tmp_path / "policy.yaml"
    rules.write_text(
        'set_image_location: "role:admin"\nmodify_image: "@"\ndelete_image_location: "@"\n'
        'get_image_location: "role:admin"\n'
    )
    with service(tmp_path, policy=Policy(file=rules)) as api:
        url, image = external(api), api.image(caller=OWNER)
        assert patch(api, image, added(url)) == 403
        assert patch(api, image, added(url), added(external(api)), caller=ADMIN) == 200
        reply = api.patch(image["self"], [removed(0)], caller=OWNER)
        assert reply.status == 200
        assert not {"locations", "direct_url"} & set(reply.json)
        assert not {"locations", "direct_url"} & set(api.get(image["self"], caller=OWNER).json)
        # POL-30: a rule never makes others owners
        assert patch(api, image, removed(0), caller=STRANGER) == 404


# IMG-LOCP-03, STOR-58
@pytest.mark.parametrize(
    "value",
    [
        None, "x", [], {}, {"url": "memory://mem/x"}, {"metadata": {}}, {"url": 7, "metadata": {}},
        {"url": "memory://mem/x", "metadata": []}, {"url": "memory://mem/" + "x" * 243, "metadata": {}},
        {"url": "memory://mem/x", "metadata": {"a": 1}},
        {"url": "memory://mem/x", "metadata": {}, "validation_data": {}},
        {"url": "memory://mem/x", "metadata": {}, "validation_data": {"os_hash_algo": "sha512"}},
        {
            "url": "memory://mem/x", "metadata": {},
            "validation_data": {"os_hash_algo": "sha512", "os_hash_value": "0" * 128, "checksum": "0" * 31},
        },
        {
            "url": "memory://mem/x", "metadata": {},
            "validation_data": {"os_hash_algo": "sha512", "os_hash_value": "0" * 128, "x": "y"},
        },
    ],
    ids=str,
)  # fmt: skip
def test_a_malformed_location_is_400(api: Client, value: Any) -> None:
    image = api.image(caller=OWNER)
    assert patch(api, image, {"op": "add", "path": "/locations/-", "value": value}) == 400
    assert patch(api, image, replaced(value)) == 400


def test_unknown_keys_of_a_location_are_dropped(api: Client) -> None:
    image, url = api.image(caller=OWNER), external(api)
    operation = added(url)
    operation["value"] |= {"id": 7, "status": "deleted"}
    assert patch(api, image, operation) == 200
    assert set(shown(api, image)["locations"][0]) == {"url", "metadata"}


# IMG-LOCP-10, MIN-09, SCH-11
def test_claimed_digests_are_kept_and_never_shown_with_the_location(api: Client) -> None:
    value = sha512(DATA).hexdigest()
    operation, image = added(external(api)), api.image(caller=OWNER)
    operation["value"]["validation_data"] = {"os_hash_algo": "sha512", "os_hash_value": value, "checksum": "a" * 32}
    reply = api.patch(image["self"], [operation], caller=OWNER)
    assert [reply.json[name] for name in ("os_hash_algo", "os_hash_value", "checksum")] == ["sha512", value, "a" * 32]
    assert "validation_data" not in reply.text
    # IMG-LOCP-11
    operation["value"]["url"] = external(api)
    operation["value"]["validation_data"]["os_hash_value"] = "0" * 128
    assert patch(api, image, operation) == 409
    operation["value"]["validation_data"]["os_hash_value"] = value
    assert patch(api, image, operation) == 200


# SEC-52, IMG-WART-01
def test_the_content_of_an_image_never_changes(api: Client) -> None:
    image, other = api.image(DATA, caller=OWNER), external(api, b"the DATA")
    for url in (other, external(api, DATA + b"!"), external(api, b"x")):
        assert patch(api, image, added(url)) == 409
    assert patch(api, image, added(external(api))) == 200
    assert patch(api, image, replaced({"url": other, "metadata": {}})) == 400
    assert patch(api, image, replaced(), caller=ADMIN) == 403
    assert patch(api, image, removed(0), removed(0), caller=ADMIN) == 403
    assert patch(api, image, removed(0), caller=ADMIN) == 200
    assert patch(api, image, removed("-"), caller=ADMIN) == 403
    assert (shown(api, image)["status"], api.get(f"{image['self']}/file").body) == ("active", DATA)
    # without digests too
    bare = api.image(caller=OWNER)
    assert patch(api, bare, added(external(api)), added(other)) == 409
    assert patch(api, bare, added(external(api))) == 200
    assert patch(api, bare, added(other)) == 409
    assert patch(api, bare, added(external(api))) == 200


def test_the_only_readable_copy_cannot_be_removed(multi: Client) -> None:
    url, image = external(multi), multi.image(DATA, caller=OWNER)
    assert patch(multi, image, added(url)) == 200
    change(multi, url, b"cut")
    assert patch(multi, image, removed(0), caller=ADMIN) == 409  # SEC-58
    change(multi, url, DATA)
    assert patch(multi, image, removed(0), caller=ADMIN) == 200
    assert urls(multi, image) == [url]


# IMG-LOCP-04
def test_positions_are_those_that_clients_see(multi: Client) -> None:
    """Copies in stores of a higher weight come first, whatever the database's order (STOR-60, IMG-ENT-31)."""
    image = multi.image(caller=OWNER)
    first, second = external(multi), external(multi)
    assert patch(multi, image, added(first), added(second, "0")) == 200
    assert urls(multi, image) == [second, first]
    local = multi.image(DATA, caller=OWNER)
    assert patch(multi, local, added(first, "0"), added(second, "0")) == 200
    assert urls(multi, local)[0].startswith("file:///")
    assert urls(multi, local)[1:] == [second, first]
    assert patch(multi, local, removed(1), caller=ADMIN) == 200
    assert urls(multi, local)[1:] == [first]
    assert shown(multi, local)["stores"] == "fast,mem"


# IMG-LOCP-12
def test_metadata_and_order_are_replaced(api: Client) -> None:
    image, first, second = api.image(caller=OWNER), external(api), external(api)
    assert patch(api, image, added(first), added(second)) == 200
    rows = ledger(api)
    values = [{"url": second, "metadata": {"x": "y"}}, {"url": first, "metadata": {}}]
    assert patch(api, image, replaced(*values)) == 200
    assert urls(api, image) == [second, first]
    assert shown(api, image)["locations"][0]["metadata"].items() >= {"x": "y"}.items()
    assert ledger(api) == rows
    change_all = replaced(values[0], {"url": external(api), "metadata": {}})
    assert patch(api, image, change_all) == 400
    own = api.image(DATA, caller=OWNER)
    shown_now = shown(api, own)["locations"]
    shown_now[0]["metadata"] |= {"mine": "yes", "store": "cheap"}
    assert patch(api, own, replaced(*shown_now)) == 200
    assert shown(api, own)["locations"][0]["metadata"]["mine"] == "yes"
    if api.application.ctx.stores.multi:
        assert shown(api, own)["stores"] == "fast"
    assert api.get(f"{own['self']}/file").body == DATA


# IMG-LOCP-07
def test_a_location_is_added_once(api: Client) -> None:
    image, url = api.image(caller=OWNER), external(api)
    assert [patch(api, image, added(url, a="b")) for _ in range(2)] == [200, 400]
    assert patch(api, image, added(url, a="c")) == 200
    assert urls(api, image) == [url, url]
    assert stored(api) == 2 * len(DATA)
    assert patch(api, image, removed(1), caller=ADMIN) == 200
    assert (urls(api, image), stored(api)) == ([url], len(DATA))


# CFG-09, IMG-LOCP-14, QUO-06, QUO-07
def test_locations_are_limited(api: Client) -> None:
    image = api.image(caller=OWNER)
    assert patch(api, image, *(added(external(api)) for _ in range(5))) == 413
    assert shown(api, image)["status"] == "queued"
    assert patch(api, image, *(added(external(api)) for _ in range(4))) == 200
    assert patch(api, image, added(external(api))) == 413
    assert patch(api, image, added(external(api)), caller=ADMIN) == 413
    same = shown(api, image)["locations"]
    assert patch(api, image, replaced(*reversed(same))) == 200
    assert patch(api, image, removed(0), caller=ADMIN) == 200
    assert patch(api, image, added(external(api))) == 200


# IMG-LOCP-14, QUO-38, QUO-40
def test_data_of_others_counts_like_any_other(api: Client) -> None:
    image, other = api.image(caller=OWNER), api.image(caller=OWNER)
    assert patch(api, other, added(external(api, bytes(601)))) == 413  # image_size_cap
    assert patch(api, image, added(external(api, bytes(600)))) == 200
    assert patch(api, other, added(external(api, bytes(401)))) == 413
    assert shown(api, other)["status"] == "queued"
    assert patch(api, other, added(external(api, bytes(400)))) == 200
    assert stored(api) == 1000
    assert upload(api, api.image(caller=OWNER), b"x", caller=OWNER).status == 413
    owner = {"op": "replace", "path": "/owner", "value": "p2"}
    assert patch(api, image, owner, caller=ADMIN) == 200
    assert (stored(api), stored(api, "p2")) == (400, 600)
    api.delete(image["self"])


# IMG-PATCH-03
def test_a_patch_is_applied_whole_or_not_at_all(api: Client) -> None:
    image, url = api.image(caller=OWNER), external(api)
    before = shown(api, image)
    bad = {"op": "remove", "path": "/missing"}
    assert patch(api, image, added(url), bad) == 409
    assert patch(api, image, added(url), added("memory://mem/missing")) == 400
    assert shown(api, image) == before
    good = {"op": "add", "path": "/note", "value": "x"}
    formats = {"op": "replace", "path": "/disk_format", "value": "qcow2"}
    assert patch(api, image, added(url), formats) == 403  # IMG-PATCH-15: it is active by then
    assert patch(api, image, formats, added(url), good) == 200
    now = shown(api, image)
    assert (now["status"], now["disk_format"], now["note"]) == ("active", "qcow2", "x")


def test_locations_that_come_and_go_in_one_patch(api: Client) -> None:
    image, first, second = api.image(caller=OWNER), external(api), external(api)
    assert patch(api, image, added(first), added(second), removed(0), caller=ADMIN) == 200
    assert (urls(api, image), shown(api, image)["size"]) == ([second], len(DATA))
    assert len(ledger(api)) == 1


def test_the_first_media_type_adds_locations_too(api: Client) -> None:
    image, url = api.image(caller=OWNER), external(api)
    headers = {"content-type": "application/openstack-images-v2.0-json-patch"}
    operation = {"add": "/locations/-", "value": {"url": url, "metadata": {}}}
    assert api.patch(image["self"], [operation], caller=OWNER, headers=headers).status == 200
    assert urls(api, image) == [url]


def test_concurrent_patches_are_all_applied_or_refused(api: Client) -> None:
    image = api.image(caller=OWNER)
    places = [external(api) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(lambda url: patch(api, image, added(url)), places))
    assert statuses == [200] * 4
    assert sorted(urls(api, image)) == sorted(places)
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(lambda _: patch(api, image, removed(0), caller=ADMIN), range(4)))
    assert sorted(statuses) == [200, 200, 200, 403]  # SEC-58
    assert len(urls(api, image)) == 1


def test_data_that_comes_meanwhile_is_compared_too(multi: Client) -> None:
    """Two locations with different data, each added while the image had none (TOCTOU)."""  # SEC-52
    ctx = multi.application.ctx
    image, places = multi.image(caller=OWNER), [external(multi), external(multi, b"the DATA")]
    patches = [Patch((Operation("add", ("locations", "-"), {"url": url, "metadata": {}}),)) for url in places]

    async def both() -> list[Any]:
        gated = replace(ctx, db=Gate(ctx.db, 2))
        found = (update_image(gated, OWNER, image["id"], each) for each in patches)
        return await asyncio.gather(*found, return_exceptions=True)

    assert sorted(type(each).__name__ for each in multi.run(both())) == ["Conflict", "Image"]
    assert len(urls(multi, image)) == 1


def test_a_concurrent_upload_and_location_leave_one_kind_of_data(api: Client) -> None:
    for _ in range(5):
        image, url = api.image(caller=OWNER), external(api)
        with ThreadPoolExecutor(2) as pool:
            sent = pool.submit(upload, api, image, DATA, caller=OWNER)
            linked = pool.submit(patch, api, image, added(url))
        assert (sent.result().status, linked.result()) in [(204, 409), (409, 200), (204, 200)]
        now = shown(api, image)
        # An upload that had ended made the data known, and the location is a second copy of it.
        assert (now["status"], now["size"]) == ("active", len(DATA))
        assert len(now["locations"]) == 1 + ((sent.result().status, linked.result()) == (204, 200))


def test_a_location_that_is_gone_is_served_from_another_copy(multi: Client) -> None:
    image, url = multi.image(DATA, caller=OWNER), external(multi)
    assert patch(multi, image, added(url)) == 200
    change(multi, url, None)
    assert multi.get(f"{image['self']}/file?prefer=mem").body == DATA
    put(multi, url.rpartition("/")[2], DATA)
    multi.run(differences(multi.application.ctx, True))


def test_without_show_multiple_locations_none_change(tmp_path: Path) -> None:
    with service(tmp_path, api=Api(show_direct_url=True)) as api:
        image, url = api.image(caller=OWNER), external(api)
        for caller in (OWNER, ADMIN):
            for operation in (added(url), replaced({"url": url, "metadata": {}}), replaced(), removed(0)):
                reply = api.patch(image["self"], [operation], caller=caller)
                assert reply.status == 403
                assert "show_multiple_locations" not in reply.text  # it is unsafe, and not the users' choice
        assert shown(api, image)["status"] == "queued"
        assert "direct_url" not in shown(api, image)
        assert api.image(DATA)["direct_url"].startswith("file:///")  # IMG-ENT-19


def test_a_deactivated_image_shows_its_locations_to_administrators_only(api: Client) -> None:
    image = api.image(caller=OWNER)
    assert patch(api, image, added(external(api))) == 200
    api.post(f"{image['self']}/actions/deactivate")
    mine = api.get(image["self"], caller=OWNER).json
    assert (mine["locations"], "direct_url" in mine, "stores" in mine) == ([], False, False)  # IMG-ENT-32
    assert len(shown(api, image)["locations"]) == 1


# IMG-DFS-04
def test_a_copy_of_ours_goes_and_a_registered_one_stays(multi: Client) -> None:
    image, url = multi.image(DATA, caller=OWNER), external(multi)
    assert patch(multi, image, added(url)) == 200
    assert multi.delete(f"/v2/stores/fast/{image['id']}").status == 204
    assert (urls(multi, image), multi.get(f"{image['self']}/file").body) == ([url], DATA)
    image = multi.image(DATA, caller=OWNER)
    assert patch(multi, image, added(url)) == 200
    assert multi.delete(f"/v2/stores/mem/{image['id']}").status == 204
    assert exists(multi, url)


def test_a_create_names_no_locations(multi: Client) -> None:
    for value in ([], [{"url": external(multi), "metadata": {}}]):
        assert multi.post("/v2/images", json={"locations": value}).status == 403
