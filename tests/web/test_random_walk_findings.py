"""Defects that random walks found, as plain tests."""

from pathlib import Path

from ferrotype.testing.client import MEMBER, OWNER, READER, client


def test_the_status_of_a_missing_member_cannot_be_set(tmp_path: Path) -> None:
    with client(tmp_path) as api:
        path = api.image(caller=OWNER)["self"]
        accept = {"status": "accepted"}
        # IMG-MEM-10: unknown before not allowed, also for a project that sees the image without being a member.
        for caller, project in ((OWNER, "p1"), (READER, "p1"), (OWNER, "p9"), (MEMBER, "p9")):
            assert api.put(f"{path}/members/{project}", json=accept, caller=caller).status == 404
        assert api.post(f"{path}/members", json={"member": "p1"}, caller=OWNER).status == 200
        assert api.put(f"{path}/members/p1", json=accept, caller=READER).status == 403
        assert api.put(f"{path}/members/p1", json=accept, caller=OWNER).status == 403  # owner before member
        private = api.image(caller=OWNER, visibility="private")["self"]
        # IMG-MEM-06
        assert api.put(f"{private}/members/p1", json=accept, caller=OWNER).status == 403
