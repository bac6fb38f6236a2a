"""The access matrix: equal to the golden file, and complete."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from matrix import IMAGE_CALLS, Ask, Matrix, untried

from ferrotype.config.api import Api
from ferrotype.model.caller import Caller
from ferrotype.rules import defaults
from ferrotype.rules.permit import Authoriser
from ferrotype.rules.policy import compiled
from ferrotype.testing.client import ADMIN, Client, client, person

GOLDEN = Path(__file__).parents[1] / "golden"
PEOPLE = {
    "admin": person("admins", "admin", "member", "reader"),
    "owner": person("owner", "member", "reader"),
    "reader": person("owner", "reader"),
    "otherrole": person("owner", "auditor"),
    "stranger": person("stranger", "member", "reader"),
    "accepted": person("accepted", "member", "reader"),
    "pending": person("pending", "member", "reader"),
    "rejected": person("rejected", "member", "reader"),
    "service": person("services", "service"),
    "unscoped": person(None, "member", "reader"),
    "system": Caller(user="s", system="all", roles=frozenset({"admin", "member", "reader"})),
    "anonymous": Caller(anonymous=True),
}


def test_every_route_is_tried_by_the_matrix():
    assert untried() == set()  # SEC-64


#: A policy for every rule but the one that says who is an administrator -> the file of what runs.
POLICIES = {None: "access.txt", "": "access-open.txt", "!": "access-closed.txt"}


class ReadyMadeMatrix(Matrix):
    """A matrix whose images are made under the default policy, whatever the policy that is asked about."""

    def __init__(self, ask: Ask, api: Client, policy: str | None):
        super().__init__(ask, lambda name: PEOPLE[name].project or "")
        self._api, self._default = api, api.application.ctx
        rules = defaults.texts(True)
        if policy is not None:
            rules |= dict.fromkeys(rules.keys() - {"context_is_admin"}, policy)
        authoriser = Authoriser(compiled(rules), filters_lists=policy is not None)
        self._asked = api.application.ctx = replace(self._default, authoriser=authoriser)

    def _make(self, visibility: str, status: str) -> str:
        self._api.application.ctx = self._default
        try:
            return super()._make(visibility, status)
        finally:
            self._api.application.ctx = self._asked


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES, ids=["default", "all open", "all closed"])
def test_access_is_what_was_agreed(tmp_path: Path, policy: str | None) -> None:
    with client(tmp_path, background=False, api=Api(show_locations=True)) as api:

        def ask(caller: str, method: str, path: str, headers: Any, body: bytes | None) -> tuple[int, bytes]:
            reply = api.request(method, path, caller=PEOPLE[caller], headers=headers, body=body)
            return reply.status, reply.body

        found = "\n".join(ReadyMadeMatrix(ask, api, policy).lines()) + "\n"
    golden = GOLDEN / POLICIES[policy]
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(found)
    # SEC-64, IMG-POL-01 to IMG-POL-04, POL-10 to POL-14, POL-30; UPDATE_GOLDEN=1 writes what runs, to be read.
    assert found.splitlines() == golden.read_text().splitlines()


CHANGES = [call for call in IMAGE_CALLS if call.method != "GET"]


@pytest.mark.parametrize("owner", ["owner", None], ids=["owned", "without owner"])
@pytest.mark.parametrize("visibility", ["shared", "community", "public"])
def test_an_open_policy_lets_nobody_change_the_images_of_others(
    tmp_path: Path, visibility: str, owner: str | None
) -> None:
    """Neither the record nor data, members and data of an image that a caller sees and does not own (POL-30)."""
    others = [name for name in ("stranger", "accepted", "unscoped") if not (owner is None and name == "owner")]
    with client(tmp_path, background=False) as api:
        default = api.application.ctx
        rules = {name: "" if name != "context_is_admin" else text for name, text in defaults.texts(True).items()}
        for status in ("queued", "active", "deactivated"):
            image = api.image(b"data" if status != "queued" else None, caller=ADMIN, owner=owner)
            api.post(f"{image['self']}/members", json={"member": "accepted"}, caller=ADMIN)
            api.post(f"{image['self']}/members", json={"member": "rejected"}, caller=ADMIN)
            if visibility != "shared":
                api.patch(image["self"], {"op": "replace", "path": "/visibility", "value": visibility}, caller=ADMIN)
            if status == "deactivated":
                api.post(f"{image['self']}/actions/deactivate", caller=ADMIN)
            before = state_of(api, image)
            api.application.ctx = replace(default, authoriser=Authoriser(compiled(rules), filters_lists=True))
            for call in CHANGES:
                for name in others:
                    path = call.path.replace("{image_id}", image["id"])
                    for key, value in call.sent.items():
                        path = path.replace(f"{{{key}}}", value)
                    body = call.body if isinstance(call.body, bytes | None) else msgspec.json.encode(call.body)
                    reply = api.request(
                        call.method, f"/v2/{path}", caller=PEOPLE[name], headers=call.headers, body=body
                    )
                    assert reply.status >= 400, (call.name, name)
            api.application.ctx = default
            assert state_of(api, image) == before


def state_of(api: Client, image: Any) -> Any:
    """Return everything that the API tells an administrator of an image."""
    members = api.get(f"{image['self']}/members", caller=ADMIN)
    data = api.get(f"{image['self']}/file", caller=ADMIN)
    return api.get(image["self"], caller=ADMIN).json, members.body, data.body
