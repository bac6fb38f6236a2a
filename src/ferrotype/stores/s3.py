"""Objects in a bucket of Amazon S3, or of a server that speaks its protocol.

obstore moves the data of objects. boto3 does what it lacks: buckets, and uploads that are listed, aborted, or have
parts of different sizes. Each request that carries data has its SHA-256 digest, which the server checks.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, unquote

from obstore.store import S3Store as S3Bucket

from ferrotype.config.s3_store import LARGEST_PART, MIB, S3Store
from ferrotype.model.errors import StoreError, StoreUnavailable
from ferrotype.offload import ThreadPools, shielded
from ferrotype.stores.driver import Batch, Health, Listed
from ferrotype.stores.object_errors import BucketMissing, UploadMissing
from ferrotype.stores.object_store import MAX_PARTS, ObjectStoreDriver, retrieved
from ferrotype.stores.s3_calls import S3Calls, Unfinished

#: Parts of an upload of unknown size after which they are twice as large: 10 MiB grow to 5 GiB within 6 TiB.
DOUBLE_AFTER = 1000
_SCHEMES = ("s3", "s3+http", "s3+https")


class S3Driver(ObjectStoreDriver):
    """One bucket."""

    def __init__(self, store: str, options: S3Store, pools: ThreadPools):
        self._options = options
        self.part, self.parallel = options.part_size, options.parallel_parts
        self._calls = S3Calls(options, pools)
        super().__init__(self._bucket_client, options.properties)
        self._bucket_exists = False

    def _bucket_client(self, client_options: Any, retries: Any) -> S3Bucket:
        options = self._options
        scheme, _, host = options.endpoint.partition("://")
        config: Any = {
            "bucket": options.bucket,
            "endpoint": f"{scheme}://{options.bucket}.{host}" if options.virtual else options.endpoint,
            "region": options.region,
            "virtual_hosted_style_request": options.virtual,
            # Named, so that the environment does not decide.
            "unsigned_payload": False,
            "skip_signature": False,
            "disable_bulk_delete": True,
        }
        if options.stored_checksums:
            config["checksum_algorithm"] = "SHA256"
        return S3Bucket(
            config=config,
            client_options=client_options | self._certificates(),
            retry_config=retries,
            # Also for keys of the configuration: the environment may hold a session token, which is not theirs.
            credential_provider=self._calls.credentials,
        )

    def _certificates(self) -> dict[str, Any]:
        return {"root_certificate": self._options.ca_file.read_bytes()} if self._options.ca_file else {}

    def _is_small(self, size: int) -> bool:
        return size <= self.part and (size < self._options.large_object_size or not size)

    async def _prepare(self) -> None:
        if self._bucket_exists or not self._options.create_bucket:
            return
        if not await self._calls.bucket_exists():
            await self._calls.create_bucket()
        self._bucket_exists = True

    async def _put_unknown(self, key: str, data: AsyncIterator[Batch], part: int, parallel: int) -> int:
        """Send parts that grow with the object, so that any size fits into the parts that S3 allows.

        When this fails nothing is sent any more, and ``delete`` aborts the upload.
        """
        created = await self._calls.call(f"write {key}", "create_multipart_upload", Key=key, **self._calls.checksum)
        upload, sent = Unfinished(key, created["UploadId"]), 0
        parts: list[asyncio.Task[Any]] = []
        sending: set[asyncio.Task[Any]] = set()
        try:
            async for body in _growing(data, part):
                while len(sending) >= max(1, parallel * part // len(body) - 1):
                    done, sending = await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
                    for each in done:
                        each.result()
                sent += len(body)
                parts.append(asyncio.create_task(self._calls.send_part(key, upload.id, len(parts) + 1, body)))
                sending.add(parts[-1])
            await self._calls.call(
                f"write {key}", "complete_multipart_upload",
                Key=key, UploadId=upload.id, MultipartUpload={"Parts": [await each for each in parts]},
            )  # fmt: skip
        except BaseException as error:
            if parts:
                await shielded(asyncio.wait(parts))
            for each in parts:  # Retrieved: the error that ended us is the one to report.
                retrieved(each)
            if isinstance(error, StoreUnavailable) and await self._has(key, sent):
                return sent  # The answer to the last request was lost.
            raise
        return sent

    async def _abort(self, upload: Unfinished) -> None:
        try:
            await self._calls.call(
                f"abort the upload of {upload.key}", "abort_multipart_upload", Key=upload.key, UploadId=upload.id
            )
        except UploadMissing:
            return

    async def delete(self, name: str, handle: str | None) -> None:
        key = handle or name
        for upload in await self._calls.unfinished(key):
            if upload.key == key:
                await self._abort(upload)
        await super().delete(name, handle)

    async def list(self) -> AsyncIterator[Listed]:
        if self._options.create_bucket and not await self._calls.bucket_exists():
            return  # It will be created for the first object.
        # Before the objects: an upload that ends meanwhile is listed twice then, and not left out.
        for upload in await self._calls.unfinished(""):
            try:
                yield Listed(upload.key, None, await self._calls.size_of(upload))
            except UploadMissing:
                continue
        async for each in super().list():
            yield each

    async def probe(self) -> Health:
        key = f"ferrotype-probe-{secrets.token_hex(8)}"
        try:
            await self._size_of(key)  # As uploads and downloads would ask: other region, credentials, clock.
            # An upload without parts needs the right to write, and leaves nothing, not even a version.
            created = await self._calls.call("write objects", "create_multipart_upload", Key=key)
            await self._abort(Unfinished(key, created["UploadId"]))
        except BucketMissing as error:
            self._bucket_exists = False
            return Health(True) if self._options.create_bucket else Health(False, f"{error}.")
        except StoreError as error:
            return Health(False, f"{error}.")
        return Health(True)

    def url(self, handle: str) -> str:
        scheme, _, host = self._options.endpoint.partition("://")
        return f"{'s3+https' if scheme.lower() == 'https' else 's3'}://{host}/{self._options.bucket}/{quote(handle)}"

    def parse(self, url: str) -> str | None:
        """Return the key of any form of our URL. Credentials in old ones are skipped; they may hold slashes."""
        scheme, separator, rest = url.partition("://")
        host = self._options.endpoint.partition("://")[2]
        place, _, key = rest.rpartition("@")[2].rpartition("/")
        if scheme not in _SCHEMES or not separator or not key or not key.isascii():
            return None
        ours = place.lower() == f"{host}/{self._options.bucket}".lower() and place.endswith(self._options.bucket)
        handle = unquote(key)
        return handle if ours and "/" not in handle and handle not in (".", "..") and quote(handle) == key else None


async def _growing(data: AsyncIterator[Batch], part: int) -> AsyncIterator[bytearray]:
    """Yield parts; after each ``DOUBLE_AFTER`` of them they are twice as large. Only the last one is smaller."""
    number, size, filled = 0, part, 0
    body = bytearray(size)  # At once: growing would copy it again and again.
    async for batch in data:
        for chunk in batch:
            at = 0
            while at < len(chunk):
                taken = min(len(chunk) - at, size - filled)
                body[filled : filled + taken] = memoryview(chunk)[at : at + taken]
                filled += taken
                at += taken
                if filled == size:
                    number += 1
                    if number > MAX_PARTS:
                        raise StoreUnavailable("the object is larger than S3 allows")
                    yield body
                    size, filled = min(part << (number // DOUBLE_AFTER), LARGEST_PART * MIB), 0
                    body = bytearray(size)
    if filled:
        del body[filled:]
        yield body
