"""Databases that let several requests reach the same moment, so that a race happens each time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from ferrotype.db.engine import Transaction


class Gate:
    """A database whose first transactions begin when so many wait for one; everything else is the database's."""

    def __init__(self, database: Any, count: int):
        self._database, self._barrier, self._count = database, asyncio.Barrier(count), count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Transaction]:
        if self._count:
            self._count -= 1
            await self._barrier.wait()
        async with self._database.begin() as tx:
            yield tx


class Before:
    """A database on which something happens just before the first transaction begins."""

    def __init__(self, database: Any, event: Callable[[], Awaitable[Any]]):
        self._database, self._events = database, [event]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Transaction]:
        while self._events:
            await self._events.pop()()
        async with self._database.begin() as tx:
            yield tx
