"""Power loss: every acknowledged change was flushed to disk before its response."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from crash_wire import PATCH, Running, Upload, running
from lossy_disk import Disk
from needs import need
from syscalls import Call, calls, order_is_broken, tracing
from uploads import cleanup_round

from ferrotype.admin import consistency as check
from ferrotype.config.read import read
from ferrotype.model.errors import FerrotypeError
from ferrotype.stores.directories import ID_FILE
from ferrotype.testing.client import Client, serving

#: What clients may know of an image: its data, b"" while it is queued, and its name.
Known = dict[str, tuple[bytes, str]]


@dataclass
class Trace:
    """A service's whole life under a tracer. ``known[n]`` is what clients knew after ``n`` answers."""

    root: Path
    options: Path
    calls: list[Call]
    known: list[Known]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trace]:
    strace = need("strace")
    root, home = tmp_path_factory.mktemp("disk"), tmp_path_factory.mktemp("home")
    log = home / "trace"
    known: list[Known] = [{}, {}]  # the first answer is to the question whether the service is there
    with running(
        home, f"sqlite:///{root}/db/base/t.sqlite", folder=root / "data" / "objects", wrapper=tracing(strace, log)
    ) as run:
        live(run, known)
        run.service.kill_all()
        text = log.read_text(errors="replace").splitlines()
        yield Trace(root, run.options, calls(text), known)


def live(run: Running, known: list[Known]) -> None:
    """Do everything once that changes what clients know."""
    chance = random.Random(7)

    def knows(image: str, data: bytes | None, name: str = "") -> None:
        after = {**known[-1], image: (data or b"", name)}
        known.append(after if data is not None else {key: after[key] for key in after if key != image})

    def filled(image: str, data: bytes, name: str) -> None:
        assert run.upload(image, data) == 204
        knows(image, data, name)

    one, two = run.create(name="one"), ""
    knows(one, b"", "one")
    filled(one, chance.randbytes(150_000), "one")
    two = run.create(name="two")
    knows(two, b"", "two")
    patch = json.dumps([{"op": "replace", "path": "/name", "value": "ONE"}]).encode()
    assert run.ask("PATCH", f"/v2/images/{one}", patch, PATCH)[0] == 200
    knows(one, known[-1][one][0], "ONE")
    chunked = Upload(run, two, chance.randbytes(60_000), 0, chunked=True)
    chunked.run()
    assert chunked.status == 204
    knows(two, chunked.data, "two")
    assert run.ask("DELETE", f"/v2/images/{one}")[0] == 204
    knows(one, None)
    three = run.create(name="three")
    knows(three, b"", "three")
    lie = {"Content-Type": "application/octet-stream", "X-OpenStack-Image-Size": "77"}
    assert run.ask("PUT", f"/v2/images/{three}/file", bytes(5000), lie)[0] == 400
    knows(three, b"", "three")
    filled(three, chance.randbytes(9_000), "three")
    assert run.ask("DELETE", f"/v2/images/{two}")[0] == 204
    knows(two, None)


def test_response_is_sent_after_its_data_and_metadata_are_synced(trace: Trace) -> None:
    names = [call.name for call in trace.calls if call.path.startswith(str(trace.root))]
    assert (names.count("link"), names.count("rename")) == (1, 3)  # the ID of the directory, and what was uploaded
    assert names.count("mkdir") == 4
    assert order_is_broken(trace.calls, trace.root) == []


def without(name: str, path: str) -> Callable[[list[Call]], list[Call]]:
    """Return what takes the last call of this name and end of path away."""

    def doctor(found: list[Call]) -> list[Call]:
        last = max(n for n, call in enumerate(found) if call.name == name and call.path.endswith(path))
        return found[:last] + found[last + 1 :]

    return doctor


def hurried(found: list[Call]) -> list[Call]:
    """Send the last answer before the last sync of the log has ended, though after it began."""
    sync = [call for call in found if call.path.endswith("-wal") and call.is_sync][-1]
    return [
        replace(call, begin=sync.begin, end=sync.end) if call.end > sync.end and call.path == "socket:[1]" else call
        for call in found
    ]


WHOLE = [
    Call(1, 1, "mkdir", "/d/objects"),
    Call(2, 2, "fsync", "/d"),
    Call(3, 3, "write", "socket:[1]", data=b"HTTP/1.1 200 OK"),
    Call(4, 4, "pwrite64", "/d/t.sqlite-wal", data=b"row"),
    Call(5, 5, "fdatasync", "/d/t.sqlite-wal"),
    Call(6, 6, "openat", "/d/objects/.a.part", flags="O_CREAT"),
    Call(7, 7, "writev", "/d/objects/.a.part", data=b"bytes"),
    Call(8, 8, "fsync", "/d/objects/.a.part"),
    Call(9, 9, "rename", "/d/objects/.a.part", "/d/objects/a"),
    Call(10, 10, "fsync", "/d/objects"),
    Call(11, 11, "pwrite64", "/d/t.sqlite-wal", data=b"commit"),
    Call(12, 13, "fdatasync", "/d/t.sqlite-wal"),
    Call(14, 14, "write", "socket:[1]", data=b"HTTP/1.1 204 No Content"),
    Call(15, 15, "unlink", "/d/objects/a"),
    Call(16, 16, "fsync", "/d/objects"),
    Call(17, 17, "write", "socket:[1]", data=b"HTTP/1.1 204 No Content"),
]


@pytest.mark.parametrize(
    ("doctor", "complaint"),
    [
        (lambda found: found, None),
        (without("fsync", "/d"), "mkdir of /d/objects was not made durable"),
        (lambda found: found[:4] + found[5:], "before the ledger's row was on the disk"),
        (without("fsync", ".part"), "got its name before its bytes were on the disk"),
        (lambda found: found[:9] + found[10:14], "the commit of /d/objects/a began before its name"),
        (without("fdatasync", "-wal"), "was sent before the database's log was on the disk"),
        (hurried, "was sent before the database's log was on the disk"),
        (without("fsync", "/objects"), "unlink of /d/objects/a was not made durable"),
    ],
)
def test_order_check_detects_a_missing_sync(
    doctor: Callable[[list[Call]], list[Call]], complaint: str | None
) -> None:
    found = order_is_broken(doctor(WHOLE), Path("/d"))
    assert found == [] if complaint is None else complaint in " ".join(found)


def test_strace_log_is_ordered_by_completion() -> None:
    lines = [
        r"7  fsync(3<\x2f\x61> <unfinished ...>",
        r'8  renameat(4<\x2f\x64>, "\x62", 4<\x2f\x64>, "\x63") = 0',
        r"7  <... fsync resumed>)              = 0",
        r'8  unlink("\x2f\x62")                = -1 ENOENT (No such file or directory)',
        r'8  writev(5<\x2f\x65>, [{iov_base="\x68\x69", iov_len=2}, {iov_base="\x21", iov_len=1}], 2) = 3',
        r'8  openat(4<\x2f\x64>, "\x66", O_WRONLY|O_CREAT|O_EXCL, 0640) = 6<\x2f\x64\x2f\x66>',
        r'8  pwrite64(6<\x2f\x64\x2f\x66>, "\x68\x69", 2, 4096) = 2',
        "+++ killed by SIGKILL +++",
    ]
    assert calls(lines) == [
        Call(1, 1, "rename", "/d/b", "/d/c"),
        Call(0, 2, "fsync", "/a"),
        Call(4, 4, "writev", "/e", data=b"hi!"),
        Call(5, 5, "openat", "/d/f", flags=", O_WRONLY|O_CREAT|O_EXCL, 0640"),
        Call(6, 6, "pwrite64", "/d/f", data=b"hi", offset=4096),
    ]


def test_power_loss_at_any_moment_keeps_acknowledged_changes(trace: Trace, request: pytest.FixtureRequest) -> None:
    rounds = request.config.getoption("--crash-rounds")
    begins = next(n for n, call in enumerate(trace.calls) if call.data.startswith(b"HTTP/1.1 "))
    telling = [n for n, call in enumerate(trace.calls) if n >= begins and is_telling(call, trace.root)]
    chance = random.Random(request.config.getoption("--crash-seed") or 11)
    moments = {n: None for n in telling if trace.calls[n].data.startswith(b"HTTP/1.1 ")}
    moments |= {n: random.Random(n) for n in chance.sample(telling, min(len(telling), rounds))}
    disk, answers = Disk(trace.root), 0
    for number, call in enumerate(trace.calls):
        disk.take(call)
        answers += call.data.startswith(b"HTTP/1.1 ")
        if number in moments:
            for luck in (None, random.Random(number)) if moments[number] else (None,):
                power_cut(trace, disk, luck, answers)


@pytest.mark.parametrize(("name", "path"), [("fsync", ".part"), ("fsync", "/objects"), ("fdatasync", "-wal")])
def test_power_loss_simulation_detects_a_missing_flush(trace: Trace, name: str, path: str) -> None:
    fourth = [n for n, call in enumerate(trace.calls) if call.data.startswith(b"HTTP/1.1 ")][3]
    disk = Disk(trace.root)
    for call in trace.calls[: fourth + 1]:
        if call.name != name or not call.path.endswith(path):
            disk.take(call)
    with pytest.raises((AssertionError, FerrotypeError)):
        power_cut(trace, disk, None, 4)


def is_telling(call: Call, root: Path) -> bool:
    """Whether the disk or what is known of it changed by this call."""
    inside = str(root) in call.path and not call.path.endswith("-shm")
    return call.data.startswith(b"HTTP/1.1 ") or (inside and (call.name != "openat" or "O_CREAT" in call.flags))


def power_cut(trace: Trace, disk: Disk, luck: random.Random | None, answers: int) -> None:
    shutil.rmtree(trace.root)
    disk.write_to(trace.root, luck)
    known = trace.known[answers : answers + 2]  # what is under way may have happened or not
    with serving(read([trace.options], [], {})) as api:
        found = look(api)
        images = {image for each in known for image in each}
        for image in images:
            assert found.get(image) in [each.get(image) for each in known], (answers, image)
        assert found.keys() <= images
        api.run(cleanup_round(api.application.ctx))
        assert api.run(check.differences(api.application.ctx, False)) == []
        folder = trace.root / "data" / "objects"
        files = sorted(path.name for path in folder.glob("*") if path.name != ID_FILE)
        assert len(files) == sum(data != b"" for data, _ in found.values()), files
        for image, (data, _) in found.items():
            if not data:
                refilled = api.put(
                    f"/v2/images/{image}/file", body=b"again", headers={"content-type": "application/octet-stream"}
                )
                assert refilled.status == 204


def look(api: Client) -> Known:
    found: Known = {}
    documents: list[Any] = api.get("/v2/images").json["images"]
    for document in documents:
        assert document["status"] in ("queued", "active")
        active = document["status"] == "active"
        data = api.get(f"/v2/images/{document['id']}/file").body if active else b""
        found[document["id"]] = data, document["name"]
    return found
