"""Whatever stops us, take back what was done, newest first."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from ferrotype.model.errors import FerrotypeError
from ferrotype.offload import undisturbed

log = logging.getLogger("ferrotype.undo")

Undo = Callable[..., None]


@asynccontextmanager
async def undoing() -> AsyncIterator[Undo]:
    """Yield a function that registers a step; when the block raises, the steps are run in reverse order.

    They run to their end even when we are cancelled. A step that fails is logged and does not keep the others
    from running: what it left is found by the upkeep, because the ledger knows of it.
    """
    steps: list[tuple[Callable[..., Awaitable[None]], tuple[Any, ...]]] = []

    def register(step: Callable[..., Awaitable[None]], *args: Any) -> None:
        steps.append((step, args))

    async def take_back() -> None:
        for step, args in reversed(steps):
            try:
                await step(*args)
            except FerrotypeError as error:
                log.error("%s could not be done and is left to the upkeep: %s", step.__name__, error)
            except Exception:
                log.exception("%s failed and is left to the upkeep", step.__name__)

    try:
        yield register
    except BaseException:
        await undisturbed(take_back())
        raise
