"""Every error of the product, by meaning. Only ``web.errors`` knows which HTTP status each one becomes.

FerrotypeError
 |- ClientError             the request cannot be granted; nothing was changed
 |   |- Unauthenticated
 |   |- Forbidden
 |   |- NotFound
 |   |- Conflict
 |   |- Gone
 |   |- Invalid
 |   |   |- BadRange        the range lies outside the data
 |   |   |- URLRefused      the service sends no request to this URL
 |   |   |- BodyBroken      the client disconnected before its body was complete (web.http)
 |   |   `- BodyTooSlow     the document in the body took too long (web.http)
 |   |- OverLimit
 |   |   `- BodyTooLarge    the document in the body is too large (web.http)
 |   |- ContentRefused      the data do not match their declared format, or are unsafe
 |   `- Busy                no capacity; retry later
 |- HTTPError               an error that only HTTP has, with its status (web.errors)
 |- StoreError              a store operation failed
 |   |- BlobNotFound
 |   |- BlobDamaged
 |   |- StoreFull
 |   |- StoreDenied
 |   |- StoreReadOnly
 |   `- StoreUnavailable
 |       `- StoreSlow       it delivers too slowly while another copy could be read
 |- FetchError              a request to another server failed; a retry may succeed
 |   |- FetchNotFound       the server has no such file
 |   |- FetchDenied         the server, or its certificate, was not accepted, or did not accept the request
 |   `- FetchChanged        the file is not the one that was described before
 |- DatabaseUnavailable     (db.engine)
 `- ...                     what stops a start or a reload: the errors of config, watched files, schema and logs
"""


class FerrotypeError(Exception):
    """Base class of every exception that Ferrotype defines."""


class ClientError(FerrotypeError):
    """The request cannot be granted. The text is for the client; nothing was changed."""


class Unauthenticated(ClientError):
    """The caller did not prove who they are. ``challenge`` is the value of ``WWW-Authenticate``, if there is one."""

    def __init__(self, text: str, challenge: str | None = None):
        super().__init__(text)
        self.challenge = challenge


class Forbidden(ClientError):
    """The caller may see the resource, but may not do this to it."""


class NotFound(ClientError):
    """The resource does not exist, or the caller may not know that it exists."""


class Conflict(ClientError):
    """The resource is not in a state that allows this."""


class Gone(ClientError):
    """The resource was deleted while the request was working on it."""


class Invalid(ClientError):
    """The request is malformed. The text names the field and the limit."""


class BadRange(Invalid):
    """The requested range lies outside the ``size`` bytes of the data."""

    def __init__(self, text: str, size: int):
        super().__init__(text)
        self.size = size


class URLRefused(Invalid):
    """The service sends no request to this URL. The text is for the client and the same for every address.

    ``detail`` is for the operator's log: it may tell what a name resolves to.
    """

    def __init__(self, text: str, detail: str = ""):
        super().__init__(text)
        self.detail = detail or text


class OverLimit(ClientError):
    """A quota or a size limit would be exceeded."""


class ContentRefused(ClientError):
    """The data is not of the declared format, or fails a safety check of its format.

    ``check`` is the name of the check, ``found`` and ``declared`` are formats, ``option`` is the setting that would
    allow the data; empty when there is none.
    """

    def __init__(self, text: str, *, check: str, found: str, declared: str, option: str):
        super().__init__(text)
        self.check = check
        self.found = found
        self.declared = declared
        self.option = option


class Busy(ClientError):
    """There is no capacity at the moment. ``retry_after`` is in seconds."""

    def __init__(self, text: str, retry_after: int = 5):
        super().__init__(text)
        self.retry_after = retry_after


class StoreError(FerrotypeError):
    """A store operation failed. ``stores.store`` fills in ``store``."""

    store: str | None = None


class BlobNotFound(StoreError):
    """The object does not exist."""


class BlobDamaged(StoreError):
    """The object exists, but differs from what was stored."""


class StoreFull(StoreError):
    """The store has no space for the object."""


class StoreDenied(StoreError):
    """The store refuses access: permissions, credentials, read-only file system."""


class StoreReadOnly(StoreError):
    """The store accepts no objects: by its type, or because its last probe failed."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or failed; a retry may succeed."""


class StoreSlow(StoreUnavailable):
    """The store delivers an object too slowly to be waited for while another copy of it could be read."""


class FetchError(FerrotypeError):
    """A request to another server failed; a retry may succeed. The text names the server, never a whole URL."""


class FetchNotFound(FetchError):
    """The other server has no such file."""


class FetchDenied(FetchError):
    """The other server refused the request, or its certificate is not trusted."""


class FetchChanged(FetchError):
    """The file differs from the one that was described before."""
