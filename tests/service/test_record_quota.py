"""A project cannot create images without end, though records cost no storage quota (SEC-89, QUO-12)."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ferrotype.config.limits import Limits
from ferrotype.model.caller import Caller
from ferrotype.service.record_quota import PROCESSES, REFUSED_FOR, RecordQuota
from ferrotype.testing.client import OWNER, STRANGER, Client, Reply, client


@pytest.fixture
def api(tmp_path: Path, database_url: str) -> Iterator[Client]:
    with client(tmp_path, background=False, database_url=database_url, limits=Limits(image_count_quota=20)) as api:
        yield api


def create(api: Client, caller: Caller = OWNER) -> Reply:
    return api.post("/v2/images", json={"name": "x"}, caller=caller)


# SEC-89, QUO-12
def test_a_project_has_at_most_its_quota_and_others_are_not_affected(api: Client) -> None:
    replies = [create(api) for _ in range(23)]
    assert [reply.status for reply in replies] == [201] * 20 + [413] * 3
    assert "image_count_quota" in replies[-1].text and "20 images" in replies[-1].text
    assert create(api, STRANGER).status == 201


def test_a_deleted_image_makes_place_for_another(api: Client) -> None:
    now = 0.0
    api.application.ctx = replace(api.application.ctx, record_quota=RecordQuota(lambda: now))
    images = [create(api).json for _ in range(20)]
    assert create(api).status == 413
    assert api.delete(images[0]["self"], caller=OWNER).status == 204
    assert create(api).status == 413  # It is counted again a second later.
    now = REFUSED_FOR
    assert [create(api).status for _ in range(2)] == [201, 413]


def test_sixteen_processes_together_stay_within_the_quota(api: Client) -> None:
    ctx, made = api.application.ctx, 0
    processes = [RecordQuota() for _ in range(PROCESSES)]
    for _ in range(40):
        for quota in processes:
            api.application.ctx = replace(ctx, record_quota=quota)
            made += create(api).status == 201
    assert made == 20


def test_without_a_quota_nothing_is_counted(tmp_path: Path) -> None:
    with client(tmp_path, background=False, limits=Limits(image_count_quota=0)) as api:
        assert {create(api).status for _ in range(30)} == {201}
