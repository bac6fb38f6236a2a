"""Files on other servers, registered by their URLs: read only, and never of another version than was registered.

The handle of a file is its URL. Requests are sent by a client that the application hands in (``Fetch``): it judges
every address, and every redirect, before it connects.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from ferrotype.model.blob import ObjectRef, Registered
from ferrotype.model.errors import (
    BlobDamaged,
    BlobNotFound,
    FetchChanged,
    FetchDenied,
    FetchError,
    FetchNotFound,
    StoreDenied,
    StoreReadOnly,
    StoreUnavailable,
    URLRefused,
)
from ferrotype.model.external import Validators
from ferrotype.stores.driver import READ_SIZE, Batch, Health, Listed, LocalFile, Noted

#: Characters of a URL, which is also the handle.
_LONGEST_URL = 1024


class Response(Protocol):
    """Data of a file, on its way."""

    #: what the server says of the whole file
    validators: Validators

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield what was asked for; raise FetchError where it ends too early."""

    def close(self) -> None:
        """End the connection; again does nothing."""


class Fetch(Protocol):
    """A client that sends requests only to addresses that the operator allows."""

    async def get(
        self, url: str, offset: int = 0, count: int | None = None, expected: Validators | None = None
    ) -> Response:
        """Ask for a part of a file, or all of it, of the version ``expected``.

        Raises URLRefused, FetchNotFound, FetchDenied, FetchChanged, or FetchError for all else.
        """


class HttpSource:
    """One file on another server. Each read is a request of its own."""

    local_file: LocalFile | None = None

    def __init__(self, fetch: Fetch, url: str, version: Validators):
        self._fetch, self._url, self._version = fetch, url, version
        self.size: int | None = version.size

    async def read(self, offset: int, count: int | None) -> AsyncIterator[bytes]:
        """Yield a part of the file.

        From a server that knows no ranges everything before ``offset`` is read too, and discarded.
        """
        if self.size is not None:
            left = max(self.size - offset, 0)
            count = left if count is None else min(count, left)
        if count == 0:
            return
        whole = offset == 0 and count == self.size
        with _as_store_errors():
            response = await self._fetch.get(self._url, offset, None if whole else count, self._version)
            try:
                async for chunk in response.chunks():
                    for start in range(0, len(chunk), READ_SIZE):
                        yield chunk[start : start + READ_SIZE] if len(chunk) > READ_SIZE else chunk
            finally:
                response.close()

    async def close(self) -> None:
        """Nothing is held between reads."""


class HttpDriver:
    """Files on any servers, as far as the client lets requests through."""

    def __init__(self, fetch: Fetch):
        self._fetch = fetch
        self.properties: Mapping[str, Any] = {}

    async def put(self, object: ObjectRef, batches: AsyncIterator[Batch], size: int | None, noted: Noted) -> str:
        raise StoreReadOnly("stores of type http never take images")

    async def open(self, handle: str) -> HttpSource:
        return await self.open_unchanged(handle, None)

    async def open_unchanged(self, handle: str, expected: Validators | None) -> HttpSource:
        with _as_store_errors():
            seen = await self._seen(handle, expected)
        return HttpSource(self._fetch, handle, seen)

    async def register(self, url: str) -> Registered:
        """Return what the server says of a file; raise URLRefused for a URL to which no request is sent."""
        handle = self.parse(url)
        if handle is None:
            raise StoreDenied("the URL is not one of this store")
        with _as_store_errors(registering=True):
            seen = await self._seen(handle, None)
        if seen.size is None:  # Without it a file that is cut could not be told from a whole one.
            raise StoreDenied("the server does not tell the size of the file")
        return Registered(handle, seen.size, validators=seen)

    async def stat(self, handle: str) -> int | None:
        with _as_store_errors():
            return (await self._seen(handle, None)).size

    async def _seen(self, url: str, expected: Validators | None) -> Validators:
        """Ask for the first byte: unlike HEAD this works with signed URLs, and tells whether there are ranges."""
        response = await self._fetch.get(url, 0, 1, expected)
        response.close()
        return response.validators

    async def delete(self, name: str, handle: str | None) -> None:
        """Leave the file where it is: it belongs to others (STOR-150)."""

    async def list(self) -> AsyncIterator[Listed]:
        """Yield nothing: no object in there is ours."""
        nothing: tuple[Listed, ...] = ()
        for each in nothing:
            yield each

    async def probe(self) -> Health:
        return Health(False)

    def url(self, handle: str) -> str:
        return handle

    def parse(self, url: str) -> str | None:
        scheme, separator, rest = url.partition("://")
        ours = scheme.lower() in ("http", "https") and separator and rest and len(url) <= _LONGEST_URL
        return url if ours else None


@contextmanager
def _as_store_errors(registering: bool = False) -> Iterator[None]:
    """Turn the client's errors into StoreErrors; while a URL is being registered, let its refusal pass."""
    try:
        yield
    except URLRefused as error:
        if registering:
            raise
        raise StoreDenied(error.detail) from error
    except FetchNotFound as error:
        raise BlobNotFound(str(error)) from error
    except FetchChanged as error:
        raise BlobDamaged(str(error)) from error
    except FetchDenied as error:
        raise StoreDenied(str(error)) from error
    except FetchError as error:
        raise StoreUnavailable(str(error)) from error
