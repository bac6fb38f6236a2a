"""Roll back completed steps in reverse order when a later one fails."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from ferrotype.model.errors import FerrotypeError
from ferrotype.offload import shielded

log = logging.getLogger("ferrotype.rollback")

Register = Callable[..., None]


@asynccontextmanager
async def rollback_on_error() -> AsyncIterator[Register]:
    """Yield a function that registers a rollback step; when the block raises, the steps run in reverse order.

    They run to their end even when the caller is cancelled. A step that fails is logged and does not keep the others
    from running: the cleanup finds what it left through the ledger.
    """
    steps: list[tuple[Callable[..., Awaitable[None]], tuple[Any, ...]]] = []

    def register(step: Callable[..., Awaitable[None]], *args: Any) -> None:
        steps.append((step, args))

    async def rollback() -> None:
        for step, args in reversed(steps):
            try:
                await step(*args)
            except FerrotypeError as error:
                log.error("rollback step %s failed; the cleanup will retry: %s", step.__name__, error)
            except Exception:
                log.exception("rollback step %s failed; the cleanup will retry", step.__name__)

    try:
        yield register
    except BaseException:
        await shielded(rollback())
        raise
