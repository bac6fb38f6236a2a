"""``get_image_location`` guards every place that shows a location, once the operator has set it (POL-32, SEC-54)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ferrotype.config.api import Api
from ferrotype.config.policy import Policy
from ferrotype.testing.client import ADMIN, MEMBER, OWNER, STRANGER, Client, client

SHOWN = ("locations", "direct_url")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Any]:
    def start(rule: str | None) -> Any:
        file = tmp_path / "policy.yaml"
        file.write_text("{}\n" if rule is None else f'"get_image_location": "{rule}"\n')
        api = Api(show_locations=True, show_direct_url=True)
        return client(tmp_path, background=False, api=api, policy=Policy(file=file))

    yield start


def documents(api: Client, image: Any, caller: Any) -> Iterator[dict[str, Any]]:
    """Yield the documents that a caller gets of an image: show, list and, for who may change it, PATCH."""
    yield api.get(image["self"], caller=caller).json
    listed = api.get("/v2/images?visibility=all", caller=caller).json["images"]
    yield next(each for each in listed if each["id"] == image["id"])
    changed = api.patch(image["self"], [{"op": "add", "path": "/note", "value": "x"}], caller=caller)
    if changed.status == 200:
        yield changed.json


# POL-32, SEC-54
@pytest.mark.parametrize(
    ("rule", "seeing"),
    [
        (None, (ADMIN, OWNER, MEMBER, STRANGER)),
        ("role:admin", (ADMIN,)),
        ("role:admin or project_id:%(project_id)s", (ADMIN, OWNER)),
        ("role:admin or project_id:%(member_id)s", (ADMIN, MEMBER)),
        ("!", ()),
    ],
)
def test_locations_are_in_no_document_of_a_caller_that_the_policy_refuses(
    serve: Any, rule: str | None, seeing: tuple[Any, ...]
) -> None:
    with serve(rule) as api:
        shared, public = api.image(b"data", caller=OWNER), api.image(b"data", caller=ADMIN, owner="p1")
        api.post(f"{shared['self']}/members", json={"member": MEMBER.project}, caller=OWNER)
        api.put(f"{shared['self']}/members/{MEMBER.project}", json={"status": "accepted"}, caller=MEMBER)
        api.patch(public["self"], [{"op": "replace", "path": "/visibility", "value": "public"}], caller=ADMIN)
        for image, callers in ((shared, (ADMIN, OWNER, MEMBER)), (public, (ADMIN, OWNER, STRANGER))):
            for caller in callers:
                expected = caller in seeing
                for document in documents(api, image, caller):
                    assert [name in document for name in SHOWN] == [expected, expected], (rule, caller.user)
                    assert document["stores"] == "fast"
        made = api.post("/v2/images", json={"name": "x"}, caller=OWNER).json
        assert ("locations" in made) is (OWNER in seeing)
