"""The access matrix: equal to the golden file, and complete."""

import os
from pathlib import Path

import pytest
from matrix import Matrix, untried

from ferrotype.model.caller import Caller
from ferrotype.testing.client import client, person

GOLDEN = Path(__file__).parents[1] / "golden" / "access.txt"
PEOPLE = {
    "admin": person("admins", "admin", "member", "reader"),
    "owner": person("owner", "member", "reader"),
    "reader": person("owner", "reader"),
    "otherrole": person("owner", "auditor"),
    "stranger": person("stranger", "member", "reader"),
    "accepted": person("accepted", "member", "reader"),
    "pending": person("pending", "member", "reader"),
    "rejected": person("rejected", "member", "reader"),
    "service": person("services", "service"),
    "unscoped": person(None, "member", "reader"),
    "system": Caller(user="s", system="all", roles=frozenset({"admin", "member", "reader"})),
    "anonymous": Caller(anonymous=True),
}


def test_every_route_is_tried_by_the_matrix():
    assert untried() == set()  # SEC-64


@pytest.mark.slow
def test_the_access_matrix_is_the_golden_one(tmp_path):
    with client(tmp_path) as api:

        def ask(caller, method, path, headers, body):
            reply = api.request(method, path, caller=PEOPLE[caller], headers=headers, body=body)
            return reply.status, reply.body

        found = "\n".join(Matrix(ask, lambda name: PEOPLE[name].project or "").lines()) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(found)
    # SEC-64, IMG-POL-01 to IMG-POL-04, POL-10 to POL-14; UPDATE_GOLDEN=1 writes what runs, to be read as a change.
    assert found.splitlines() == GOLDEN.read_text().splitlines()
