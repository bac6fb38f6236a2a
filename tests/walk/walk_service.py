"""The service that is walked through: its deployment, two connections, and what was counted."""

import itertools
import time
from collections import Counter
from typing import Any

from hypothesis import note
from walk_records import ADMIN, BYTES, CAP, IMAGES, MEMBERS, MIB, PROPERTIES, TAGS, Who

from ferrotype.testing.callers_process import ConsistencyChecker, KeepAliveClient
from ferrotype.testing.client import PATCH, Reply

OPTIONS = f"""
image_tag_quota = {TAGS}
image_property_quota = {PROPERTIES}
image_member_quota = {MEMBERS}
image_size_cap = {CAP}
"""
LIMITS = {
    "image_size_total": BYTES // MIB, "image_count_total": IMAGES, "image_stage_total": 1, "image_count_uploading": 2,
}  # fmt: skip


class Service:
    """The service, asked over two connections in turn, and what was counted."""

    def __init__(self, port: int, account: ConsistencyChecker):
        self.account = account
        self._connections = itertools.cycle([KeepAliveClient(port), KeepAliveClient(port)])
        self.steps: Counter[str] = Counter()
        self.walks = 0

    def ask(self, method: str, path: str, who: Who, **options: Any) -> Reply:
        reply = next(self._connections)(method, path, who.token, **options)
        note(f"    {method} {path} by {who}: {reply.status} {reply.text[:200] if reply.status >= 400 else ''}")
        return reply

    def sweep(self) -> None:
        """Delete every image."""
        for hidden in ("false", "true"):
            listed = self.ask("GET", f"/v2/images?visibility=all&limit=1000&os_hidden={hidden}", ADMIN).json
            for image in listed["images"]:
                if image["protected"]:
                    change = [{"op": "replace", "path": "/protected", "value": False}]
                    self.ask("PATCH", image["self"], ADMIN, json=change, headers={"Content-Type": PATCH})
                assert self.ask("DELETE", image["self"], ADMIN).status == 204


def now() -> str:
    # Without an argument gmtime() reads a coarser clock, which is late by milliseconds.
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time()))
