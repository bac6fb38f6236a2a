"""The file driver: the common suite in every mode, and what is specific to files."""

import asyncio
import fcntl
import os
import resource
import stat
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mounts import mounted

from ferrotype.config.file_store import FileStore
from ferrotype.config.stores import StoreConfig, Stores
from ferrotype.model.blob import ObjectRef, image_of
from ferrotype.model.errors import BlobDamaged, BlobNotFound, Busy, StoreDenied, StoreFull, StoreUnavailable
from ferrotype.offload import ThreadPools
from ferrotype.stores.directories import ID_FILE, Directories
from ferrotype.stores.driver import Health
from ferrotype.stores.file import FileDriver
from ferrotype.stores.stores import open_stores
from ferrotype.testing.store_suite import (
    CHECKS,
    NAMES,
    Check,
    content_of,
    name_of,
    source,
)
from ferrotype.testing.store_suite import names as listed_names
from ferrotype.testing.store_suite import put as put_object
from ferrotype.testing.store_suite.tools import Broken, breaking, ignore_handle

MIB = 1 << 20
NAME = NAMES[0]


@pytest.fixture(scope="module")
def pools() -> Iterator[ThreadPools]:
    pools = ThreadPools(8)
    yield pools
    pools.close()


Options = Callable[[Path], dict[str, Any]]

MODES: dict[str, Options] = {
    "one directory": lambda place: {"datadir": place / "one"},
    "a name with blanks": lambda place: {"datadir": place / "a b%20c#d?e"},
    "several directories": lambda place: {"datadirs": ((place / "a", 1), (place / "b", 5), (place / "c", 4))},
    "thin": lambda place: {"datadir": place / "one", "thin_provisioning": True},
    "permissions": lambda place: {"datadir": place / "one", "file_perm": 0o664},
    "read-only files": lambda place: {"datadir": place / "one", "file_perm": 0o400},
}


def driver_of(options: Mapping[str, Any], pools: ThreadPools) -> FileDriver:
    rest = dict(options)
    directories = rest.pop("datadirs", None) or ((rest.pop("datadir"), 0),)
    return FileDriver("fast", FileStore(directories, **rest), pools)


def files(options: Mapping[str, Any], pools: ThreadPools, ids: dict[str, str] | None = None) -> FileDriver:
    """Return a driver that is initialized; new directory IDs are added to those that are known."""
    driver = driver_of(options, pools)
    known = {} if ids is None else ids
    known.update(do(driver.initialize(dict(known))))
    driver.set_expected_ids(known)
    return driver


def objects(directory: Path) -> list[str]:
    """Return the names of all files but the ID file."""
    return sorted(path.name for path in directory.iterdir() if path.name != ID_FILE)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_file_driver_passes_the_common_suite(check: Check, mode: str, tmp_path: Path, pools: ThreadPools) -> None:
    do(check(files(MODES[mode](tmp_path), pools)))


def do(work: Awaitable[Any]) -> Any:
    async def run() -> Any:
        return await work

    return asyncio.run(run())


def put(driver: FileDriver, name: str, *batches: list[bytes], size: int | None = None) -> Path:
    """Put an object and return its file."""
    return Path(do(put_object(driver, name, source(batches), size)))


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


# SEC-61, STOR-100, STOR-103
@pytest.mark.parametrize(
    ("given", "file", "directory"),
    [(0, 0o640, 0o750), (0o600, 0o600, 0o750), (0o640, 0o640, 0o750), (0o644, 0o644, 0o751), (0o664, 0o664, 0o751)],
)
def test_files_and_directories_have_minimal_permissions(
    tmp_path: Path, pools: ThreadPools, umask: None, given: int, file: int, directory: int
) -> None:
    made = put(files({"datadir": tmp_path / "a" / "b", "file_perm": given}, pools), NAME, [b"x"])
    assert stat.S_IMODE(made.stat().st_mode) == file
    assert stat.S_IMODE(made.parent.stat().st_mode) == directory
    assert stat.S_IMODE(made.parent.parent.stat().st_mode) == 0o750


def test_permissions_do_not_depend_on_the_umask(tmp_path: Path, pools: ThreadPools) -> None:
    before = os.umask(0o077)
    try:
        made = put(files({"datadir": tmp_path / "a", "file_perm": 0o644}, pools), NAME, [b"x"])
    finally:
        os.umask(before)
    assert stat.S_IMODE(made.stat().st_mode) == 0o644  # STOR-103


def test_object_gets_its_final_name_only_when_complete(tmp_path: Path, pools: ThreadPools) -> None:
    driver, seen = files({"datadir": tmp_path}, pools), []

    async def batches() -> Any:
        yield [b"first"]
        yield [b"second"]
        seen.extend(await asyncio.to_thread(os.listdir, tmp_path))

    do(put_object(driver, NAME, batches()))
    assert sorted(seen) == sorted([f".{NAME}.part", ID_FILE])  # STOR-109
    assert objects(tmp_path) == [NAME]


def test_leftovers_of_a_killed_process_are_listed_and_deleted_by_name(tmp_path: Path, pools: ThreadPools) -> None:
    driver = files({"datadirs": ((tmp_path / "a", 0), (tmp_path / "b", 0))}, pools)
    do(driver.probe())
    (tmp_path / "a" / f".{NAME}.part").write_bytes(b"half")
    (tmp_path / "b" / NAMES[1]).write_bytes(b"whole")

    assert do(listed_names(driver)) == [NAME, NAMES[1]]
    for name in (NAME, NAMES[1]):
        do(driver.delete(name, None))
    assert objects(tmp_path / "a") == objects(tmp_path / "b") == []


def test_thin_provisioning_stores_zeros_as_holes(tmp_path: Path, pools: ThreadPools) -> None:
    driver = files({"datadir": tmp_path, "thin_provisioning": True}, pools)
    made = put(driver, NAME, [bytes(MIB)] * 8, [b"data", bytes(MIB)], [bytes(MIB)])
    assert made.stat().st_size == 10 * MIB + 4
    assert made.stat().st_blocks * 512 < MIB  # STOR-105
    assert made.read_bytes() == bytes(8 * MIB) + b"data" + bytes(2 * MIB)


def test_directory_with_the_highest_priority_and_space_is_used(tmp_path: Path, pools: ThreadPools) -> None:
    with mounted(tmp_path / "small", MIB) as small, mounted(tmp_path / "larger", 4 * MIB) as larger:
        roomy = tmp_path / "roomy"
        driver = files({"datadirs": ((roomy, 0), (small, 9), (larger, 9))}, pools)
        # STOR-102
        assert put(driver, NAMES[0], [bytes(100)]).parent == larger
        assert put(driver, NAMES[1], [bytes(3 * MIB + 100)], size=3 * MIB + 100).parent == larger
        assert put(driver, NAMES[2], [bytes(100)]).parent == small
        assert put(driver, NAMES[3], [bytes(2 * MIB)], size=2 * MIB).parent == roomy
        with pytest.raises(StoreFull, match="no directory has"):
            put(files({"datadir": small}, pools), NAMES[4], [b"x"], size=2 * MIB)
        with pytest.raises(StoreFull, match="No space left"):
            put(files({"datadir": small}, pools), NAMES[4], [bytes(MIB)], [bytes(MIB)])
        assert objects(small) == [NAMES[2]]


def test_space_that_running_uploads_have_announced_is_not_free(tmp_path: Path, pools: ThreadPools) -> None:
    """Of uploads that are announced or not, as many succeed as fit, and the others fail before the disk is full."""
    with mounted(tmp_path / "small", 16 * MIB) as small:
        for size in (3 * MIB, None):
            driver = files({"datadir": small}, pools)
            written = do(racing(driver, 10, size))
            assert sum(isinstance(each, str) for each in written) == 5  # With its ID file there is room for no sixth.
            refused = [str(each) for each in written if not isinstance(each, str)]
            assert all("no directory has" in each if size else "No space left for" in each for each in refused)
            assert len(objects(small)) == 5
            for each in NAMES[:10]:
                do(driver.delete(each, None))
            place = driver._places[small]
            do(driver.probe())
            assert place.space.available == os.statvfs(small).f_bavail * 4096  # Nothing stays claimed.


async def racing(driver: FileDriver, count: int, size: int | None) -> list[str | BaseException]:
    """Write 3 MiB to each of some objects at the same pace; return the handles and the errors."""

    async def batches() -> Any:
        for _ in range(12):
            yield [bytes(MIB // 4)]
            await asyncio.sleep(0.002)

    return await asyncio.gather(
        *(put_object(driver, name, batches(), size) for name in NAMES[:count]), return_exceptions=True
    )


def test_space_of_an_upload_that_fails_is_free_again(tmp_path: Path, pools: ThreadPools) -> None:
    with mounted(tmp_path / "small", 4 * MIB) as small:
        driver = files({"datadir": small}, pools)
        for _ in range(3):
            with pytest.raises(Broken):
                do(put_object(driver, NAME, breaking([[bytes(MIB)]]), 3 * MIB))
        assert put(driver, NAME, [bytes(3 * MIB)], size=3 * MIB).exists()


@pytest.fixture
def no_more_descriptors() -> Iterator[Callable[[], None]]:
    """A function after which this process can open no file."""
    before, taken = resource.getrlimit(resource.RLIMIT_NOFILE), []

    def use_up() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))

    yield use_up
    for each in taken:
        os.close(each)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_process_without_descriptors_says_nothing_about_a_store(
    tmp_path: Path, no_more_descriptors: Callable[[], None]
) -> None:
    threads = ThreadPools(2)
    entry = StoreConfig("fast", "file", "", 0, FileStore(((tmp_path / "a", 0), (tmp_path / "b", 0))))
    store = next(iter(open_stores(Stores(True, "fast", (entry,)), threads)))

    async def work() -> None:
        await store.initialize({})
        await store.probe()
        ref = ObjectRef(NAME, image_of(NAME), None)
        handle = await store.put(ref, source([[b"x"]]), 1, ignore_handle)
        no_more_descriptors()
        attempts = (
            lambda: store.put(ObjectRef(NAMES[1], image_of(NAME), None), source([[b"x"]]), 1, ignore_handle),
            lambda: store.open(store.url(handle), 1),
            lambda: store.delete(NAME, handle),
        )
        for attempt in attempts:
            with pytest.raises(Busy) as error:
                await attempt()
            assert error.value.retry_after
            await store.probe()
            assert store.health == Health(True)

    do(work())
    threads.close()


def test_several_processes_fill_an_empty_id_file_with_one_id(tmp_path: Path) -> None:
    def adopted() -> str:
        return Directories(0).initialize(tmp_path, "before")

    with (tmp_path / ID_FILE).open("w") as file, ThreadPoolExecutor(4) as threads:
        fcntl.flock(file, fcntl.LOCK_EX)
        work = [threads.submit(adopted) for _ in range(4)]
        time.sleep(0.2)
        assert not any(each.done() for each in work)  # All have found it empty.
        fcntl.flock(file, fcntl.LOCK_UN)
        assert {each.result(60) for each in work} == {(tmp_path / ID_FILE).read_text()}


def test_several_processes_give_a_new_directory_one_id(tmp_path: Path) -> None:
    for number in range(20):
        place, barrier = tmp_path / f"{number}", threading.Barrier(4)

        def initialized(place: Path = place, barrier: threading.Barrier = barrier) -> str:
            barrier.wait(60)
            return Directories(0).initialize(place, None)

        with ThreadPoolExecutor(4) as threads:
            work = [threads.submit(initialized) for _ in range(4)]
            assert {each.result(60) for each in work} == {(place / ID_FILE).read_text()}
        assert [path.name for path in place.iterdir()] == [ID_FILE]


def test_unusable_directory_is_skipped(tmp_path: Path, pools: ThreadPools) -> None:
    (tmp_path / "broken").write_bytes(b"")
    driver = files({"datadirs": ((tmp_path / "broken", 9), (tmp_path / "good", 0))}, pools)
    health = do(driver.probe())
    assert (health.writable, health.full) == (True, False)
    assert f"cannot write to {tmp_path / 'broken'}: Not a directory" in health.reason
    assert put(driver, NAME, [b"x"]).parent == tmp_path / "good"
    only = files({"datadir": tmp_path / "broken"}, pools)
    assert do(only.probe()).writable is False
    with pytest.raises(StoreUnavailable, match="Not a directory"):
        put(only, NAME, [b"x"])


def test_probe_distinguishes_full_from_broken(tmp_path: Path, pools: ThreadPools) -> None:
    with mounted(tmp_path / "small", MIB) as small:
        driver = files({"datadir": small}, pools)
        (small / "filler").write_bytes(bytes(MIB - 4096))  # The mark has the rest.
        health: Health = do(driver.probe())
        assert (health.writable, health.full) == (False, True)
        (small / "filler").unlink()
        assert do(driver.probe()) == Health(True)


# SEC-56
@pytest.mark.parametrize("planted", [NAME, f".{NAME}.part"])
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder", "hard link"])
def test_planted_links_and_files_are_never_written_to(
    tmp_path: Path, pools: ThreadPools, planted: str, kind: str
) -> None:
    store, victim = tmp_path / "store", tmp_path / "victim"
    store.mkdir()
    victim.write_bytes(b"precious")
    place = store / planted
    match kind:
        case "link":
            place.symlink_to(victim)
        case "dangling":
            place.symlink_to(tmp_path / "nowhere")
        case "pipe":
            os.mkfifo(place)
        case "folder":
            place.mkdir()
        case "hard link":
            place.hardlink_to(victim)
    driver = files({"datadir": store}, pools)
    with pytest.raises(StoreUnavailable, match="File exists"):
        put(driver, NAME, [b"evil"])
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()
    assert objects(store) == [planted]
    if kind == "folder":
        with pytest.raises(StoreUnavailable, match="Is a directory"):
            do(driver.delete(NAME, None))
        return
    do(driver.delete(NAME, None))
    assert victim.read_bytes() == b"precious"
    assert objects(store) == []


def test_reading_rejects_symlinks_and_fifos(tmp_path: Path, pools: ThreadPools) -> None:
    driver = files({"datadir": tmp_path}, pools)
    path = put(driver, NAME, [b"x"])
    for plant in (lambda p: p.symlink_to("/etc/passwd"), os.mkfifo, Path.mkdir):
        (tmp_path / NAME).unlink()
        plant(tmp_path / NAME)
        with pytest.raises(BlobDamaged):  # SEC-56
            do(driver.open(str(path)))
        if (tmp_path / NAME).is_dir():
            break


@pytest.mark.parametrize("where", ["/etc/passwd", "{}/../outside", "{}/sub/object", "{}"])
def test_urls_outside_the_directories_are_not_read(tmp_path: Path, pools: ThreadPools, where: str) -> None:
    store = tmp_path / "store"
    driver = files({"datadir": store}, pools)
    put(driver, NAME, [b"x"])
    (tmp_path / "outside").write_bytes(b"secret")
    (store / "sub").mkdir()
    (store / "sub" / "object").write_bytes(b"secret")
    path = Path(where.format(store))
    assert driver.parse(f"file://{path}") is None
    with pytest.raises(StoreDenied):
        do(driver.open(str(path)))


@pytest.mark.parametrize("left", ["nothing", "an empty place", "another directory"])
def test_an_offline_directory_is_not_a_lost_object(tmp_path: Path, pools: ThreadPools, left: str) -> None:
    store, unmounted, below = tmp_path / "store", tmp_path / "unmounted", tmp_path / "below"
    ids: dict[str, str] = {}
    if left == "another directory":  # The file system was not mounted either when the service first ran.
        files({"datadir": store}, pools, ids)
        store.rename(below)
        store.mkdir()
        (store / ID_FILE).touch()  # The operator wants this one.
    driver = files({"datadir": store}, pools, ids)
    path = put(driver, NAME, [b"x"])

    def unmount() -> None:
        store.rename(unmounted)
        if left == "an empty place":
            store.mkdir()
        if left == "another directory":
            below.rename(store)

    def mount() -> None:
        if left == "an empty place":
            store.rmdir()
        if left == "another directory":
            store.rename(below)
        unmounted.rename(store)

    unmount()
    for one in (
        driver,
        files({"datadir": store}, pools, ids),
    ):  # One has seen it, one starts now.
        assert do(one.initialize(ids)) == {}
        health = do(one.probe())
        assert not health.writable and "is its file system mounted" in health.reason
        for work in (one.open(str(path)), one.delete(NAME, None)):
            with pytest.raises(StoreUnavailable, match="No such file or directory"):
                do(work)
        with pytest.raises(StoreUnavailable, match="No such file or directory"):
            put(one, NAMES[1], [b"x"])
        assert store.exists() == (left != "nothing") and (left == "nothing" or objects(store) == [])
        mount()
        assert do(one.probe()) == Health(True)
        assert do(content_of(one, str(path))) == b"x"
        unmount()


def test_an_empty_id_file_adopts_a_directory(tmp_path: Path, pools: ThreadPools) -> None:
    ids: dict[str, str] = {}
    put(files({"datadir": tmp_path / "store"}, pools, ids), NAME, [b"x"])
    (tmp_path / "store").rename(tmp_path / "broken")
    (tmp_path / "store").mkdir()
    before = dict(ids)
    assert not do(files({"datadir": tmp_path / "store"}, pools, ids).probe()).writable
    assert ids == before
    (tmp_path / "store" / ID_FILE).touch()
    driver = files({"datadir": tmp_path / "store"}, pools, ids)
    assert do(driver.probe()) == Health(True) and ids.keys() == before.keys() and ids != before
    with pytest.raises(BlobNotFound):  # Now that is known for certain.
        do(driver.open(f"{tmp_path}/store/{NAME}"))


def test_a_directory_full_of_objects_is_adopted(tmp_path: Path, pools: ThreadPools) -> None:
    (tmp_path / NAME).write_bytes(b"x")
    driver = files({"datadir": tmp_path}, pools)
    assert do(driver.probe()) == Health(True)
    assert do(content_of(driver, f"{tmp_path}/{NAME}")) == b"x"


def test_a_directory_that_moved_keeps_its_id(tmp_path: Path, pools: ThreadPools) -> None:
    ids: dict[str, str] = {}
    put(files({"datadir": tmp_path / "old"}, pools, ids), NAME, [b"x"])
    (tmp_path / "old").rename(tmp_path / "new")
    assert do(files({"datadir": tmp_path / "new"}, pools, ids).probe()) == Health(True)
    assert len(ids) == 2 and len(set(ids.values())) == 1


def test_additional_directory_is_created(tmp_path: Path, pools: ThreadPools) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    ids: dict[str, str] = {}
    put(files({"datadir": old}, pools, ids), NAME, [b"x"])
    both = files({"datadirs": ((old, 1), (new, 9))}, pools, ids)
    assert put(both, NAMES[1], [b"x"]).parent == new
    do(both.delete(NAME, None))
    assert objects(old) == []


def test_a_directory_never_initialized_does_not_block_deletes(tmp_path: Path, pools: ThreadPools) -> None:
    (tmp_path / "broken").write_bytes(b"")
    driver = files({"datadirs": ((tmp_path / "broken", 9), (tmp_path / "good", 0))}, pools)
    put(driver, NAME, [b"x"])
    do(driver.delete(NAME, None))
    assert objects(tmp_path / "good") == []


def test_nothing_is_created_before_initialize(tmp_path: Path, pools: ThreadPools) -> None:
    driver = driver_of({"datadir": tmp_path / "store"}, pools)
    assert not do(driver.probe()).writable
    with pytest.raises(StoreUnavailable):
        put(driver, NAME, [b"x"])
    assert not (tmp_path / "store").exists()


def test_an_object_is_removed_although_another_directory_is_offline(tmp_path: Path, pools: ThreadPools) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    driver = files({"datadirs": ((first, 1), (second, 9))}, pools)
    assert put(driver, NAME, [b"x"]).parent == second
    first.rename(tmp_path / "unmounted")
    assert put(driver, NAMES[1], [b"x"]).parent == second
    second.rename(tmp_path / "second-unmounted")
    (tmp_path / "unmounted").rename(first)
    with pytest.raises(StoreUnavailable):
        do(driver.delete(NAME, None))
    (tmp_path / "second-unmounted").rename(second)
    first.rename(tmp_path / "unmounted")
    with pytest.raises(StoreUnavailable):  # It might lie in the other one too.
        do(driver.delete(NAME, None))
    assert objects(second) == [NAMES[1]]


def test_directory_behind_a_symlink_may_move(tmp_path: Path, pools: ThreadPools) -> None:
    place, link = tmp_path / "disk", tmp_path / "images"
    link.symlink_to(place)
    place.mkdir()
    path = put(files({"datadir": link}, pools), NAME, [b"x"])
    place.rename(tmp_path / "larger-disk")
    link.unlink()
    link.symlink_to(tmp_path / "larger-disk")
    assert do(content_of(files({"datadir": link}, pools), str(path))) == b"x"


def test_partial_write_on_a_full_device_is_not_repeated(tmp_path: Path, pools: ThreadPools) -> None:
    """A writev that took a part of its buffers goes on behind that part."""
    with mounted(tmp_path / "small", 2 * MIB) as small:
        driver = files({"datadir": small}, pools)
        pieces = [bytes([number % 251]) * 1000 for number in range(1500)]
        assert put(driver, NAME, pieces).read_bytes() == b"".join(pieces)
        with pytest.raises(StoreFull):  # STOR-106
            put(driver, NAMES[1], pieces)
        assert objects(small) == [NAME]
