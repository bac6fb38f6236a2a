"""The golden matrix of access, run with tokens of a real Keystone."""

import http.client
from collections.abc import Mapping
from pathlib import Path

from keystone_service import Keystone, Users, service
from matrix import CALLERS, Matrix

from ferrotype.testing.process import Served

GOLDEN = Path(__file__).parents[1] / "golden" / "access.txt"
ROLES = {
    "admin": ("admin",), "owner": ("member",), "reader": ("reader",), "otherrole": ("auditor",),
    "stranger": ("member",), "accepted": ("member",), "pending": ("member",), "rejected": ("member",),
    "service": ("service",), "unscoped": ("member",),
}  # fmt: skip
#: The golden file's caller without a project has roles; with Keystone there are none without a scope.
OTHERWISE = CALLERS.index("unscoped")


class Callers:
    """Sends requests over one connection, with the token of the named caller."""

    def __init__(self, identity: Keystone, users: Users, served: Served):
        self._connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
        self.projects: dict[str, str] = {}
        self._tokens: dict[str, str] = {"system": users.admin.token(system=True)}
        for name, roles in ROLES.items():
            project = (
                self.projects["owner"] if name in ("reader", "otherrole") else identity.project(f"matrix-{name}")
            )
            user = identity.user(f"matrix-{name}", project, *roles)
            self.projects[name] = project
            self._tokens[name] = user.token(**({"unscoped": True} if name == "unscoped" else {}))

    def ask(
        self, caller: str, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, bytes]:
        token = {"X-Auth-Token": self._tokens[caller]} if caller in self._tokens else {}
        self._connection.request(method, path, body, {**headers, **token})
        answer = self._connection.getresponse()
        return answer.status, answer.read()


def cells(line: str) -> tuple[str, list[str]]:
    """Return the request of a line and its answers, without the column that must differ."""
    words = line.split()
    answers = words[-len(CALLERS) :]
    return " ".join(words[: -len(CALLERS)]), answers[:OTHERWISE] + answers[OTHERWISE + 1 :]


# SEC-64, POL-10 to POL-14
def test_the_matrix_is_the_same_with_tokens(identity: Keystone, users: Users, tmp_path: Path) -> None:
    options = "allow_anonymous_access = true\nshow_multiple_locations = true"
    with service(identity, tmp_path, default=options) as served:
        callers = Callers(identity, users, served)
        found = Matrix(callers.ask, lambda name: callers.projects.get(name, "")).lines()
    agreed = GOLDEN.read_text().splitlines()
    assert [cells(line) for line in found[1:]] == [cells(line) for line in agreed[1:]]
    unscoped = [
        line.split()[-len(CALLERS) :][OTHERWISE] for line in found if " images/" in line or "POST images" in line
    ]
    assert {answer for answer in unscoped if answer < "300"} == set()
