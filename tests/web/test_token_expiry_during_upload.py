"""A token is judged when a request begins, and the request may take longer than it lasts."""

from pathlib import Path

from uploads import Held, settled, uploading

from ferrotype.testing.client import OWNER, client


def test_an_upload_succeeds_although_its_token_expired(tmp_path: Path) -> None:
    with client(tmp_path) as api:
        api.caller = OWNER
        image = api.image()
        with uploading(api, image, Held(b"first", b"last")) as answer:
            api.expire_tokens()
        assert answer.result().status == 204  # IMG-UP-25
        assert api.get(image["self"]).json["status"] == "active"
        settled(api, tmp_path)
