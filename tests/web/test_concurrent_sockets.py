"""Concurrent requests over sockets to two workers: no lost updates, no deadlocks, no 500."""

import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from concurrent_requests import (
    ADMIN,
    MEMBER,
    OTHER,
    OWNER,
    RAW,
    ConcurrentClients,
    call,
    change,
    concurrent_clients,
    put,
)

from ferrotype.testing.client import Reply

ROUNDS = 3
LIMITS = {
    "image_size_total": 4, "image_count_total": 40, "image_stage_total": 1, "image_count_uploading": 5,
}  # fmt: skip


@pytest.fixture(scope="module")
def shared(shared_directory: Path, shared_database_url: str) -> Iterator[ConcurrentClients]:
    options = "image_member_quota = 4\nimage_tag_quota = 10"
    with concurrent_clients(shared_directory, shared_database_url, options=options) as found:
        yield found


@pytest.fixture
def clients(shared: ConcurrentClients) -> Iterator[ConcurrentClients]:
    yield shared
    shared.check_consistency()


def test_changes_of_different_attributes_lose_nothing(clients: ConcurrentClients) -> None:
    for _ in range(ROUNDS):
        path = clients.image()
        names = [f"p{number}" for number in range(12)]
        calls = [change(path, ("add", f"/{name}", name)) for name in names]
        calls += [change(path, ("replace", "/name", "x")), change(path, ("replace", "/min_ram", 7))]
        calls += [call("PUT", f"{path}/tags/t"), call("POST", f"{path}/members", json={"member": "m1"})]
        # IMG-CONC-02, SEC-111
        assert clients.statuses(calls) == {200: 15, 204: 1}
        shown = clients.ask("GET", path, OWNER).json
        assert {name: shown[name] for name in names} == dict(zip(names, names, strict=True))
        assert (shown["name"], shown["min_ram"], shown["tags"]) == ("x", 7, ["t"])
        for name in names:
            found = clients.ask("GET", f"/v2/images?{name}={name}&limit=1", OWNER).json["images"]
            assert [each["self"] for each in found] == [path]


def test_changes_of_the_same_attributes_are_atomic(clients: ConcurrentClients) -> None:
    path = clients.image()
    for round_ in range(ROUNDS):
        values = [f"{round_}-{number}" for number in range(16)]
        calls = [
            change(path, ("add", "/a", value), ("add", "/b", value), ("replace", "/tags", [value]))
            for value in values
        ]
        # SEC-111
        assert clients.statuses(calls) == {200: 16}
        shown = clients.ask("GET", path, OWNER).json
        assert shown["a"] == shown["b"] == shown["tags"][0]
        found = [
            len(clients.ask("GET", f"/v2/images?a={value}&tag={value}", OWNER).json["images"]) for value in values
        ]
        assert found == [int(value == shown["a"]) for value in values]


def test_an_upload_racing_a_delete_leaves_no_data(clients: ConcurrentClients) -> None:
    seen: Counter[int] = Counter()
    for number in range(3 * ROUNDS):
        paths = [clients.image() for _ in range(4)]
        data = bytes(100_000 + number)
        calls = [each for path in paths for each in (put(path, data, pieces=40), call("DELETE", path))]
        replies = clients.send_together(calls)
        # IMG-DEL-01, IMG-DEL-03, IMG-DEL-09, IMG-UP-22
        assert [reply.status for reply in replies[1::2]] == [204] * 4
        assert {reply.status for reply in replies[::2]} <= {204, 404, 410}, [reply.text for reply in replies]
        seen.update(reply.status for reply in replies[::2])
        assert [clients.ask("GET", path, OWNER).status for path in paths] == [404] * 4
        clients.check_consistency()
    assert len(seen) > 1  # Otherwise they did not meet.


def test_downloads_racing_a_delete_see_no_damage(clients: ConcurrentClients) -> None:
    seen: Counter[int] = Counter()
    for _ in range(10 * ROUNDS):
        path = clients.image(b"data")
        reads = [call("GET", f"{path}/file")] * 5
        replies = clients.send_together([*reads, call("DELETE", path), *reads])
        assert replies[5].status == 204
        seen.update(reply.status for reply in replies)
    # IMG-DL-03, IMG-DL-05
    assert set(seen) <= {200, 204, 404}
    assert "missing or damaged" not in clients.service.log.read_text()


def test_of_concurrent_uploads_one_is_stored(clients: ConcurrentClients) -> None:
    for _ in range(2 * ROUNDS):
        path = clients.image()
        bodies = [bytes([65 + number]) * 50_000 for number in range(8)]
        replies = clients.send_together(
            [put(path, body, pieces=number % 2 * 20) for number, body in enumerate(bodies)]
        )
        # IMG-CONC-03, IMG-UP-09
        assert sorted(reply.status for reply in replies) == [204] + [409] * 7
        winner = next(body for body, reply in zip(bodies, replies, strict=True) if reply.status == 204)
        assert clients.ask("GET", f"{path}/file", OWNER).body == winner


def test_concurrent_tags_are_all_kept_within_the_limit(clients: ConcurrentClients) -> None:
    for _ in range(ROUNDS):
        path = clients.image()
        assert clients.statuses([call("PUT", f"{path}/tags/t{number % 8}") for number in range(16)]) == {204: 16}
        assert sorted(clients.ask("GET", path, OWNER).json["tags"]) == [f"t{number}" for number in range(8)]
        # IMG-TAG-03
        assert clients.statuses([call("PUT", f"{path}/tags/more{number}") for number in range(8)]) == {204: 2, 413: 6}
        # IMG-TAG-01
        assert clients.statuses([call("DELETE", f"{path}/tags/t0")] * 8) == {204: 1, 404: 7}
        storm = [call("DELETE" if number % 2 else "PUT", f"{path}/tags/t1") for number in range(16)]
        assert set(clients.statuses(storm)) <= {204, 404}
        tags = clients.ask("GET", path, OWNER).json["tags"]
        listed = clients.ask("GET", "/v2/images?tag=t1&limit=1000", OWNER).json["images"]
        assert (path in [each["self"] for each in listed]) == ("t1" in tags)


def test_a_member_is_added_once(clients: ConcurrentClients) -> None:
    for _ in range(ROUNDS):
        path = clients.image()
        members = f"{path}/members"
        # IMG-MEM-04
        assert clients.statuses([call("POST", members, json={"member": "m1"})] * 8) == {200: 1, 409: 7}
        answers = [
            call("PUT", f"{members}/m1", MEMBER, json={"status": "accepted" if number % 2 else "rejected"})
            for number in range(8)
        ]
        assert clients.statuses(answers) == {200: 8}
        assert clients.statuses([call("DELETE", f"{members}/m1")] * 8) == {204: 1, 404: 7}
        # IMG-MEM-05
        crowded = [call("POST", members, json={"member": f"n{number}"}) for number in range(8)]
        assert clients.statuses(crowded) == {200: 4, 413: 4}
        assert len(clients.ask("GET", members, OWNER).json["members"]) == 4


def test_an_id_is_used_once_and_deleted_once(clients: ConcurrentClients) -> None:
    for number in range(ROUNDS):
        document = RAW | {"id": f"5f1c4a52-6f1a-4b0e-9c38-{number:012d}", "tags": ["t"], "a": "x"}
        # IMG-ENT-01
        assert clients.statuses([call("POST", "/v2/images", json=document)] * 8) == {201: 1, 409: 7}
        path = f"/v2/images/{document['id']}"
        assert put(path, b"data")(clients.ask).status == 204
        # IMG-DEL-01
        assert clients.statuses([call("DELETE", path)] * 8) == {204: 1, 404: 7}
        assert clients.statuses([call("POST", "/v2/images", json=document)] * 4) == {409: 4}
        clients.check_consistency()


def test_concurrent_deactivate_and_reactivate_end_in_one_status(clients: ConcurrentClients) -> None:
    path = clients.image(b"data")
    for _ in range(ROUNDS):
        calls = [call("POST", f"{path}/actions/{'de' if number % 2 else 're'}activate") for number in range(16)]
        # IMG-STM-24
        assert clients.statuses(calls) == {204: 16}
        assert clients.ask("GET", path, OWNER).json["status"] in ("active", "deactivated")


@pytest.fixture
def limited(tmp_path: Path, database_url: str) -> Iterator[ConcurrentClients]:
    # Fewer connections to the database than requests: no request may hold one while it waits for a second (deadlock).
    options = "[database]\nmax_pool_size = 2"
    with concurrent_clients(tmp_path, database_url, limits=LIMITS, options=options) as found:
        yield found


def usage(clients: ConcurrentClients, token: str, name: str) -> int:
    found: int = clients.ask("GET", "/v2/info/usage", token).json["usage"][name]["usage"]
    return found


def test_limits_hold_under_concurrency(limited: ConcurrentClients) -> None:
    clients = limited
    for _ in range(30):
        clients.image()
    # QUO-22, QUO-26, QUO-30, SEC-87
    assert clients.statuses([call("POST", "/v2/images", json=RAW)] * 16) == {201: 10, 413: 6}
    assert usage(clients, OWNER, "image_count_total") == 40
    paths = [each["self"] for each in clients.ask("GET", "/v2/images?limit=16", OWNER).json["images"]]
    third = bytes(1_398_101)
    for pieces in (0, 30):
        replies = clients.send_together([put(path, third, pieces=pieces) for path in paths])
        stored = [path for path, reply in zip(paths, replies, strict=True) if reply.status == 204]
        # Those of unknown size may all be refused; the quota is never exceeded.
        assert len(stored) <= 3
        assert {reply.status for reply in replies} <= {204, 413}
        clients.check_consistency()
        for path in stored:
            assert clients.ask("DELETE", path, OWNER).status == 204
        paths = [path for path in paths if path not in stored]
    # What was refused can be repeated, and then fits.
    assert [put(path, third)(clients.ask).status for path in paths[:4]] == [204, 204, 204, 413]
    assert usage(clients, OWNER, "image_size_total") == 3
    clients.check_consistency()


def test_mixed_concurrent_requests_do_not_deadlock(limited: ConcurrentClients) -> None:
    clients = limited
    paths = [clients.image(token=(OWNER, OTHER)[number % 2]) for number in range(6)]
    slowest: list[float] = []
    seen: Counter[str] = Counter()
    turn = threading.Lock()

    def storm(number: int) -> None:
        choice, ask = random.Random(number), clients.connections[number]
        for _ in range(60):
            path, token = choice.choice(paths), choice.choice([OWNER, OTHER, ADMIN, ADMIN])
            data = bytes(choice.choice([100, 200_000]))
            kind, request = choice.choice(
                [
                    ("upload", put(path, data, token, pieces=choice.choice([0, 5]))),
                    ("upload", put(path, data, token)),
                    ("give", change(path, ("replace", "/owner", choice.choice(["p1", "p2", "p3"])), token=ADMIN)),
                    ("change", change(path, ("add", "/a", str(number)), ("replace", "/tags", ["t"]), token=token)),
                    ("tag", call(choice.choice(["PUT", "DELETE"]), f"{path}/tags/t{number % 3}", token)),
                    ("member", call("POST", f"{path}/members", token, json={"member": "m1"})),
                    ("member", call("DELETE", f"{path}/members/m1", token)),
                    ("member", call("PUT", f"{path}/members/m1", MEMBER, json={"status": "accepted"})),
                    ("action", call("POST", f"{path}/actions/{choice.choice(['de', 're'])}activate", token)),
                    ("list", call("GET", "/v2/images?visibility=all&sort=name:asc&tag=t", token)),
                    ("download", call("GET", f"{path}/file", token)),
                    ("usage", call("GET", "/v2/info/usage", token)),
                    ("delete", call("DELETE", path, token)),
                ]
            )  # fmt: skip
            began = time.monotonic()
            reply: Reply = request(ask)
            took = time.monotonic() - began
            with turn:
                slowest.append(took)
                seen[f"{kind} {reply.status}"] += 1
            assert reply.status < 500, (kind, reply.text)
            if kind == "delete" and reply.status == 204:
                made = ask("POST", "/v2/images", choice.choice([OWNER, OTHER]), json=RAW)
                assert made.status == 201, made.text
                paths[paths.index(path)] = made.json["self"]

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(storm, range(16)))
    print(dict(sorted(seen.items())), f"slowest {max(slowest):.2f} s")
    clients.check_consistency()
    assert usage(clients, OWNER, "image_count_uploading") == 0
    assert {"upload 204", "give 200", "delete 204"} <= seen.keys()
    # No request waited for the timeout of another one.
    assert max(slowest) < 15 + 20 * statistics.median(slowest)
