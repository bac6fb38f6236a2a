"""Requests to Keystone as the service user, with keystoneauth, in a few threads and in bounded time.

keystoneauth blocks, so its calls run in threads. Requests wait for a result with a timeout; a call that takes longer
continues and serves the next request for the same key (single-flight).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import msgspec
from keystoneauth1 import exceptions, loading
from keystoneauth1.session import Session

from ferrotype.config.login import Login
from ferrotype.identity.fair_queue import FairQueue, Job, QueueFull
from ferrotype.model.errors import Busy, FerrotypeError

log = logging.getLogger("ferrotype.identity")

V = TypeVar("V")

#: Most calls that run or wait for a thread. Beyond it a call of the client with the most fails at once.
MAX_IN_FLIGHT = 1024
#: Seconds before a failed connection is retried; doubled each time.
_RETRY_DELAY = 0.1


class Misconfigured(FerrotypeError):
    """The options of ``auth_type`` are invalid or incomplete."""


class Keystone:
    """An authenticated session with Keystone. Calls block; run them in threads."""

    def __init__(self, login: Login):
        self._login = login
        verify = (login.cafile or True) if login.verify else False
        cert = (login.certfile, login.keyfile) if login.certfile and login.keyfile else login.certfile
        self._session = Session(_plugin(login), verify=verify, cert=cert, timeout=login.timeout)
        self._filter = {
            "service_type": "identity",
            "interface": list(login.interfaces),
            "region_name": login.region,
            "version": (3, 0),
        }
        self._available = True

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Return status and body of the response. Raises Busy on a timeout, and on 401, 403 and 5xx."""
        deadline = time.monotonic() + self._login.timeout
        delay = _RETRY_DELAY
        for attempt in range(self._login.retries + 1):
            try:
                answer = self._session.get(
                    path,
                    endpoint_filter=self._filter,
                    headers=dict(headers or {}),
                    timeout=max(0.1, deadline - time.monotonic()),
                    raise_exc=False,
                    log=False,
                )
            except exceptions.ConnectFailure as error:
                if attempt == self._login.retries or time.monotonic() + delay >= deadline:
                    raise self._unavailable(error) from error
                time.sleep(delay)
                delay *= 2
            except exceptions.ClientException as error:  # The log-in failed, or the catalog has no such endpoint.
                raise self._unavailable(error) from error
            else:
                return self._checked(answer.status_code, answer.content)
        raise self._unavailable("no attempt was made")

    def _checked(self, status: int, content: bytes) -> tuple[int, bytes]:
        if status in (401, 403):
            raise self._unavailable(f"it returned status {status}; check the service user's roles")
        if status >= 500:
            raise self._unavailable(f"it returned status {status}")
        if not self._available:
            log.warning("Keystone is available again")
        self._available = True
        return status, content

    def _unavailable(self, why: object) -> Busy:
        if self._available:  # Logged once per outage, not once per request.
            log.error("Keystone is unavailable: %s", str(why)[:500])
        self._available = False
        return unavailable()


def unavailable() -> Busy:
    """Return the error for callers while Keystone is unavailable."""
    return Busy("The identity service is unavailable at the moment. Please retry.", retry_after=5)


def _plugin(login: Login) -> Any:
    def option_value(option: Any) -> str | None:
        names = (option.dest, *(deprecated.dest for deprecated in option.deprecated))
        return next((login.options[name] for name in names if name in login.options), None)

    try:
        return loading.get_plugin_loader(login.auth_type).load_from_options_getter(option_value)
    except (exceptions.ClientException, exceptions.MissingRequiredOptions, TypeError, ValueError) as error:
        raise Misconfigured(
            f"The service cannot log in to Keystone with auth_type {login.auth_type}: {error}"
        ) from error


@dataclass
class _Call(Generic[V]):
    """A call, and how many requests wait for it."""

    job: Job[V]
    waiters: int = 0


class SingleFlight(Generic[V]):
    """Runs blocking calls in threads, one at a time per key; concurrent requests for a key share one call.

    This keeps an expired cache entry from causing a thundering herd of requests to Keystone. Calls that wait for a
    thread are taken in turns from all clients (``fair_queue``).
    """

    def __init__(self, threads: int, name: str):
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._queue: FairQueue[V] = FairQueue(threads, MAX_IN_FLIGHT)
        self._in_flight: dict[Any, _Call[V]] = {}

    async def do(
        self,
        key: Any,
        max_wait: float,
        on_result: Callable[[V], None],
        work: Callable[[], V],
        client: str = "",
        kind: str = "",
    ) -> V:
        """Return the result of ``work``, started unless a call for ``key`` is running.

        Raises Busy after ``max_wait`` seconds, or when too many calls wait; ``on_result`` gets the result even if
        every caller has given up. A call that has not started by then is dropped. ``client`` and ``kind`` tell whose
        turn is next.
        """
        call = self._in_flight.get(key)
        if call is None:
            call = self._in_flight[key] = self._submit(key, on_result, work, client, kind)
        call.waiters += 1
        try:
            return await asyncio.wait_for(asyncio.shield(call.job.outcome), max_wait)
        except (TimeoutError, QueueFull):
            raise unavailable() from None
        finally:
            call.waiters -= 1
            if not call.waiters and self._queue.withdraw(call.job):
                call.job.outcome.cancel()

    def _submit(
        self, key: Any, on_result: Callable[[V], None], work: Callable[[], V], client: str, kind: str
    ) -> "_Call[V]":
        start = partial(asyncio.get_running_loop().run_in_executor, self._threads, work)
        try:
            job = self._queue.submit(client, kind, start)
        except QueueFull:
            raise unavailable() from None
        job.outcome.add_done_callback(lambda done: self._finish(key, done, on_result))
        return _Call(job)

    def _finish(self, key: Any, future: asyncio.Future[V], on_result: Callable[[V], None]) -> None:
        self._in_flight.pop(key, None)
        if not future.cancelled() and future.exception() is None:
            on_result(future.result())

    def close(self) -> None:
        """Accept no more calls, and do not wait for running ones: they change nothing."""
        self._queue.close()
        self._threads.shutdown(wait=False, cancel_futures=True)


def document(content: bytes, name: str) -> Any:
    """Return the member ``name`` of a response's JSON object; raise Busy if the response is malformed."""
    try:
        return msgspec.json.decode(content)[name]
    except (msgspec.DecodeError, KeyError, TypeError):
        log.error("Keystone's response is malformed: missing=%s", name)
        raise unavailable() from None
