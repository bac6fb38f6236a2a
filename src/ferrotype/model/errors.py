"""What can go wrong, by meaning. Only ``web.errors`` knows which status each one is.

FerrotypeError
 |- Refusal                 the request cannot be granted; nothing was changed
 |   |- Unauthenticated
 |   |- Forbidden
 |   |- NotFound
 |   |- Conflict
 |   |- Gone
 |   |- Invalid
 |   |   `- BadRange        the bytes asked for do not exist
 |   |- OverLimit
 |   |- ContentRefused      the bytes are not what they were said to be, or are dangerous
 |   `- Busy                try again later
 `- StoreError              a store could not do its part
     |- BlobNotFound
     |- BlobDamaged
     |- StoreFull
     |- StoreDenied
     |- StoreReadOnly
     `- StoreUnavailable
"""


class FerrotypeError(Exception):
    """The root of everything that Ferrotype raises on purpose."""


class Refusal(FerrotypeError):
    """The request cannot be granted. The text is for the caller; nothing was changed."""


class Unauthenticated(Refusal):
    """Nobody known is calling. ``challenge`` says in HTTP's words how to prove who one is, where that is known."""

    def __init__(self, text: str, challenge: str | None = None):
        super().__init__(text)
        self.challenge = challenge


class Forbidden(Refusal):
    """The caller may see the thing, but may not do this to it."""


class NotFound(Refusal):
    """There is no such thing, or the caller may not know that there is."""


class Conflict(Refusal):
    """The thing is not in a state in which this can be done."""


class Gone(Refusal):
    """The thing disappeared while it was being worked on."""


class Invalid(Refusal):
    """The request is malformed: the text names the field and the limit."""


class BadRange(Invalid):
    """The bytes asked for do not exist in ``size`` bytes of data."""

    def __init__(self, text: str, size: int):
        super().__init__(text)
        self.size = size


class OverLimit(Refusal):
    """A quota or a size limit would be exceeded."""


class ContentRefused(Refusal):
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


class Busy(Refusal):
    """No capacity now; ``retry_after`` is in seconds."""

    def __init__(self, text: str, retry_after: int = 5):
        super().__init__(text)
        self.retry_after = retry_after


class StoreError(FerrotypeError):
    """A store could not do its part. ``store`` is filled in by ``stores.store``."""

    store: str | None = None


class BlobNotFound(StoreError):
    """The object is not there."""


class BlobDamaged(StoreError):
    """The object is there, but it is not the one that was stored."""


class StoreFull(StoreError):
    """No room for the object."""


class StoreDenied(StoreError):
    """The store refuses access: permissions, credentials, read-only file system."""


class StoreReadOnly(StoreError):
    """The store does not take objects: by its kind, or because its last probe failed."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or failed; it may work later."""
