"""Files on other servers: the reading checks of all drivers, files that change, and servers that fail."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvloop
from remote import INTERNAL, File, fetcher, no_names, remote, respond

from ferrotype.config.http_store import HttpStore
from ferrotype.config.stores import StoreConfig
from ferrotype.model.blob import ObjectRef, Registered
from ferrotype.model.errors import (
    BlobDamaged,
    BlobNotFound,
    StoreDenied,
    StoreError,
    StoreReadOnly,
    StoreUnavailable,
    URLRefused,
)
from ferrotype.model.external import Validators
from ferrotype.offload import Budget
from ferrotype.stores.driver import Batch, Driver, External, Noted, Source
from ferrotype.stores.http import HttpDriver
from ferrotype.stores.store import Store
from ferrotype.testing.store_suite import Check, content_of, name_of, put_bytes, reading

DATA = os.urandom((2 << 20) + 5)
#: Every URL of http is of this store; which are refused is for the address gate to say.
READING = [check for check in reading(put_bytes) if name_of(check) != "foreign_urls_are_refused"]


def run(work: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(work(), 60))  # type: ignore[arg-type]


class Published(HttpDriver):
    """The driver, and somebody who puts files on the server and removes them."""

    def __init__(self, change: Callable[[File], None]):
        super().__init__(fetcher())
        self.files: dict[str, File] = {}
        self.base, self._change = "", change

    async def serve(self, head: str, writer: asyncio.StreamWriter) -> None:
        file = self.files.get(head.split()[1].removeprefix("/"))
        await (file or respond("HTTP/1.1 404 Not Found\nContent-Length: 0"))(head, writer)

    async def put(self, object: ObjectRef, batches: AsyncIterator[Batch], size: int | None, noted: Noted) -> str:
        file = self.files[object.name] = File(b"".join([b"".join(batch) async for batch in batches]))
        self._change(file)
        return f"{self.base}/{object.name}"

    async def delete(self, name: str, handle: str | None) -> None:
        self.files.pop(name, None)


def store_of(driver: HttpDriver) -> Store:
    config = StoreConfig("web", "http", options=HttpStore())
    return Store(config, driver, Budget(1 << 30).share("web"), Budget(1).share("web"))


def with_ranges(file: File) -> None:
    """A good server."""


def without_ranges(file: File) -> None:
    file.ranges = False


def in_chunks(file: File) -> None:
    file.ranges, file.chunked = False, True


def without_validators(file: File) -> None:
    file.etag = None


@pytest.mark.parametrize("server", [with_ranges, without_ranges, in_chunks, without_validators])
@pytest.mark.parametrize("check", READING, ids=name_of)
def test_files_are_read_as_from_every_driver(check: Check, server: Callable[[File], None]) -> None:
    async def checked() -> None:
        driver = Published(server)
        async with remote(driver.serve) as there:
            driver.base = there.url("")
            await check(driver)  # STOR-153

    run(checked)


def test_nothing_is_written_or_deleted_or_listed() -> None:
    async def tried() -> None:
        async with remote(File(DATA)) as there:
            driver: Driver = HttpDriver(fetcher())
            assert isinstance(driver, External)

            async def batches() -> AsyncIterator[Batch]:
                yield [b"data"]

            async def noted(handle: str) -> None:
                raise AssertionError("nothing is written")

            with pytest.raises(StoreReadOnly):  # STOR-150, RUL-76
                await driver.put(ObjectRef("x", "y", None), batches(), None, noted)
            await driver.delete("x", there.url())
            await driver.delete("x", None)
            assert [each async for each in driver.list()] == []
            assert there.heads == [], "the file stays, and its server is not asked"
            assert await content_of(driver, there.url()) == DATA
            assert await driver.stat(there.url()) == len(DATA)
            assert driver.properties == {}  # DISC-86

    run(tried)


def test_its_health_is_no_problem_for_the_operator(caplog: pytest.LogCaptureFixture) -> None:
    async def probed() -> None:
        store = store_of(HttpDriver(fetcher()))
        await store.probe()
        assert not store.health.writable  # DISC-34

    caplog.set_level(logging.INFO)
    run(probed)
    assert caplog.records == []


URLS = ("http://h.example/x", "https://h.example:8443/x?y=z", "HTTP://h.example/", "http://10.0.0.1/x")


@pytest.mark.parametrize("url", URLS)
def test_a_url_is_its_handle(url: str) -> None:
    driver = HttpDriver(fetcher())
    assert driver.parse(url) == url and driver.url(url) == url  # STOR-56


@pytest.mark.parametrize(
    "url", ["", "x", "http", "http:", "http:/", "http://", "ftp://h/x", "file:///x", "s3+http://h/x", "http:x",
            "//h/x", "http://h.example/" + "x" * 1024],
)  # fmt: skip
def test_other_urls_are_not_of_this_store(url: str) -> None:
    assert HttpDriver(fetcher()).parse(url) is None


# A file that changes: STOR-56, SEC-44


async def all_of(source: Source) -> bytes:
    return b"".join([chunk async for chunk in source.read(0, None)])


MOMENTS = ("before it is opened", "before it is read", "between two reads")


def new_tag(file: File) -> None:
    file.data, file.etag = os.urandom(len(file.data)), '"v2"'


def new_time(file: File) -> None:
    file.etag, file.modified = None, "Tue"


def new_size(file: File) -> None:
    file.data += b"more"


@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("change", [new_tag, new_time, new_size])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_change_is_noticed(moment: str, change: Callable[[File], None], ranges: bool, conditional: bool) -> None:
    async def changed() -> None:
        file = File(DATA, None if change is new_time else '"v1"', "Mon" if change is new_time else None, ranges)
        file.conditional = conditional
        async with remote(file) as there:
            driver = HttpDriver(fetcher())
            registered = (await driver.register(there.url())).validators
            if moment == MOMENTS[0]:
                change(file)
                with pytest.raises(BlobDamaged):
                    await driver.open_unchanged(there.url(), registered)
                return
            source = await driver.open_unchanged(there.url(), registered)
            if moment == MOMENTS[2]:
                assert [chunk async for chunk in source.read(10, 5)] == [DATA[10:15]]
            change(file)
            for offset, count in ((0, None), (0, 10), (100, 10), (len(DATA) - 1, 1)):
                with pytest.raises(BlobDamaged):
                    assert not [chunk async for chunk in source.read(offset, count)]

    run(changed)


def test_without_validators_all_reads_of_one_source_are_of_one_version() -> None:
    async def changed() -> None:
        file = File(DATA)
        async with remote(file) as there:
            source = await HttpDriver(fetcher()).open(there.url())
            assert source.size == len(DATA)
            new_tag(file)
            with pytest.raises(BlobDamaged):
                await all_of(source)

    run(changed)


# Servers that fail

FAILURES: dict[str, tuple[Any, type[StoreError]]] = {
    "not found": (respond("HTTP/1.1 404 Not Found\nContent-Length: 0"), BlobNotFound),
    "denied": (respond("HTTP/1.1 403 Forbidden\nContent-Length: 0"), StoreDenied),
    "down": (respond("HTTP/1.1 503 Unavailable\nContent-Length: 0"), StoreUnavailable),
    "no HTTP": (respond("220 ready"), StoreUnavailable),
    "moved elsewhere": (
        respond(f"HTTP/1.1 302 Found\nLocation: http://{INTERNAL}/x\nContent-Length: 0"),
        StoreDenied,
    ),
    "moved for ever": (respond("HTTP/1.1 302 Found\nLocation: /disk\nContent-Length: 0"), StoreUnavailable),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failures_are_store_errors_that_hold_no_secret(case: str) -> None:
    answer, error = FAILURES[case]

    async def failed() -> None:
        async with remote(answer) as there:
            url = there.url("/path?signature=canary")
            store = store_of(HttpDriver(fetcher()))
            for work in (store.open(url, None), store.open(url, 5, Validators(5)), store.check(url, 5)):
                with pytest.raises(error) as caught:
                    await work
                assert type(caught.value) is error and caught.value.store == "web"
                assert "canary" not in str(caught.value) and "/path" not in str(caught.value)  # SEC-115

    run(failed)


def test_a_url_that_is_refused_is_the_clients_error_only_while_it_is_registered() -> None:
    async def refused() -> None:
        store = store_of(HttpDriver(fetcher()))
        for url in (f"http://{INTERNAL}/x", "http://u:canary@h.example/", "http://h.example/", "http://2130706433/"):
            with pytest.raises(URLRefused) as caught:  # IMP-56c, IMG-LOCN-05, SEC-33
                await store.register(url)
            assert "canary" not in str(caught.value)
            with pytest.raises(StoreDenied):
                await store.open(url, None)

    run(refused)


def test_a_file_of_another_size_is_damaged_and_its_url_is_not_shown_whole() -> None:
    async def opened() -> None:
        async with remote(File(DATA, etag=None)) as there:
            store = store_of(HttpDriver(fetcher()))
            with pytest.raises(BlobDamaged) as caught:
                await store.open(there.url("/x?signature=canary"), 5)
            assert "canary" not in str(caught.value)
            await store.check(there.url(), len(DATA))
            found = await store.register(there.url())
            assert found == Registered(there.url(), len(DATA), None, Validators(len(DATA), None, None, True))

    run(opened)


@pytest.mark.parametrize("cut", [0, 1, 1000, 70_000, 1_500_000])
def test_a_connection_that_breaks_in_mid_read_is_an_error_in_mid_read(cut: int) -> None:
    async def read() -> None:
        file = File(DATA)
        async with remote(file) as there:
            source = await HttpDriver(fetcher()).open(there.url())
            file.cut = cut
            got = bytearray()
            with pytest.raises(StoreUnavailable):
                async for chunk in source.read(0, None):
                    got += chunk
            assert DATA.startswith(got) and len(got) <= cut
            file.cut = None
            rest = b"".join([chunk async for chunk in source.read(len(got), None)])
            assert bytes(got) + rest == DATA, "a reader can go on at the same byte"

    run(read)


def test_a_file_of_unknown_size_is_not_registered() -> None:
    async def register() -> None:
        file = File(DATA, ranges=False)
        file.chunked = True
        async with remote(file) as there:
            with pytest.raises(StoreDenied, match="size"):
                await HttpDriver(fetcher()).register(there.url())

    run(register)


def test_a_name_that_cannot_be_resolved_now_is_denied() -> None:
    async def opened() -> None:
        with pytest.raises(StoreDenied, match="cannot be resolved"):
            await HttpDriver(fetcher(no_names)).open("http://h.example/")

    run(opened)
