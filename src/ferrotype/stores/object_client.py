"""How obstore asks object stores: timeouts, retries, and a download that goes on where it broke off."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.store import AzureStore, GCSStore, S3Store

from ferrotype.model.errors import BlobDamaged, StoreUnavailable
from ferrotype.stores.driver import READ_SIZE, LocalFile
from ferrotype.stores.object_errors import translated

if TYPE_CHECKING:  # Declared in the library's stub files only.
    from obstore.store import ClientConfig, RetryConfig

Bucket = S3Store | GCSStore | AzureStore

#: Seconds for one request that sends a part, and bytes per second that a larger part must have on average.
PART_SECONDS, PART_RATE = 60, 1024 * 1024
#: Seconds without a byte of an answer, after which a request has failed.
READ_TIMEOUT = 15
#: Seconds after which a request is not sent again.
RETRY_SECONDS = 10
#: Times that a download goes on where it broke off, without a mebibyte in between.
RESUMPTIONS = 3

READ_OPTIONS: "ClientConfig" = {
    "allow_http": True,
    # Of a whole download, which may take as long as it wants while data comes.
    "timeout": "30d",
    "read_timeout": timedelta(seconds=READ_TIMEOUT),
}
READ_RETRIES: "RetryConfig" = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=READ_TIMEOUT),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2},
}
# The pauses are random and may be short, so the time is the limit: a server that restarts is waited for.
WRITE_RETRIES: "RetryConfig" = {
    "max_retries": 30,
    "retry_timeout": timedelta(seconds=RETRY_SECONDS),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=4), "base": 2},
}


def write_seconds(part: int) -> int:
    """Return the seconds that one request may take that sends a part of this size; in whole minutes."""
    return max(PART_SECONDS, -(-part // PART_RATE // 60) * 60)


def write_options(part: int) -> "ClientConfig":
    """Return the options of a client that sends parts of this size."""
    return {"allow_http": True, "timeout": timedelta(seconds=write_seconds(part))}


class ObjectSource:
    """One object; each read is one request, sent again from where it broke off."""

    local_file: LocalFile | None = None

    def __init__(self, bucket: Bucket, key: str, size: int):
        self._bucket, self._key = bucket, key
        self.size: int | None = size
        self._size = size

    async def read(self, offset: int, count: int | None) -> AsyncIterator[bytes]:
        """Yield a part of the object."""
        end = self._size if count is None else min(self._size, offset + count)
        failures, mark = 0, offset
        while offset < end:
            try:
                async for chunk in self._request(offset, end):
                    offset += len(chunk)
                    yield chunk
            except StoreUnavailable:
                if offset - mark >= READ_SIZE:
                    failures, mark = 0, offset
                failures += 1
                if failures > RESUMPTIONS or offset == mark:
                    raise

    async def _request(self, start: int, end: int) -> AsyncIterator[bytes]:
        action = f"read {self._key}"
        with translated(action):
            answer = await obstore.get_async(self._bucket, self._key, options={"range": (start, end)})
            if answer.meta["size"] != self._size:
                raise BlobDamaged(f"{self._key} has {answer.meta['size']} bytes now and had {self._size}")
            # Rarely more than READ_SIZE then: what came is not cut.
            async for chunk in answer.stream(min_chunk_size=READ_SIZE * 3 // 4):
                data = bytes(chunk)
                start += len(data)
                for at in range(0, len(data), READ_SIZE):
                    yield data if len(data) <= READ_SIZE else data[at : at + READ_SIZE]
        if start < end:
            raise StoreUnavailable(f"cannot {action}: the answer ended {end - start} bytes early")

    async def close(self) -> None:
        """Hold nothing: a read holds its connection only until it ends."""
