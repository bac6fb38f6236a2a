"""Whether a back end, or a part of it, answers: calls end with an error instead of waiting for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar, runtime_checkable

from ferrotype.model.errors import Busy, StoreError, StoreUnavailable
from ferrotype.stores.driver import Health

T = TypeVar("T")

#: Seconds that a back end has to answer a probe, and after which it is probed while it owes another answer.
PROBE_TIMEOUT = 5.0


def _ignore(health: Health) -> None:
    """Used where the owner of the part reports its health."""


class Supervisor:
    """Probes a back end with ``ask``, one question at a time, and knows what the last answer was.

    A back end that does not answer is ``unresponsive`` until the pending question is answered, and gets no other
    calls until then. ``silence`` is the reason that its health has then. ``tell`` gets the health after each probe.
    """

    def __init__(self, ask: Callable[[], Awaitable[Health]], silence: str, tell: Callable[[Health], None] = _ignore):
        self._ask, self._silence, self._tell = ask, silence, tell
        self.timeout = PROBE_TIMEOUT
        self.unresponsive = False
        #: why the last probe failed
        self.error: StoreError | None = None
        self._pending: asyncio.Future[Health] | None = None

    def check(self) -> None:
        """Raise StoreUnavailable while the back end is unresponsive."""
        if self.unresponsive:
            raise StoreUnavailable(self._silence)

    async def probe(self) -> None:
        """Probe the back end. When it does not answer in time it is unresponsive.

        A question that is pending already is not asked again.
        """
        with suppress(Busy):  # This process has no descriptors or no memory: that says nothing about the back end.
            await self.ask()

    async def ask(self) -> None:
        """Probe the back end; raise Busy when this process cannot."""
        if self._pending is None:
            self._pending = asyncio.ensure_future(self._ask())
            self._pending.add_done_callback(self._on_answer)
        pending = self._pending
        if not (await asyncio.wait([pending], timeout=self.timeout))[0]:
            self.unresponsive = True
            self.error = StoreUnavailable(self._silence)
            self._tell(Health(False, self._silence))
        elif not pending.cancelled() and isinstance(error := pending.exception(), Busy):
            raise error

    def _on_answer(self, answer: "asyncio.Future[Health]") -> None:
        """Record an answer, however late it comes."""
        self._pending, self.unresponsive = None, False
        if answer.cancelled() or isinstance(answer.exception(), Busy):
            return
        try:
            health, self.error = answer.result(), None
        except StoreError as error:
            health, self.error = Health(False, str(error)), error
        self._tell(health)

    async def call(self, request: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Return the answer to a request, however long it takes, as long as the back end answers probes.

        Raises StoreUnavailable otherwise; at once when it is known to be unresponsive.
        """
        self.check()
        call = asyncio.ensure_future(request(*args))
        try:
            while not (await asyncio.wait([call], timeout=self.timeout))[0]:
                await self.probe()
                self.check()
        except BaseException:  # Cancelled, or unresponsive: a late result is discarded.
            call.add_done_callback(_discard_late_result)
            raise
        return call.result()


@runtime_checkable
class Parts(Protocol):
    """A driver with parts that fail one by one, such as directories on file systems of their own.

    It supervises its calls itself, each by the part that it needs; ``probe`` answers although a part does not.
    """

    def part_of(self, name: str) -> Supervisor | None:
        """Return the supervisor of the part in which ``put`` is writing an object; None before one is chosen."""


#: closings that run in the background
_closing: set[asyncio.Future[None]] = set()


def _discard_late_result(call: "asyncio.Future[Any]") -> None:
    """Retrieve a result that came too late; close it if it is a source."""
    if call.cancelled() or call.exception() is not None:
        return
    close = getattr(call.result(), "close", None)
    if close is not None:
        closing = asyncio.ensure_future(close())
        _closing.add(closing)
        closing.add_done_callback(_closing.discard)
