"""Anonymous access: what requests without a valid token may read."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ferrotype.config.auth import Auth
from ferrotype.config.policy import Policy
from ferrotype.testing.client import ADMIN, OCTETS, OWNER, PATCH, Client, client

UNKNOWN_TOKEN = {"x-auth-token": "unknown"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with client(tmp_path_factory.mktemp("service"), auth=Auth(allow_anonymous=True)) as api:
        yield api


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "", b"{}"),
        ("PATCH", "/{id}", b'[{"op": "add", "path": "/name", "value": "x"}]'),
        ("DELETE", "/{id}", None),
        ("PUT", "/{id}/file", b"x"),
        ("PUT", "/{id}/tags/x", None),
        ("POST", "/{id}/members", b'{"member": "p9"}'),
        ("POST", "/{id}/actions/deactivate", None),
    ],
)
def test_anonymous_callers_change_nothing(api: Client, method: str, path: str, body: bytes | None) -> None:
    image = api.image(b"data", caller=ADMIN, visibility="public")
    before = api.get(image["self"], caller=ADMIN).json
    kind = PATCH if method == "PATCH" else OCTETS
    url = "/v2/images" + path.format(id=image["id"])
    answer = api.request(method, url, headers=UNKNOWN_TOKEN | {"content-type": kind}, body=body)
    assert answer.status == 403  # AUT-03, CFG-02
    assert api.get(image["self"], caller=ADMIN).json == before


def test_by_default_anonymous_callers_read_no_images(api: Client) -> None:
    image = api.image(b"data", caller=ADMIN, visibility="public")
    # AUT-03
    assert api.get("/v2/images", headers=UNKNOWN_TOKEN).status == 403
    assert api.get(image["self"], headers=UNKNOWN_TOKEN).status == 404
    assert api.get(f"{image['self']}/file", headers=UNKNOWN_TOKEN).status == 404
    for path in ("schemas/image", "info/import", "info/stores", "info/usage"):
        assert api.get(f"/v2/{path}", headers=UNKNOWN_TOKEN).status == 200  # DISC-04, SCH-01
    assert api.get("/v2/info/stores/detail", headers=UNKNOWN_TOKEN).status == 403


def test_a_policy_can_let_anonymous_callers_read_public_images(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("get_images: '@'\nget_image: '@'\ndownload_image: '@'\n")
    policy = Policy(file=tmp_path / "policy.yaml")
    with client(tmp_path, auth=Auth(allow_anonymous=True), policy=policy) as api:
        public = api.image(b"data", caller=ADMIN, visibility="public")
        private = api.image(b"data", caller=OWNER, visibility="private")
        # AUT-03
        listed = api.get("/v2/images", headers=UNKNOWN_TOKEN)
        assert [each["id"] for each in listed.json["images"]] == [public["id"]]
        assert api.get(f"{public['self']}/file", headers=UNKNOWN_TOKEN).body == b"data"
        assert api.get(private["self"], headers=UNKNOWN_TOKEN).status == 404
        assert api.get(f"{private['self']}/file", headers=UNKNOWN_TOKEN).status == 404


def test_without_the_option_anonymous_requests_are_401(tmp_path: Path) -> None:
    with client(tmp_path) as api:
        for path in ("images", "schemas/image", "info/import", "nothing"):
            assert api.get(f"/v2/{path}", headers=UNKNOWN_TOKEN).status == 401  # CFG-02, AUT-01
