"""The access matrix: every route, requested by every kind of caller, for every visibility and status of an image.

The answers are one line for each (route, visibility, status) and one column for each caller, so that a change
of the rules is a readable change of ``tests/golden/access.txt``. How a caller asks is given: in process, or over
a socket with tokens of an identity service.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from ferrotype.testing.client import OCTETS, PATCH
from ferrotype.web.routes import ROUTES

VISIBILITIES = ("private", "shared", "community", "public")
STATUSES = ("queued", "active", "deactivated", "hidden", "deleted")
#: Callers by name: the test decides what they are in the deployment.
CALLERS = (
    "admin", "owner", "reader", "otherrole", "stranger", "accepted", "pending", "rejected", "service",
    "unscoped", "system", "anonymous",
)  # fmt: skip
MEMBERS = ("accepted", "pending", "rejected")

#: (caller, method, path, headers, body) -> status
Ask = Callable[[str, str, str, Mapping[str, str], bytes | None], tuple[int, bytes]]


class Call(NamedTuple):
    """One request of the matrix. ``path`` is the route's; ``sent`` what is put for its parameters but the image."""

    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = {}
    sent: Mapping[str, str] = {}
    note: str = ""

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}" + (f" {self.note}" if self.note else "")


def patch(name: str, value: Any, note: str) -> Call:
    step = {"op": "add", "path": f"/{name}", "value": value}
    return Call("PATCH", "images/{image_id}", [step], {"content-type": PATCH}, note=note)


IMAGE_CALLS = (
    Call("GET", "images/{image_id}"),
    patch("name", "new", "name"),
    patch("visibility", "public", "public"),
    patch("visibility", "community", "community"),
    patch("owner", "somebody", "owner"),
    patch("locations/-", {"url": "file:///etc/passwd", "metadata": {}}, "location"),
    Call("DELETE", "images/{image_id}"),
    Call("GET", "images/{image_id}/file"),
    Call("GET", "images/{image_id}/file?prefer=cheap", note="prefer"),
    Call("PUT", "images/{image_id}/file", b"x", {"content-type": OCTETS}),
    Call("PUT", "images/{image_id}/stage", b"x", {"content-type": OCTETS}),
    Call("POST", "images/{image_id}/import", {"method": {"name": "web-download"}}),
    Call("POST", "images/{image_id}/actions/deactivate"),
    Call("POST", "images/{image_id}/actions/reactivate"),
    Call("PUT", "images/{image_id}/tags/{tag}", sent={"tag": "new"}),
    Call("DELETE", "images/{image_id}/tags/{tag}", sent={"tag": "old"}),
    Call("GET", "images/{image_id}/members"),
    Call("POST", "images/{image_id}/members", {"member": "new"}),
    Call("GET", "images/{image_id}/members/{member_id}", sent={"member_id": "accepted"}),
    Call("PUT", "images/{image_id}/members/{member_id}", {"status": "accepted"}, sent={"member_id": "pending"}),
    Call("DELETE", "images/{image_id}/members/{member_id}", sent={"member_id": "rejected"}),
    Call("GET", "images/{image_id}/locations"),
    Call("POST", "images/{image_id}/locations", {"url": "file:///etc/passwd"}),
    Call("GET", "images/{image_id}/tasks"),
    Call("DELETE", "stores/{store_id}/{image_id}", sent={"store_id": "fast"}),
)
OTHER_CALLS = (
    Call("GET", "images"),
    Call("POST", "images", {"name": "x"}),
    Call("POST", "images", {"name": "x", "visibility": "public"}, note="public"),
    Call("POST", "images", {"name": "x", "visibility": "community"}, note="community"),
    Call("POST", "images", {"name": "x", "owner": "somebody"}, note="owner"),
    Call("GET", "schemas/image"),
    Call("GET", "schemas/images"),
    Call("GET", "schemas/member"),
    Call("GET", "schemas/members"),
    Call("GET", "info/import"),
    Call("GET", "info/stores"),
    Call("GET", "info/stores/detail"),
    Call("GET", "info/usage"),
)


def untried() -> set[str]:
    """Return the routes of the API that no call of the matrix tries."""
    tried = {f"{call.method} {call.path.partition('?')[0]}" for call in (*IMAGE_CALLS, *OTHER_CALLS)}
    return {f"{method} {path}" for path, methods in ROUTES.items() for method in methods} - tried


class Matrix:
    """Asks everything. ``project`` gives the project of a caller; the image's owner is the project of ``owner``."""

    def __init__(self, ask: Ask, project: Callable[[str], str]):
        self._ask = ask
        self._project = project
        self._ready: dict[tuple[str, str], str] = {}

    def lines(self) -> list[str]:
        """Return the whole table."""
        width = max(len(call.name) for call in (*IMAGE_CALLS, *OTHER_CALLS))
        found = [f"{'':{width}} {'visibility':10} {'status':11} " + " ".join(f"{name:9}" for name in CALLERS)]

        def row(call: Call, visibility: str, status: str, answers: list[str]) -> str:
            cells = " ".join(f"{answer:9}" for answer in answers)
            return f"{call.name:{width}} {visibility:10} {status:11} {cells}".rstrip()

        for call in OTHER_CALLS:
            found.append(row(call, "-", "-", [str(self._status(caller, call, "")) for caller in CALLERS]))
        listed = Call("GET", "images", note="has it")
        for visibility in VISIBILITIES:
            for status in STATUSES:
                found.append(row(listed, visibility, status, [self._lists(c, visibility, status) for c in CALLERS]))
        for call in IMAGE_CALLS:
            for visibility in VISIBILITIES:
                for status in STATUSES:
                    answers = [str(self._cell(call, caller, visibility, status)) for caller in CALLERS]
                    found.append(row(call, visibility, status, answers))
        return found

    def _lists(self, caller: str, visibility: str, status: str) -> str:
        image = self._image(visibility, status)
        code, body = self._ask(caller, "GET", "/v2/images?limit=1000", {}, None)
        if code != 200:
            return str(code)
        return "yes" if any(each["id"] == image for each in msgspec.json.decode(body)["images"]) else "no"

    def _cell(self, call: Call, caller: str, visibility: str, status: str) -> int:
        answer = self._status(caller, call, self._image(visibility, status))
        if answer < 300 and call.method != "GET":  # It did something: the next one gets an image of its own.
            del self._ready[visibility, status]
        return answer

    def _status(self, caller: str, call: Call, image: str) -> int:
        path = call.path.replace("{image_id}", image)
        for name, value in call.sent.items():
            path = path.replace(f"{{{name}}}", self._project(value) if name == "member_id" else value)
        body = call.body if isinstance(call.body, bytes) or call.body is None else msgspec.json.encode(call.body)
        return self._ask(caller, call.method, f"/v2/{path}", call.headers, body)[0]

    def _image(self, visibility: str, status: str) -> str:
        """Return an image of this kind; made anew when the last one was used up."""
        if (visibility, status) not in self._ready:
            self._ready[visibility, status] = self._make(visibility, status)
        return self._ready[visibility, status]

    def _make(self, visibility: str, status: str) -> str:
        document = {
            "owner": self._project("owner"), "visibility": "shared", "tags": ["old"],
            "disk_format": "raw", "container_format": "bare", "os_hidden": status == "hidden",
        }  # fmt: skip
        image: str = msgspec.json.decode(self._set_up("POST", "/v2/images", document))["id"]
        path = f"/v2/images/{image}"
        for member in MEMBERS:
            self._set_up("POST", f"{path}/members", {"member": self._project(member)})
            self._set_up("PUT", f"{path}/members/{self._project(member)}", {"status": member})
        if visibility != "shared":
            step = [{"op": "replace", "path": "/visibility", "value": visibility}]
            self._set_up("PATCH", path, step, {"content-type": PATCH})
        if status != "queued":
            self._set_up("PUT", f"{path}/file", b"data", {"content-type": OCTETS})
        if status == "deactivated":
            self._set_up("POST", f"{path}/actions/deactivate", None)
        if status == "deleted":
            self._set_up("DELETE", path, None)
        return image

    def _set_up(self, method: str, path: str, body: Any, headers: Mapping[str, str] | None = None) -> bytes:
        sent = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
        code, answer = self._ask("admin", method, path, headers or {}, sent)
        if code >= 300:
            raise AssertionError(f"setting up: {method} {path} answered {code}: {answer!r}")
        return answer
