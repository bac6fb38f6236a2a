"""A reload or a change of the policy files while requests run: each request keeps what it began with."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from uploads import PausedBody, upload, uploading

from ferrotype.config import Config
from ferrotype.config.formats import Formats
from ferrotype.config.policy import Policy, PropertyProtectionConfig
from ferrotype.testing.client import OWNER, Client, Reply, client

#: Not what ``disk_format`` of a qcow2 image promises.
RAW = b"not a qcow2 header"
RULES = "[.*]\ncreate = may\nread = may\nupdate = may\ndelete = may\n"


def refresh_files(api: Client) -> None:
    """Check the watched files as often as it takes for a change to take effect."""
    for _ in range(2):
        api.run(api.application._refresh_files())


@contextmanager
def creating(api: Client, document: Mapping[str, Any]) -> Iterator[Future[Reply]]:
    """Send a create whose body is complete only when the block ends."""
    sent = msgspec.json.encode(document)
    held = PausedBody(sent[:5], sent[5:])
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(api.post, "/v2/images", body=held.pieces(), caller=OWNER)
        try:
            held.wait()
            yield reply
        finally:
            held.go.set()


def other(config: Config) -> Config:
    """Return a configuration that answers every request of these tests differently."""
    api = replace(config.api, show_locations=True, hashing_algorithm="sha256", import_methods=("web-download",))
    limits = replace(config.limits, image_property_quota=0)
    return replace(config, api=api, limits=limits, formats=replace(config.formats, require_match=False))


def test_a_create_ends_under_the_configuration_that_it_began_with(tmp_path: Path) -> None:
    with client(tmp_path, background=False) as api:
        running = api.application.ctx.config
        with creating(api, {"name": "x", "a": "1"}) as before:
            api.application.reload(other(running))
            during = api.post("/v2/images", json={"name": "x", "a": "1"}, caller=OWNER)
        # CFA-04
        assert before.result().status == 201 and "locations" not in before.result().json
        assert "openstack-image-import-methods" not in before.result().headers
        assert during.status == 413


def test_an_upload_is_checked_under_the_configuration_that_it_began_with(tmp_path: Path) -> None:
    with client(tmp_path, background=False, formats=Formats(require_match=True)) as api:
        image, running = api.image(caller=OWNER, disk_format="qcow2"), api.application.ctx.config
        with uploading(api, image, PausedBody(RAW, RAW), caller=OWNER) as before:
            api.application.reload(other(running))
        # CFA-04: the digest came from the first configuration, so the format check does, too.
        assert before.result().status == 415
        assert upload(api, image, RAW, caller=OWNER).status == 204
        assert api.get(image["self"], caller=OWNER).json["os_hash_algo"] == "sha256"


def test_policy_and_property_protection_of_a_request_are_of_one_policy(tmp_path: Path) -> None:
    rules, protect = tmp_path / "policy.yaml", tmp_path / "protect.conf"
    rules.write_text('may: "role:member"\n')
    protect.write_text(RULES)
    protection = PropertyProtectionConfig(protect, by_roles=False)
    with client(tmp_path, background=False, policy=Policy(rules), protection=protection) as api:
        with creating(api, {"a": "1"}) as before:
            rules.write_text('may: "!"\nadd_image: "role:member"\n')
            refresh_files(api)
            during = api.post("/v2/images", json={"a": "1"}, caller=OWNER)
        # SEC-76, PROP-03
        assert (before.result().status, before.result().json.get("a")) == (201, "1")
        assert during.status == 403
        assert "a" not in api.get(before.result().json["self"], caller=OWNER).json


def test_a_create_ends_under_the_property_protection_that_it_began_with(tmp_path: Path) -> None:
    protect = tmp_path / "protect.conf"
    protect.write_text(RULES.replace("may", "member"))
    with client(tmp_path, background=False, protection=PropertyProtectionConfig(protect)) as api:
        with creating(api, {"a": "1"}) as before:
            protect.write_text(RULES.replace("may", "!"))
            refresh_files(api)
            during = api.post("/v2/images", json={"a": "1"}, caller=OWNER)
        # SEC-76, PROP-03
        assert (before.result().status, before.result().json.get("a")) == (201, "1")
        assert during.status == 403
        assert "a" not in api.get(before.result().json["self"], caller=OWNER).json


def test_rules_and_property_protection_that_change_together_are_applied_together(tmp_path: Path) -> None:
    rules, protect = tmp_path / "policy.yaml", tmp_path / "protect.conf"
    rules.write_text('may: "role:member"\n')
    protect.write_text(RULES)
    protection = PropertyProtectionConfig(protect, by_roles=False)
    with client(tmp_path, background=False, policy=Policy(rules), protection=protection) as api:
        first = api.application.ctx
        rules.write_text('may: "!"\nmight: "role:member"\n')
        protect.write_text(RULES.replace("may", "might"))
        refresh_files(api)
        second = api.application.ctx
        # WATCH-01: the context before keeps its pair, the next one has the other pair
        for ctx, may in ((first, True), (second, False)):
            assert ctx.authoriser.allows(OWNER, "may") is may
            assert ctx.protection is not None and ctx.protection is ctx.view.protection
            assert ctx.protection.rules == {"may" if may else "might"}
            assert ctx.protection.allows(OWNER, "read", "a")


def test_no_request_sees_half_of_a_reload(tmp_path: Path) -> None:
    with client(tmp_path, background=False) as api:
        one = api.application.ctx.config
        configs, seen = (one, replace(other(one), limits=one.limits)), []
        for number in range(20):
            with creating(api, {"name": "x", "a": "1"}) as answer:
                api.application.reload(configs[(number + 1) % 2])
            reply = answer.result()
            seen.append(("locations" in reply.json, "openstack-image-import-methods" in reply.headers))
        # CFA-04: all of the configuration in force when it began, and nothing of the next one
        assert seen == [(False, False), (True, True)] * 10


def test_nothing_in_a_context_is_replaced_on_its_own(tmp_path: Path) -> None:
    with client(tmp_path, background=False) as api:
        before = api.application.ctx
        api.application.reload(other(before.config))
        after = api.application.ctx
        assert not before.view.show_locations and after.view.show_locations
        assert (after.db, after.stores, after.lease) == (before.db, before.stores, before.lease)
        for name in ("config", "view", "authoriser", "schemas", "protection"):
            with pytest.raises(FrozenInstanceError):
                setattr(after, name, getattr(before, name))
