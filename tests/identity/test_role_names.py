"""Names of roles, in whatever case a deployment writes them."""

from pathlib import Path

import pytest

from ferrotype.identity.token_info import parse_token
from ferrotype.testing.client import client

DOMAIN = {"id": "default"}


@pytest.mark.parametrize(("roles", "status"), [(["Admin"], 201), (["MEMBER", "Reader"], 403), (["adminn"], 403)])
def test_a_role_is_the_same_in_any_case(tmp_path: Path, roles: list[str], status: int) -> None:
    token = {
        "user": {"id": "u", "domain": DOMAIN},
        "project": {"id": "p1", "domain": DOMAIN},
        "roles": [{"name": name} for name in roles],
        "expires_at": "2999-01-01T00:00:00.000000Z",
    }
    caller = parse_token(token).caller
    with client(tmp_path) as api:
        # AUT-04, AUT-05
        assert api.post("/v2/images", json={"visibility": "public"}, caller=caller).status == status
        may_create = 403 if roles == ["adminn"] else 201
        assert api.post("/v2/images", json={}, caller=caller).status == may_create
