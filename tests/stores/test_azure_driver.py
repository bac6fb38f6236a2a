"""Objects in Azure Blob Storage, on Azurite: the suite of all drivers, sizes around parts, and what probes say."""

import asyncio
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from object_stores import MIB, Running, empty, in_batches

from ferrotype.config.azure_store import AzureStore
from ferrotype.config.gcs_store import GcsStore
from ferrotype.model.errors import BlobNotFound, StoreDenied, StoreUnavailable
from ferrotype.offload import ThreadPools
from ferrotype.stores.azure import AzureDriver
from ferrotype.stores.gcs import GcsDriver
from ferrotype.testing.object_servers import ObjectServer, create_container
from ferrotype.testing.store_suite import CHECKS, NAMES, Check, content_of, name_of, put, source

PART = 5 * MIB


class SmallParts(AzureDriver):
    part = PART


def options(server: ObjectServer, **changes: str) -> AzureStore:
    fields = {"account": server.access_key, "container": server.bucket, "key": server.secret_key}
    return AzureStore(**(fields | {"endpoint": server.endpoint} | changes))


@pytest.fixture(scope="module")
def container(azurite_server: ObjectServer) -> Iterator[Running]:
    with asyncio.Runner() as runner:
        yield Running(SmallParts("azure", options(azurite_server), ThreadPools(1)), runner)


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_azure_does_what_every_driver_does(check: Check, container: Running) -> None:
    # RUL-88
    if check.__name__ == "an_unfinished_object_is_listed_without_a_handle":
        pytest.skip("obstore does not list unfinished uploads; Azure discards them after a week")
    container.run(empty(container.driver))
    container.run(check(container.driver))


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_any_size_is_read_back_whole(known: bool, container: Running) -> None:
    async def sizes() -> None:
        for size in (0, 1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 1):
            data = os.urandom(size)
            handle = await put(container.driver, NAMES[0], in_batches(data), size if known else None)
            assert (
                hashlib.sha256(await content_of(container.driver, handle)).digest() == hashlib.sha256(data).digest()
            )
            await container.driver.delete(NAMES[0], handle)

    container.run(empty(container.driver))
    container.run(sizes())


def test_urls_have_account_container_and_key() -> None:
    # RUL-88
    driver = AzureDriver("azure", AzureStore("account", "images", "Y2FuYXJ5"), ThreadPools(1))
    assert driver.url(NAMES[0]) == f"azure://account/images/{NAMES[0]}"
    assert driver.parse(f"azure://account/images/{NAMES[0]}") == NAMES[0]
    for each in ("azure://account/other/x", "azure://k@account/images/x", "azure://account/images/a/b",
                 "azure://account/images/..", "azure://account/images/"):  # fmt: skip
        assert driver.parse(each) is None
    shown = f"{driver._bucket!r} {AzureStore('account', 'images', 'Y2FuYXJ5')!r} {driver.properties}"
    assert "Y2FuYXJ5" not in shown


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"key": "d3Jvbmc="}, "credentials"),
        ({"container": "no-such-container"}, "does not exist"),
        ({"endpoint": "http://127.0.0.1:1/account"}, "Is the server running"),
    ],
)
def test_probe_names_the_remedy(changes: dict[str, str], remedy: str, azurite_server: ObjectServer) -> None:
    # RUL-89
    driver = AzureDriver("azure", options(azurite_server, **changes), ThreadPools(1))
    with asyncio.Runner() as runner:
        health = runner.run(driver.probe())
        assert not health.writable
        assert remedy in health.reason
        with pytest.raises(StoreDenied if "key" in changes else StoreUnavailable) as writing:
            runner.run(put(driver, NAMES[0], source([[b"x"]])))
        assert changes.get("key", azurite_server.secret_key) not in f"{health.reason} {writing.value}"


def test_missing_container_is_no_missing_object(azurite_server: ObjectServer) -> None:
    name = f"made-{secrets.token_hex(4)}"
    driver = AzureDriver("azure", options(azurite_server, container=name), ThreadPools(1))
    with asyncio.Runner() as runner:
        with pytest.raises(StoreUnavailable):
            runner.run(driver.open(NAMES[0]))
        create_container(azurite_server, name)
        with pytest.raises(BlobNotFound):
            runner.run(driver.open(NAMES[0]))


def test_gcs_has_urls_and_keys_with_a_prefix(tmp_path: Path) -> None:
    # RUL-88. No server of Google Cloud Storage can be had here: the rest is the code that Azure and S3 prove.
    driver = GcsDriver("gcs", GcsStore("bucket", None, "images/"), ThreadPools(1))
    assert driver.url("images/x") == "gs://bucket/images/x"
    assert driver.parse("gs://bucket/images/x") == "images/x"
    for each in ("gs://bucket/x", "gs://other/images/x", "gs://bucket/images/", "gs://bucket/images/a/b"):
        assert driver.parse(each) is None
