"""Random walks through the API by a dozen callers, checked at every step against a model of the rules.

    pytest tests/walk/test_walk.py --walk-steps 100000 --walk-seed 7 -s

A walk is forty requests to a running service, two workers over sockets; between walks every image is deleted. What
fails is made as short as possible and printed as a program. Lasting finds become tests of their own.
"""

import json
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import pytest
import walk_inputs as draw
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from image_model import Model, refusal
from list_model import Query, page
from walk_records import ABE, ADMIN, ALL_CALLERS, ANN, BOB, MAX, MIA, SAM, Record, Sent, Who, ranged
from walk_service import LIMITS, OPTIONS, Service, now

from ferrotype.testing.callers_process import ConsistencyChecker, served_to_callers
from ferrotype.testing.client import OCTETS, PATCH, Reply

OLD_PATCH = PATCH.replace("v2.1", "v2.0")
STEPS = 40
NEVER = "00000000-0000-4000-8000-000000000000"


class Walk(RuleBasedStateMachine):
    """One walk. Images are named by number: the live ones, then the deleted ones, then one that never was."""

    service: ClassVar[Service]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.order: list[str] = []
        self.created_at: dict[str, str] = {}
        #: (step of the last save, what was shown as its time)
        self.updated_at: dict[str, tuple[int, str]] = {}

    def teardown(self) -> None:
        try:
            assert [each.sentence() for each in self.service.account.differences()] == []
        finally:
            self.service.sweep()
        assert self.service.account.differences() == []
        self.service.walks += 1

    def ask(self, kind: str, method: str, path: str, who: Who, **options: Any) -> Reply:
        self.service.steps[kind] += 1
        reply = self.service.ask(method, path, who, **options)
        assert reply.status < 500, reply.text
        return reply

    def picked(self, which: int) -> tuple[str, Record | None]:
        live, dead = list(self.model.live), [each for each in self.order if each in self.model.dead]
        chosen = live if which < draw.DEAD else dead[-3:] if which == draw.DEAD else []
        image_id = chosen[which % len(chosen)] if chosen else NEVER
        return image_id, self.model.live.get(image_id)

    def among(self, by: Who | None, which: int) -> tuple[Who, str, Record | None]:
        """Return who asks for which image: a caller, or its owner."""
        image_id, image = self.picked(which)
        owners = [who for who in (ANN, ABE, BOB, SAM) if image and who.project == image.owner]
        return by or (owners[which % len(owners)] if owners else ADMIN), image_id, image

    def matches(self, document: dict[str, Any], who: Who, image: Record) -> None:
        """The document is what the model has, and its times can be true."""
        document = dict(document)
        created, updated = document.pop("created_at"), document.pop("updated_at")
        document["tags"] = sorted(document["tags"])
        assert document == self.model.document(who, image)
        assert created == self.created_at.setdefault(image.id, created)
        step, seen = self.updated_at.get(image.id, (image.created, created))
        assert updated == seen if step == image.updated else updated >= seen
        self.updated_at[image.id] = (image.updated, updated)
        assert updated <= now()

    def looked_at(self, image: Record) -> None:
        """An image that was just changed is what it should be."""
        shown = self.service.ask("GET", f"/v2/images/{image.id}", ADMIN)
        self.matches(shown.json, ADMIN, image)

    # -- records

    @initialize()
    def begin(self) -> None:
        """Two projects with two images each: one with data, one that is shared."""
        raw = {"disk_format": "raw", "container_format": "bare"}
        for number, (who, member) in enumerate(((ANN, MIA), (BOB, MAX))):
            self._create(who, raw | {"name": "n1", "tags": ["t1"], "a": "v1"})
            self._create(who, raw | {"name": None, "min_ram": number})
            self.upload(who, 2 * number, Sent(b"y" * 600_000))
            self.share(who, 2 * number + 1, str(member.project))
            self.set_member_status(member, 2 * number + 1, str(member.project), "accepted")

    @rule(who=draw.ANY_CALLER, document=draw.DOCUMENTS, taken=st.one_of(st.none(), st.none(), st.none(), draw.WHICH))
    def create(self, who: Who, document: dict[str, Any], taken: int | None) -> None:
        self._create(who, document if taken is None else document | {"id": self.picked(taken)[0]})

    def _create(self, who: Who, document: dict[str, Any]) -> None:
        expected = self.model.create(who, document)
        if document.get("id") == NEVER and expected == {201}:
            return  # This is the one that never was.
        began = now()
        reply = self.ask("create", "POST", "/v2/images", who, json=document)
        assert reply.status in expected, (reply.status, expected, reply.text)
        if reply.status != 201:
            return
        self.model.created(who, document, reply.json["id"])
        self.order.append(reply.json["id"])
        self.matches(reply.json, who, self.model.live[reply.json["id"]])
        assert began <= reply.json["created_at"] == reply.json["updated_at"] <= now()

    @rule(by=draw.CALLERS, which=draw.WHICH)
    def show(self, by: Who | None, which: int) -> None:
        who, image_id, image = self.among(by, which)
        expected = refusal(who, "get_image", image) or 200
        reply = self.ask("show", "GET", f"/v2/images/{image_id}", who)
        assert reply.status == expected
        if image and expected == 200:
            self.matches(reply.json, who, image)

    @rule(by=draw.CALLERS, which=draw.WHICH, operations=draw.CHANGES, old=st.sampled_from([False, False, True]))
    def patch(self, by: Who | None, which: int, operations: list[dict[str, Any]], old: bool) -> None:
        who, image_id, image = self.among(by, which)
        expected, after = self.model.patch(who, image, operations, old)
        sent: Any = operations
        if old:
            sent = [{each["op"]: each["path"], "value": each.get("value")} for each in operations]
        headers = {"Content-Type": OLD_PATCH if old else PATCH}
        reply = self.ask("patch", "PATCH", f"/v2/images/{image_id}", who, json=sent, headers=headers)
        assert reply.status == expected, reply.text
        if expected == 200:
            self.model.live[image_id] = after
            self.matches(reply.json, who, after)
        elif image:
            self.looked_at(image)

    @rule(by=draw.CALLERS, which=draw.WHICH, tag=draw.TAGS)
    def tag(self, by: Who | None, which: int, tag: str) -> None:
        who, image_id, image = self.among(by, which)
        expected = self.model.tag(who, image, tag)
        reply = self.ask("tag", "PUT", f"/v2/images/{image_id}/tags/{quote(tag, safe='')}", who)
        assert reply.status in expected, reply.text
        if reply.status == 204 and image:
            if tag not in image.tags:
                image.tags, image.updated = image.tags | {tag}, self.model.tick()
            self.looked_at(image)

    @rule(by=draw.CALLERS, which=draw.WHICH, tag=draw.TAGS)
    def untag(self, by: Who | None, which: int, tag: str) -> None:
        who, image_id, image = self.among(by, which)
        expected = refusal(who, "modify_image", image)
        if image and not expected:
            expected = 204 if tag in image.tags else 404
        reply = self.ask("untag", "DELETE", f"/v2/images/{image_id}/tags/{quote(tag, safe='')}", who)
        assert reply.status == expected, reply.text
        if reply.status == 204 and image:
            image.tags, image.updated = image.tags - {tag}, self.model.tick()
            self.looked_at(image)

    @rule(which=draw.WHICH, project=st.sampled_from(["p1", "p2", "p3", None]))
    def give(self, which: int, project: str | None) -> None:
        self.patch(ADMIN, which, [{"op": "replace", "path": "/owner", "value": project}], old=False)

    # -- lists

    @rule(who=draw.ANY_CALLER, query=draw.QUERIES, marker=draw.MARKERS)
    def list_images(self, who: Who, query: Query, marker: int | None) -> None:
        self._page(who, query, None if marker is None else self.picked(marker)[0])

    @rule(who=draw.ANY_CALLER, query=draw.QUERIES)
    def walk_pages(self, who: Who, query: Query) -> None:
        marker = None
        for _ in range(30):
            marker = self._page(who, query, marker)
            if marker is None:
                return

    @rule()
    def everybody_lists_everything(self) -> None:
        """One step, however many they are."""
        before = self.service.steps.copy()
        for who in ALL_CALLERS:
            for query in (Query(), Query("all", "all"), Query("all", "all", "true")):
                self._page(who, query, None)
        self.service.steps = before + Counter(["all callers list"])

    def _page(self, who: Who, query: Query, marker: str | None) -> str | None:
        """Ask for one page; return the marker of the next one."""
        reply = self.ask("list", "GET", query.target(marker), who)
        expected = page(self.model, who, query, marker)
        if query.is_wrong():
            assert reply.status in (400, 403), reply.text
            return None
        assert reply.status == expected.status, reply.text
        if reply.status != 200:
            return None
        found = reply.json
        assert [each["id"] for each in found["images"]] == [each.id for each in expected.images]
        for document, image in zip(found["images"], expected.images, strict=True):
            self.matches(document, who, image)
        last = expected.images[-1].id if expected.is_full else None
        assert found.get("next") == (query.target(last) if last else None)
        assert found["first"] == query.target(None)
        assert found["schema"] == "/v2/schemas/images"
        return last

    # -- members

    @rule(by=draw.CALLERS, which=draw.WHICH, project=draw.PROJECTS)
    def share(self, by: Who | None, which: int, project: str) -> None:
        who, image_id, image = self.among(by, which)
        expected = self.model.share(who, image, project)
        reply = self.ask("share", "POST", f"/v2/images/{image_id}/members", who, json={"member": project})
        assert reply.status in expected, reply.text
        if reply.status == 200 and image:
            self.model.shared(image, project)
            self.is_member(reply.json, image, project)

    @rule(by=draw.CALLERS, which=draw.WHICH, project=draw.PROJECTS, status=draw.STATUSES)
    def set_member_status(self, by: Who | None, which: int, project: str, status: str) -> None:
        image_id, image = self.picked(which)
        who = by or next((each for each in ALL_CALLERS if each.project == project), ADMIN)
        expected = self.model.set_member_status(who, image, project, status)
        path = f"/v2/images/{image_id}/members/{project}"
        reply = self.ask("set_member_status", "PUT", path, who, json={"status": status})
        assert reply.status in expected, reply.text
        if reply.status == 200 and image:
            image.shares[project].status = status
            self.is_member(reply.json, image, project)

    @rule(by=draw.CALLERS, which=draw.WHICH, project=draw.PROJECTS)
    def unshare(self, by: Who | None, which: int, project: str) -> None:
        who, image_id, image = self.among(by, which)
        expected = self.model.unshare(who, image, project)
        reply = self.ask("unshare", "DELETE", f"/v2/images/{image_id}/members/{project}", who)
        assert reply.status in expected, reply.text
        if reply.status == 204 and image:
            image.shares[project].removed = True

    @rule(by=draw.CALLERS, which=draw.WHICH, project=draw.PROJECTS)
    def members(self, by: Who | None, which: int, project: str) -> None:
        who, image_id, image = self.among(by, which)
        expected, seen = self.model.members(who, image)
        reply = self.ask("members", "GET", f"/v2/images/{image_id}/members", who)
        assert reply.status == expected, reply.text
        if image and expected == 200:
            assert sorted(each["member_id"] for each in reply.json["members"]) == sorted(seen)
            for each in reply.json["members"]:
                self.is_member(each, image, each["member_id"])
        one = self.ask("members", "GET", f"/v2/images/{image_id}/members/{project}", who)
        assert one.status == (200 if project in seen else 404), one.text  # IMG-MEM-08

    def is_member(self, document: dict[str, Any], image: Record, project: str) -> None:
        share = image.shares[project]
        shown = (document["member_id"], document["image_id"], document["status"], document["schema"])
        assert shown == (project, image.id, share.status, "/v2/schemas/member")
        key = f"{image.id} {project}"
        assert document["created_at"] == self.created_at.setdefault(key, document["created_at"])
        assert document["created_at"] <= document["updated_at"] <= now()

    # -- data

    @rule(by=draw.CALLERS, which=draw.WHICH, sent=draw.BODIES)
    def upload(self, by: Who | None, which: int, sent: Sent) -> None:
        who, image_id, image = self.among(by, which)
        expected = self.model.upload(who, image, sent)
        headers = {"Content-Type": OCTETS}
        if sent.store:
            headers["X-Image-Meta-Store"] = sent.store
        if sent.announced is not None:
            headers["X-OpenStack-Image-Size"] = str(sent.announced)
        body: Any = sent.data
        if sent.chunked:
            body = [sent.data[at : at + 65536] for at in range(0, len(sent.data), 65536)]
        reply = self.ask("upload", "PUT", f"/v2/images/{image_id}/file", who, headers=headers, body=body)
        assert reply.status in expected, (expected, reply.text)
        if reply.status == 204 and image:
            self.model.stored(image, sent)
        elif image and image.status == "queued":  # It may have been on its way, and that counts as a change.
            touch = [{"op": "replace", "path": "/name", "value": image.name}]
            path = f"/v2/images/{image_id}"
            assert self.service.ask("PATCH", path, ADMIN, json=touch, headers={"Content-Type": PATCH}).status == 200
            image.updated = self.model.tick()
        if image:
            self.looked_at(image)

    @rule(by=draw.CALLERS, which=draw.WHICH, asked=draw.RANGES)
    def download(self, by: Who | None, which: int, asked: tuple[str, int | None, int | None] | None) -> None:
        who, image_id, image = self.among(by, which)
        expected = self.model.download(who, image)
        headers = {} if asked is None else {"Range": f"bytes={asked[0]}"}
        reply = self.ask("download", "GET", f"/v2/images/{image_id}/file", who, headers=headers)
        if image is None or image.data is None or expected != 200 or asked is None:
            assert reply.status == expected, reply.text
            assert expected != 200 or (image is not None and reply.body == image.data)
            return
        part = ranged(image.data, asked)
        assert reply.status == (416 if part is None else 206)
        if part is not None:
            assert reply.body == part

    @rule(by=draw.CALLERS, which=draw.WHICH, active=st.booleans())
    def set_active(self, by: Who | None, which: int, active: bool) -> None:
        who, image_id, image = self.among(by, which)
        action = "reactivate" if active else "deactivate"
        expected = refusal(who, action, image)
        if image and not expected:
            expected = 204 if image.status in ("active", "deactivated") else 403  # IMG-ACT-02
        reply = self.ask(action, "POST", f"/v2/images/{image_id}/actions/{action}", who)
        assert reply.status == expected, reply.text
        wanted = "active" if active else "deactivated"
        if image and expected == 204 and image.status != wanted:
            image.status, image.updated = wanted, self.model.tick()
            self.looked_at(image)

    # -- the end, and the service itself

    @precondition(lambda self: len(self.model.live) > 3)
    @rule(by=st.one_of(draw.CALLERS, st.sampled_from(ALL_CALLERS)), which=draw.WHICH)
    def delete(self, by: Who | None, which: int) -> None:
        who, image_id, image = self.among(by, which)
        expected = self.model.delete(who, image)
        reply = self.ask("delete", "DELETE", f"/v2/images/{image_id}", who)
        assert reply.status == expected, reply.text
        if image and expected == 204:
            self.model.deleted(image)
            assert self.service.ask("GET", f"/v2/images/{image_id}", ADMIN).status == 404  # IMG-STM-23

    @rule(who=draw.ANY_CALLER, which=draw.WHICH, what=draw.ASIDE)
    def ask_aside(self, who: Who, which: int, what: str) -> None:
        image_id, image = self.picked(which)
        stores = [{"id": "fast", "default": "true"}, {"id": "cheap"}]
        match what:
            case "locations":
                reply = self.ask(what, "GET", f"/v2/images/{image_id}/locations", who)
                assert reply.status == (refusal(who, "fetch_image_location", image) or 200), reply.text
                if image and reply.status == 200:
                    metadata = [{"store": image.store}] if image.store else []
                    assert [each["metadata"] for each in reply.json] == metadata
                return
            case "fast" | "cheap" | "nowhere":
                reply = self.ask("delete from store", "DELETE", f"/v2/stores/{what}/{image_id}", who)
                assert reply.status == self.model.delete_from_store(who, image, what), reply.text
                return
        reply = self.ask(what, "GET", f"/v2/info/{what}", who)
        match what:
            case "usage":
                assert (reply.status, reply.json) == (200, {"usage": self.model.usage(who)})
            case "stores":
                assert (reply.status, reply.json) == (200, {"stores": stores})
            case "stores/detail":
                assert reply.status == (200 if who.admin or who.has("service") else 403)  # DISC-54
            case "import":
                assert reply.json["import-methods"]["value"] == []


@pytest.fixture
def service(tmp_path: Path, database_url: str) -> Iterator[Service]:
    with served_to_callers(tmp_path, database_url, workers=2, options=OPTIONS, limits=LIMITS) as process:
        account = ConsistencyChecker(tmp_path)
        try:
            yield Service(process.port, account)
        finally:
            account.close()


def test_random_walk_through_the_api_matches_the_model(service: Service, request: pytest.FixtureRequest) -> None:
    steps, given = request.config.getoption("--walk-steps"), request.config.getoption("--walk-seed")
    chosen = secrets.randbelow(10**6) if given is None else given
    print(f"--walk-seed {chosen}")
    machine = seed(chosen)(type("Walk", (Walk,), {"service": service}))
    began = time.monotonic()
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=max(1, steps // STEPS),
                stateful_step_count=STEPS,
                database=None,
                deadline=None,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        took = time.monotonic() - began
        print(f"{service.walks} walks, {service.steps.total()} steps in {took:.0f} s; seed {chosen}")
        print(json.dumps(dict(service.steps.most_common())))
