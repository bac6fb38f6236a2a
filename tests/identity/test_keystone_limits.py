"""Keystone's unified limits hold under concurrency, and the usage API shows what is enforced."""

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from discovery_cases import schema
from keystone_service import Keystone, Users, configured

from ferrotype.testing.client import OCTETS, Client, config, person, serving

MIB = 1 << 20
CONCURRENCY = 64


class Project:
    """A new project of Keystone and its member."""

    def __init__(self, identity: Keystone):
        self.id = identity.project(uuid.uuid4().hex)
        self.member = person(self.id, "member", "reader")
        self.identity = identity

    def may_have(self, **most: int) -> None:
        for resource, number in most.items():
            self.identity.limit(self.id, f"image_{resource}", number)


@pytest.fixture(scope="module")
def endpoint(identity: Keystone, users: Users) -> str:
    """The image service's endpoint with registered limits; there is none for staged data."""
    made = identity.image_endpoint("http://127.0.0.1:1")
    for resource, most in (("size_total", 3), ("count_total", 5), ("count_uploading", -1)):
        identity.register_limit(f"image_{resource}", most)
    return made


@pytest.fixture
def api(
    identity: Keystone, endpoint: str, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    """A service on each database with Keystone's limits, refreshed 20 times a second."""
    monkeypatch.setattr("ferrotype.identity.limits.CACHE_SECONDS", 0.05)
    settings = configured(identity, tmp_path / "settings", endpoint=endpoint, default="use_keystone_limits = true")
    with serving(config(tmp_path, database_url=database_url, unified_limits=settings.unified_limits)) as api:
        yield api


@pytest.fixture
def project(identity: Keystone) -> Project:
    return Project(identity)


def put(api: Client, image: str, data: Any, caller: Any) -> Any:
    return api.put(f"/v2/images/{image}/file", body=data, headers={"content-type": OCTETS}, caller=caller)


def used(api: Client, project: Project) -> dict[str, tuple[int, int]]:
    shown = api.get("/v2/info/usage", caller=project.member).json["usage"]
    return {name.removeprefix("image_"): (each["usage"], each["limit"]) for name, each in shown.items()}


# QUO-30, QUO-42, QUO-26, SEC-89, IMG-CREATE-06, CFG-12
def test_concurrent_creates_never_exceed_the_count(api: Client, project: Project) -> None:
    project.may_have(count_total=10)
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        made = list(pool.map(lambda _: api.post("/v2/images", json={}, caller=project.member), range(CONCURRENCY)))
    assert sorted(each.status for each in made) == [201] * 10 + [413] * (CONCURRENCY - 10)
    assert used(api, project)["count_total"] == (10, 10)
    # QUO-22
    refused = next(each for each in made if each.status == 413)
    assert "image_count_total" in refused.text
    assert "the limit is 10 images, 10 are in use, 1 more" in refused.text
    kept = next(each.json["id"] for each in made if each.status == 201)
    assert api.delete(f"/v2/images/{kept}", caller=project.member).status == 204
    assert api.post("/v2/images", json={}, caller=project.member).status == 201


# QUO-31, QUO-26, SEC-87
@pytest.mark.parametrize("chunked", [False, True])
def test_concurrent_uploads_never_exceed_the_size(api: Client, project: Project, chunked: bool) -> None:
    project.may_have(size_total=4, count_total=-1)
    size = 500_000
    images = [api.image(caller=project.member)["id"] for _ in range(CONCURRENCY)]

    def upload(image: str) -> Any:
        data: Any = [bytes(100_000)] * 5 if chunked else bytes(size)
        return put(api, image, data, project.member)

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        answers = list(pool.map(upload, images))
    fitting = 4 * MIB // size
    statuses = sorted(answer.status for answer in answers)
    stored = statuses.count(204)
    assert set(statuses) == {204, 413}
    # Of an unknown size more may be reserved at times than is needed in the end; never less.
    assert stored == fitting if not chunked else 1 <= stored <= fitting
    # DISC-92, DISC-93, DISC-94: whole MiB, rounded down; a limit that is not registered is zero
    assert used(api, project) == {
        "size_total": (stored * size // MIB, 4),
        "stage_total": (0, 0),
        "count_total": (CONCURRENCY, -1),
        "count_uploading": (0, -1),
    }
    refused = next(answer for answer in answers if answer.status == 413)
    assert "image_size_total" in refused.text and str(4 * MIB) in refused.text
    # Filling exactly is allowed, and not one byte more.
    rest = 4 * MIB - stored * size
    queued = [
        each["id"] for each in api.get("/v2/images?status=queued&limit=2", caller=project.member).json["images"]
    ]
    assert put(api, queued[0], bytes(rest + 1), project.member).status == 413
    assert put(api, queued[0], bytes(rest), project.member).status == 204
    assert put(api, queued[1], b"x", project.member).status == 413
    assert api.get(f"/v2/images/{queued[1]}", caller=project.member).json["status"] == "queued"


# QUO-32, QUO-43
def test_concurrent_uploads_never_exceed_their_limit(api: Client, project: Project) -> None:
    project.may_have(count_uploading=1, count_total=-1)
    first, second = (api.image(caller=project.member)["id"] for _ in range(2))

    arrived, go_on = threading.Event(), threading.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"x"
        arrived.set()
        await asyncio.to_thread(go_on.wait, 600)
        yield b"y"

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(put, api, first, slowly(), project.member)
        try:
            assert arrived.wait(60)
            assert used(api, project)["count_uploading"] == (1, 1)
            refused = put(api, second, b"y", project.member)
            assert refused.status == 413 and "image_count_uploading" in refused.text
            assert api.get(f"/v2/images/{second}", caller=project.member).json["status"] == "queued"
        finally:
            go_on.set()
        assert running.result(60).status == 204
    assert put(api, second, b"y", project.member).status == 204


# QUO-24, RUL-08, RUL-06
def test_the_owner_is_charged_for_an_upload_by_an_administrator(api: Client, project: Project) -> None:
    project.may_have(size_total=1, count_total=2)
    admin = person("elsewhere", "admin", "member", "reader")
    image = api.post(
        "/v2/images",
        json={"owner": project.id, "disk_format": "raw", "container_format": "bare"},
        caller=admin,
    ).json["id"]
    assert put(api, image, bytes(MIB + 1), admin).status == 413
    assert put(api, image, bytes(MIB), admin).status == 204
    assert used(api, project)["size_total"] == (1, 1)
    assert used(api, project)["count_total"] == (1, 2)
    # QUO-31: a caller who cannot see the image gets 404, not an error about limits
    assert put(api, image, b"x", person("unknown", "member", "reader")).status == 404


# QUO-20, DISC-96
def test_without_limits_of_its_own_a_project_has_the_registered_ones(api: Client, project: Project) -> None:
    assert used(api, project) == {
        "size_total": (0, 3), "stage_total": (0, 0), "count_total": (0, 5), "count_uploading": (0, -1),
    }  # fmt: skip
    nowhere = api.get("/v2/info/usage", caller=person(None)).json["usage"]
    assert nowhere["image_count_total"] == {"usage": 0, "limit": 5}


# QUO-21
def test_keystones_limits_replace_the_configured_quota(
    identity: Keystone, endpoint: str, tmp_path: Path, project: Project
) -> None:
    project.may_have(size_total=1)
    default = "use_keystone_limits = true\nuser_storage_quota = 10B"
    made = configured(identity, tmp_path / "settings", endpoint=endpoint, default=default)
    with serving(config(tmp_path, limits=made.limits, unified_limits=made.unified_limits)) as api:
        assert api.image(bytes(1000), caller=project.member)["status"] == "active"


# QUO-27
def test_the_endpoint_can_be_found_by_its_service(
    identity: Keystone, users: Users, endpoint: str, tmp_path: Path, project: Project
) -> None:
    settings = configured(identity, tmp_path / "settings", endpoint=endpoint, default="use_keystone_limits = true")
    named = identity.ask("GET", f"/endpoints/{endpoint}")["endpoint"]["service_id"]
    identity.ask("PATCH", f"/services/{named}", {"service": {"name": "images-of-these-tests"}})
    by_name = replace(
        settings.unified_limits, endpoint_id=None, service_name="images-of-these-tests", region="RegionOne"
    )
    with serving(config(tmp_path, unified_limits=by_name)) as api:
        assert used(api, project)["count_total"] == (0, 5)
    identity.ask("PATCH", f"/services/{named}", {"service": {"name": "glance"}})


# DISC-91, DISC-95, DISC-97
def test_usage_is_shown_to_any_role_and_beyond_the_limit(api: Client, project: Project) -> None:
    project.may_have(count_total=2)
    for _ in range(2):
        assert api.post("/v2/images", json={}, caller=project.member).status == 201
    project.may_have(count_total=1)
    until = time.monotonic() + 60
    while used(api, project)["count_total"][1] != 1 and time.monotonic() < until:
        time.sleep(0.1)  # Until the cached limits expire.
    names = {"image_size_total", "image_stage_total", "image_count_total", "image_count_uploading"}
    for roles in (["reader"], ["astronaut"], ["member", "reader"]):
        shown = api.get("/v2/info/usage", caller=person(project.id, *roles)).json["usage"]
        assert set(shown) == names
        schema("usage")({"usage": shown})
        assert shown["image_count_total"] == {"usage": 2, "limit": 1}
        assert all(type(number) is int for each in shown.values() for number in each.values())
    assert api.post("/v2/images", json={}, caller=project.member).status == 413


# DISC-90
def test_without_keystones_limits_no_usage_is_shown(tmp_path: Path) -> None:
    with serving(config(tmp_path)) as api:
        assert api.get("/v2/info/usage").json == {"usage": {}}
