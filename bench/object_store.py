"""The S3 driver beside the bare client libraries, in one run: MiB/s and CPU seconds per GiB of this process.

    python bench/object_store.py [--mib 256] [--rounds 5]

SeaweedFS runs on the same machine, so it and the client share the processors. Medians of the rounds; one transfer at
a time and four.
"""

import argparse
import asyncio
import os
import resource
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import obstore
import uvloop
from botocore.client import Config
from obstore.store import S3Store as Bucket

from ferrotype.config.s3_store import S3Store
from ferrotype.model.blob import ObjectRef
from ferrotype.offload import ThreadPools
from ferrotype.stores.driver import Batch
from ferrotype.stores.s3 import S3Driver
from ferrotype.testing.object_servers import ObjectServer, seaweed

MIB = 1 << 20
PART, PARALLEL = 10 * MIB, 4
#: What arrives from a socket at once.
CHUNKS = [os.urandom(MIB // 4) for _ in range(40)]


class Transfers:
    """Uploads and downloads of objects of ``mib`` MiB, each by the driver and by the libraries alone."""

    def __init__(self, server: ObjectServer, mib: int):
        self._mib = mib
        self._threads = ThreadPoolExecutor(16)
        options = S3Store(
            endpoint=server.endpoint, bucket=server.bucket, access_key=server.access_key,
            secret_key=server.secret_key, part_size=PART, parallel_parts=PARALLEL,
        )  # fmt: skip
        self.driver = S3Driver("s3", options, ThreadPools(4))
        keys = {"access_key_id": server.access_key, "secret_access_key": server.secret_key}
        config: Any = {"endpoint": server.endpoint, "region": "us-east-1", **keys}
        self._bucket = Bucket(server.bucket, config=config, client_options={"allow_http": True, "timeout": "1h"})
        session = boto3.session.Session(server.access_key, server.secret_key, region_name="us-east-1")
        more = Config(request_checksum_calculation="when_required", max_pool_connections=16)
        self._boto = session.client("s3", endpoint_url=server.endpoint, config=more)

    async def _chunks(self) -> AsyncIterator[bytes]:
        for number in range(self._mib * 4):
            yield CHUNKS[number % len(CHUNKS)]

    async def _batches(self) -> AsyncIterator[Batch]:
        for number in range(0, self._mib * 4, 8):
            yield [CHUNKS[(number + at) % len(CHUNKS)] for at in range(8)]

    async def driver_put(self, name: str) -> None:
        await self._driver_put(name, self._mib * MIB)

    async def driver_put_unknown(self, name: str) -> None:
        await self._driver_put(f"{name}-unknown", None)

    async def _driver_put(self, name: str, size: int | None) -> None:
        async def ignore(handle: str) -> None:
            return

        await self.driver.put(ObjectRef(name, "image", None), self._batches(), size, ignore)

    async def driver_get(self, name: str) -> None:
        source = await self.driver.open(name)
        size = 0
        async for chunk in source.read(0, None):
            size += len(chunk)
        if size != self._mib * MIB:
            raise RuntimeError(f"{size} bytes were read")

    async def obstore_put(self, name: str) -> None:
        await obstore.put_async(
            self._bucket, f"{name}-obstore", self._chunks(), chunk_size=PART, max_concurrency=PARALLEL
        )

    async def obstore_get(self, name: str) -> None:
        answer = await obstore.get_async(self._bucket, name)
        async for _ in answer.stream(min_chunk_size=MIB):
            continue

    async def _call(self, method: str, **parameters: Any) -> Any:
        call = getattr(self._boto, method)
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: call(Bucket=ObjectServer.bucket, **parameters)
        )

    async def boto3_put(self, name: str) -> None:
        key = f"{name}-boto3"
        upload = (await self._call("create_multipart_upload", Key=key))["UploadId"]
        turns, body, tasks = asyncio.Semaphore(PARALLEL), bytearray(), []

        async def send(number: int, data: bytes) -> Any:
            try:
                return await self._call("upload_part", Key=key, UploadId=upload, PartNumber=number, Body=data)
            finally:
                turns.release()

        async for chunk in self._chunks():
            body += chunk
            if len(body) >= PART:
                await turns.acquire()
                tasks.append(asyncio.create_task(send(len(tasks) + 1, bytes(body))))
                body.clear()
        await turns.acquire()
        tasks.append(asyncio.create_task(send(len(tasks) + 1, bytes(body))))
        parts = [{"PartNumber": at + 1, "ETag": each["ETag"]} for at, each in enumerate(await asyncio.gather(*tasks))]
        await self._call("complete_multipart_upload", Key=key, UploadId=upload, MultipartUpload={"Parts": parts})

    async def boto3_get(self, name: str) -> None:
        body = (await self._call("get_object", Key=name))["Body"]
        while await asyncio.get_running_loop().run_in_executor(self._threads, body.read, MIB):
            continue


def cpu() -> float:
    """Return the CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure(server: ObjectServer, mib: int, rounds: int) -> Mapping[tuple[str, int], list[tuple[float, float]]]:
    """Return MiB/s and CPU s/GiB of each round, by kind of transfer and number of transfers."""
    transfers = Transfers(server, mib)
    kinds: list[Callable[[str], Awaitable[None]]] = [
        transfers.obstore_put, transfers.driver_put, transfers.boto3_put, transfers.driver_put_unknown,
        transfers.obstore_get, transfers.driver_get, transfers.boto3_get,
    ]  # fmt: skip
    found = defaultdict(list)
    for _ in range(rounds):
        for count in (1, 4):
            for kind in kinds:
                began, used = time.monotonic(), cpu()
                await asyncio.gather(*(kind(f"object-{number}") for number in range(count)))
                took, used = time.monotonic() - began, cpu() - used
                found[kind.__name__, count].append((count * mib / took, used / count * 1024 / mib))
            for each in [each async for each in transfers.driver.list()]:
                await transfers.driver.delete(each.name, each.handle)
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    words = parser.parse_args()
    with seaweed(volume_mib=1024) as server:
        found = uvloop.run(measure(server, words.mib, words.rounds))
    for (kind, count), rows in sorted(found.items(), key=lambda each: each[0][1]):
        speed, seconds = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{count} x {kind:20} {speed:6.0f} MiB/s {seconds:6.2f} CPU s/GiB")


if __name__ == "__main__":
    main()
