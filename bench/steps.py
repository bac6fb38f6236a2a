"""The steps: what is asked of a service, in the order in which it is asked."""

import itertools
import json
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from bench.load import PIECE, Call, Refused, Target

#: Images that one round makes at most: a service that is in use should not be flooded.
MOST_MADE = 5000
SMALL = 4096
NAME = "ferrotype-bench"

_BODY: dict[str, Any] = {
    "name": NAME,
    "disk_format": "raw",
    "container_format": "bare",
    "visibility": "private",
    "tags": ["bench", "small", "short-lived"],
    "architecture": "x86_64",
    "os_type": "linux",
    "os_distro": "debian",
    "os_version": "12",
    "hw_disk_bus": "virtio",
    "hw_vif_model": "virtio",
    "hw_machine_type": "q35",
    "hw_qemu_guest_agent": "yes",
    "team": "bench",
    "description": "Made to measure with, and removed afterwards.",
}
_PATCH = "application/openstack-images-v2.1-json-patch"
#: The same bytes on every run, and of no disk format.
DATA = random.Random(1).randbytes(PIECE)  # noqa: S311  no secret


@dataclass
class Subject:
    """A service under measurement: how to reach it, whose CPU to count, and which images it has."""

    name: str
    revision: str
    target: Target
    pid: int | None
    database_pid: int | None
    there: list[str] = field(default_factory=list)
    filter: tuple[str, str] = ("", "")
    #: made here, without data
    made: deque[str] = field(default_factory=deque)
    #: made here, with data
    filled: list[str] = field(default_factory=list)

    def look(self) -> None:
        """Find images to ask for, and a property that some of them have."""
        page = json.loads(self.target.ask(Call("GET", "/v2/images?limit=1000")).body)["images"]
        if not page:
            raise Refused(f"{self.target.url} has no images to list and show; give it some, or see ferrotype seed")
        self.there = [image["id"] for image in page]
        self.filter = common_property(page)

    def create(self) -> str:
        """Make an image for a file, and return its id."""
        body = json.dumps(_BODY).encode()
        answer = self.target.ask(Call("POST", "/v2/images", body, "application/json", (201,)))
        image_id: str = json.loads(answer.body)["id"]
        self.filled.append(image_id)
        return image_id

    def remove(self, image_id: str) -> None:
        """Delete an image that ``create`` made."""
        self.target.ask(Call("DELETE", f"/v2/images/{image_id}", expected=(204, 404)))
        self.filled.remove(image_id)


def common_property(images: list[Mapping[str, Any]]) -> tuple[str, str]:
    """Return a property that these images have in common, as near to 25 of them as there is one."""
    known = {"id", "name", "self", "file", "schema", "checksum", "owner", "visibility", "status", "stores"}
    known |= {"disk_format", "container_format", "os_hash_algo", "os_hash_value", "created_at", "updated_at"}
    counts = Counter(
        (name, value)
        for image in images
        for name, value in image.items()
        if isinstance(value, str) and name not in known
    )
    if not counts:
        return ("os_distro", "debian")
    return min(counts, key=lambda pair: (abs(counts[pair] - 25), pair))


# Each step takes the subject and yields its requests.


def versions(subject: Subject) -> Iterator[Call]:
    return itertools.repeat(Call("GET", "/versions"))


def discovery(subject: Subject) -> Iterator[Call]:
    return itertools.repeat(Call("GET", "/v2/info/import"))


def show(subject: Subject) -> Iterator[Call]:
    return (Call("GET", f"/v2/images/{image_id}") for image_id in itertools.cycle(subject.there))


def list_25(subject: Subject) -> Iterator[Call]:
    return itertools.repeat(Call("GET", "/v2/images?limit=25"))


def list_1000(subject: Subject) -> Iterator[Call]:
    return itertools.repeat(Call("GET", "/v2/images?limit=1000"))


def list_filtered(subject: Subject) -> Iterator[Call]:
    name, value = subject.filter
    return itertools.repeat(Call("GET", f"/v2/images?limit=25&{quote(name)}={quote(value)}"))


def create(subject: Subject) -> Iterator[Call]:
    body = json.dumps(_BODY).encode()
    return itertools.repeat(Call("POST", "/v2/images", body, "application/json", (201,)), MOST_MADE)


def patch(subject: Subject) -> Iterator[Call]:
    for count in itertools.count() if subject.made else ():
        body = json.dumps([{"op": "add", "path": "/team", "value": f"team-{count}"}]).encode()
        yield Call("PATCH", f"/v2/images/{subject.made[count % len(subject.made)]}", body, _PATCH)


def small_upload(subject: Subject) -> Iterator[Call]:
    for _ in range(len(subject.made) // 2):  # The other half is for deleting.
        subject.filled.append(subject.made.popleft())
        path = f"/v2/images/{subject.filled[-1]}/file"
        yield Call("PUT", path, DATA[:SMALL], "application/octet-stream", (204,))


def delete(subject: Subject) -> Iterator[Call]:
    while subject.made:
        yield Call("DELETE", f"/v2/images/{subject.made.popleft()}", expected=(204,))


@dataclass(frozen=True)
class Step:
    """A step with small requests. ``repeats``: it may be begun for a moment before it is measured."""

    calls: Callable[[Subject], Iterator[Call]]
    repeats: bool = True
    writes: bool = False


STEPS: Mapping[str, Step] = {
    "versions": Step(versions),
    "discovery": Step(discovery),
    "show": Step(show),
    "list 25": Step(list_25),
    "list 1000": Step(list_1000),
    "list by property": Step(list_filtered),
    "create": Step(create, repeats=False, writes=True),
    "patch": Step(patch, writes=True),
    "small upload": Step(small_upload, repeats=False, writes=True),
    "delete": Step(delete, repeats=False, writes=True),
}
FILE_STEPS = ("upload", "download")
