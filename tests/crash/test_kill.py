"""SIGKILL at any moment: acknowledged changes persist, unfinished ones are rolled back, nothing is stuck."""

import os
import random
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crash_wire import Running, Upload, eventually, grow_up, running
from needs import need

#: What an upload is doing when the service dies: (how long the body takes, what is waited for, how much longer).
PHASES: dict[str, tuple[float, str, float]] = {
    "head": (0.2, "connected", 0.02),
    "body": (0.4, "connected", 0.4),
    "end of the body": (0.2, "half", 0.15),
    "hash, fsync, rename": (0.0, "sent", 0.05),  # the whole body at once, so that there is something to do
    "commit, answer": (0.0, "sent", 0.1),
}
MIB = 1024 * 1024
#: Longest time from the moment a killed service answers again until nothing is left of what it was doing.
BOUND = 60.0


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    given = request.config.getoption("--crash-seed")
    chosen: int = secrets.randbelow(10**6) if given is None else given
    print(f"--crash-seed {chosen}")
    return chosen


def test_sigkill_during_uploads_keeps_acknowledged_data_and_leaves_no_orphans(
    tmp_path: Path, database_url: str, seed: int, request: pytest.FixtureRequest
) -> None:
    rounds = -(-request.config.getoption("--crash-rounds") // 2)
    database = database_url.partition(":")[0]
    moments = random.Random(f"{seed} {database}")
    kept: dict[str, bytes] = {}
    with running(tmp_path, database_url, "--workers", "2") as run:
        for number in range(rounds):
            phase = list(PHASES)[number % len(PHASES)]
            whom = "worker" if number // len(PHASES) % 2 == (database == "sqlite") else "tree"
            print(number, phase, whom, kill_during_uploads(run, moments, phase, whom, kept))
        for image, data in kept.items():
            assert run.data(image) == data
        checked = run.service.command("check", "--config-file", str(run.options))
        assert (checked.returncode, checked.stdout) == (0, "0 differences\n")


def kill_during_uploads(
    run: Running, moments: random.Random, phase: str, whom: str, kept: dict[str, bytes]
) -> list[str]:
    """Kill once; return what became of the uploads that ran."""
    seconds, event, more = PHASES[phase]
    before = moments.randbytes(moments.randrange(1, 3 * MIB))
    most = 16 * MIB if event == "sent" else 4 * MIB
    image = run.create(name="before")
    assert run.upload(image, before) == 204
    kept[image] = before
    uploads = [
        Upload(run, run.create(name="under way"), moments.randbytes(moments.randrange(MIB, most)), time_, chunked=c)
        for time_, c in ((seconds, moments.random() < 0.5), (moments.random(), True))
    ]
    if whom == "worker":
        grow_up(run)
    for upload in uploads:
        upload.start()
    assert getattr(uploads[0], event).wait(60)
    time.sleep(moments.random() * more)
    if whom == "tree":
        run.service.kill_all()
        run.service.start()
    else:
        victims = {worker_of(run, upload) for upload in uploads}
        for pid in victims - {None} or {run.service.workers()[0]}:
            os.kill(pid, signal.SIGKILL)
        run.service.wait_until_ready()
    run.at_rest(BOUND)
    for upload in uploads:
        upload.join(60)
        assert not upload.is_alive()
    outcomes = [settle(run, upload, kept) for upload in uploads]
    run.at_rest(BOUND)
    return outcomes


def worker_of(run: Running, upload: Upload) -> int | None:
    """Return the worker that has an upload; None when there is none, or not any more."""
    try:
        return run.service.worker_of(upload.socket)
    except OSError:  # Its socket was closed while we were looking.
        return None


def settle(run: Running, upload: Upload, kept: dict[str, bytes]) -> str:
    """Make sure that the image is one of the two things it may be, and can be filled if it is not."""
    status = run.show(upload.image)["status"]
    if upload.status == 204:
        assert status == "active"
    if status == "queued":
        assert upload.status in (None, 503), upload.body
        assert run.upload(upload.image, upload.data) == 204
    kept[upload.image] = upload.data
    assert run.data(upload.image) == upload.data
    assert run.show(upload.image)["size"] == len(upload.data)
    return f"{status} after {upload.status}"


def test_sigkill_during_deletes_leaves_each_image_complete_or_deleted(
    tmp_path: Path, database_url: str, seed: int, request: pytest.FixtureRequest
) -> None:
    moments = random.Random(f"{seed} {database_url.partition(':')[0]} delete")
    with running(tmp_path, database_url) as run:
        for number in range(-(-request.config.getoption("--crash-rounds") // 8)):
            data = moments.randbytes(MIB)
            images = [run.create() for _ in range(8)]
            assert all(run.upload(image, data) == 204 for image in images)
            deleting = [Delete(run, image) for image in images]
            grow_up(run)
            for each in deleting:
                each.start()
            time.sleep(moments.random() * 0.04)
            if number % 2:
                run.service.kill_all()
                run.service.start()
            else:
                os.kill(run.service.workers()[0], signal.SIGKILL)
                run.service.wait_until_ready()
            run.at_rest(BOUND)
            gone = 0
            for each in deleting:
                each.join(60)
                status = run.ask("GET", f"/v2/images/{each.image}")[0]
                assert status == (404 if each.status == 204 else status)
                gone += status == 404
                if status != 404:
                    assert run.data(each.image) == data
                    assert run.ask("DELETE", f"/v2/images/{each.image}")[0] == 204
            print(number, f"{gone} of {len(images)} were gone")
        run.at_rest(BOUND)
        assert run.files() == []


class Delete(Upload):
    """A DELETE whose answer may never come."""

    def __init__(self, run: Running, image: str):
        super().__init__(run, image, b"", 0)
        self.ask = run.ask

    def run(self) -> None:
        try:
            self.status = self.ask("DELETE", f"/v2/images/{self.image}")[0]
        except OSError:
            self.status = None


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    need("strace")
    with running(tmp_path_factory.mktemp("traced")) as run:
        yield run


@pytest.mark.parametrize(
    ("call", "statuses"),
    [
        ("fdatasync:1", ("queued",)),  # the ledger's row
        ("writev:1", ("queued",)),  # the first bytes
        ("writev:2", ("queued",)),
        ("fsync:1", ("queued",)),  # of the file
        ("renameat:1", ("queued",)),
        ("fsync:2", ("queued",)),  # of the folder
        ("fdatasync:2", ("queued", "active")),  # the commit: written, perhaps not flushed
    ],
)
def test_upload_killed_at_a_system_call_can_be_repeated(
    traced: Running, call: str, statuses: tuple[str, ...]
) -> None:
    image, data = traced.create(name=call), random.Random(call).randbytes(3 * MIB)
    upload = Upload(traced, image, data, 0.1)
    dying_at(traced, call, upload.start)
    upload.join(60)
    assert upload.status is None
    traced.at_rest(BOUND)
    assert traced.show(image)["status"] in statuses
    settle(traced, upload, {})
    traced.at_rest(BOUND)


@pytest.mark.parametrize(
    ("call", "statuses"),
    [
        ("fdatasync:1", (200, 404)),  # the decision: written, perhaps not flushed
        ("unlinkat:1", (404,)),
        ("fsync:1", (404,)),  # of the folder
        ("fdatasync:2", (404,)),  # the ledger's row
    ],
)
def test_delete_killed_at_a_system_call_is_completed_later(
    traced: Running, call: str, statuses: tuple[int, ...]
) -> None:
    image, data = traced.create(name=call), random.Random(call).randbytes(MIB)
    assert traced.upload(image, data) == 204
    delete = Delete(traced, image)
    dying_at(traced, call, delete.start)
    delete.join(60)
    assert delete.status is None
    traced.at_rest(BOUND)
    status = traced.ask("GET", f"/v2/images/{image}")[0]
    assert status in statuses
    assert status == 404 or traced.data(image) == data


def dying_at(run: Running, call: str, act: Callable[[], None]) -> None:
    """Do something while the worker is about to die at its n-th system call of a kind."""
    name, _, count = call.partition(":")
    grow_up(run)
    (worker,) = run.service.workers()
    command = [str(need("strace")), "-f", "-p", str(worker), "-o", os.devnull, "-e", f"trace={name}"]
    kill = f"inject={name}:signal=SIGKILL:when={count}"
    tracer = subprocess.Popen([*command, "-e", kill], stderr=subprocess.PIPE)
    try:
        assert tracer.stderr is not None
        assert b"attached" in tracer.stderr.readline()
        act()
        eventually(lambda: worker not in run.service.workers(), 60, lambda: f"{call} never happened")
    finally:
        tracer.kill()
        tracer.wait()
        assert tracer.stderr is not None
        tracer.stderr.close()
    run.service.wait_until_ready()
