"""HTTP as it is: for what tests have to prepare, and for what no client library lets one send."""

import http.client
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

OCTETS = "application/octet-stream"


class Answer(NamedTuple):
    """An answer. ``headers`` are by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)


class Plain:
    """Asks the service at ``url``."""

    def __init__(self, url: str) -> None:
        self._netloc = urlsplit(url).netloc

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask once. A body that is no bytes is sent chunked."""
        connection = http.client.HTTPConnection(self._netloc, timeout=60)
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, data)

    def image(self, data: bytes | None = None, **attributes: Any) -> str:
        """Make an image, raw by default, active if it is given data, and return its id."""
        document = {"disk_format": "raw", "container_format": "bare"} | attributes
        made = self.ask("POST", "/v2/images", msgspec.json.encode(document), {"Content-Type": "application/json"})
        assert made.status == 201, made
        image_id: str = made.json["id"]
        if data is not None:
            put = self.ask("PUT", f"/v2/images/{image_id}/file", data, {"Content-Type": OCTETS})
            assert put.status == 204, put
        return image_id

    def show(self, image_id: str) -> Any:
        """Return an image as the API shows it."""
        answer = self.ask("GET", f"/v2/images/{image_id}")
        assert answer.status == 200, answer
        return answer.json

    def status_of(self, image_id: str) -> int:
        """Return what a GET of the image is answered with."""
        return self.ask("GET", f"/v2/images/{image_id}").status
