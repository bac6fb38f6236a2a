"""Uploads and downloads at once: as many as the server has descriptors for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from ferrotype.model.errors import Busy
from ferrotype.web.http import Request

#: Where the server puts its ``Transfers`` into the ASGI scope.
TRANSFERS = "ferrotype.transfers"
#: In the ASGI scope of a request that is counted.
TRANSFERRING = "ferrotype.transferring"


class Transfers(Protocol):
    """Counts the transfers of a server."""

    def begin_transfer(self, client: str) -> bool:
        """Count a transfer of a client, by its address; return False when there are too many."""

    def end_transfer(self, client: str) -> None:
        """Count it no more."""


@contextmanager
def transfer(request: Request) -> Iterator[None]:
    """Count the request as a transfer during the block; raise Busy when there are too many."""
    transfers: Transfers | None = request.scope.get(TRANSFERS)
    if transfers is None:  # Nothing counts them.
        yield
        return
    client = request.client
    if not transfers.begin_transfer(client):
        raise Busy("Too much data is being transferred at present; please repeat the request.", retry_after=5)
    request.scope[TRANSFERRING] = True
    try:
        yield
    finally:
        transfers.end_transfer(client)
