"""What is known of a file that another server keeps, and that may change there at any time."""

from msgspec import Struct


class Validators(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a server reported of a file. A later answer that differs means that the file changed."""

    #: bytes; None where the server does not say
    size: int | None = None
    #: as the server wrote it, ``W/"..."`` included
    etag: str | None = None
    last_modified: str | None = None
    #: the server answers requests for a part of the file
    ranges: bool = False

    def describes(self, seen: "Validators") -> bool:
        """Return whether ``seen`` is the same file: the same size and entity tag, or else time of modification.

        What this does not know is not compared. What it knows must be in ``seen``, except the size: an answer in
        chunks does not tell it.
        """
        if self.size is not None and seen.size is not None and self.size != seen.size:
            return False
        if self.etag is not None:
            return self.etag == seen.etag
        return self.last_modified is None or self.last_modified == seen.last_modified

    @property
    def strong_etag(self) -> str | None:
        """The entity tag, if it tells byte by byte the same file (RFC 9110 8.8.3)."""
        return self.etag if self.etag and self.etag.startswith('"') else None
