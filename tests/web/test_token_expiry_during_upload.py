"""A token is validated when a request begins; the request may outlast it."""

from pathlib import Path

from uploads import PausedBody, assert_consistent, uploading

from ferrotype.testing.client import OWNER, client


def test_an_upload_succeeds_although_its_token_expired(tmp_path: Path) -> None:
    with client(tmp_path) as api:
        api.caller = OWNER
        image = api.image()
        with uploading(api, image, PausedBody(b"first", b"last")) as answer:
            api.expire_tokens()
        assert answer.result().status == 204  # IMG-UP-25
        assert api.get(image["self"]).json["status"] == "active"
        assert_consistent(api, tmp_path)
