"""Asking Keystone as the service itself: keystoneauth in a few threads, and an answer or a refusal in bounded time.

keystoneauth waits where it is called, so everything here runs in threads; the loop waits for the outcome no
longer than it wants to, while one piece of work a key goes on and serves whoever comes for it next.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import msgspec
from keystoneauth1 import exceptions, loading
from keystoneauth1.session import Session

from ferrotype.config.login import Login
from ferrotype.model.errors import Busy, FerrotypeError

log = logging.getLogger("ferrotype.identity")

V = TypeVar("V")

#: Pieces of work that may be under way or wait for a thread. Beyond it the answer is at once that there is none.
MOST_UNDER_WAY = 256
#: Seconds before a connection that failed is tried again; doubled each time.
_PAUSE = 0.1


class Misconfigured(FerrotypeError):
    """The service cannot log in to Keystone in the way it was told to."""


class Keystone:
    """Keystone as the service sees it once it has logged in. Calls wait: they belong into threads."""

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
        self._answered = True

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Return status and body of the answer. Raises Busy when there is none in time, or none that counts."""
        deadline = time.monotonic() + self._login.timeout
        pause = _PAUSE
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
                if attempt == self._login.retries or time.monotonic() + pause >= deadline:
                    raise self._out_of_reach(error) from error
                time.sleep(pause)
                pause *= 2
            except exceptions.ClientException as error:  # It does not let us in, or has no such endpoint.
                raise self._out_of_reach(error) from error
            else:
                return self._judged(answer.status_code, answer.content)
        raise self._out_of_reach("no attempt was made")

    def _judged(self, status: int, content: bytes) -> tuple[int, bytes]:
        if status in (401, 403):
            raise self._out_of_reach(f"it answered {status}; does the service have the right roles?")
        if status >= 500:
            raise self._out_of_reach(f"it answered {status}")
        if not self._answered:
            log.warning("Keystone answers again.")
        self._answered = True
        return status, content

    def _out_of_reach(self, why: object) -> Busy:
        if self._answered:  # Said once, not for every request of an outage.
            log.error("Keystone cannot be asked: %s", str(why)[:500])
        self._answered = False
        return unavailable()


def unavailable() -> Busy:
    """Return what a caller is told while Keystone does not answer."""
    return Busy("The identity service does not answer at present; please repeat the request.", retry_after=5)


def _plugin(login: Login) -> Any:
    def written(option: Any) -> str | None:
        names = (option.dest, *(older.dest for older in option.deprecated))
        return next((login.options[name] for name in names if name in login.options), None)

    try:
        return loading.get_plugin_loader(login.auth_type).load_from_options_getter(written)
    except (exceptions.ClientException, exceptions.MissingRequiredOptions, TypeError, ValueError) as error:
        raise Misconfigured(
            f"The service cannot log in to Keystone with auth_type {login.auth_type}: {error}"
        ) from error


class Flights(Generic[V]):
    """Work in threads, one piece for each key at a time; whoever wants the same waits for the same."""

    def __init__(self, threads: int, name: str):
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._under_way: dict[Any, asyncio.Future[V]] = {}

    async def join(self, key: Any, patience: float, landed: Callable[[V], None], work: Callable[[], V]) -> V:
        """Return the outcome of ``work``, which is begun unless it is under way; raise Busy after ``patience``.

        ``landed`` is told of a result even when nobody waits for it any more.
        """
        flight = self._under_way.get(key)
        if flight is None:
            if len(self._under_way) >= MOST_UNDER_WAY:
                raise unavailable()
            flight = asyncio.get_running_loop().run_in_executor(self._threads, work)
            self._under_way[key] = flight
            flight.add_done_callback(lambda done: self._end(key, done, landed))
        try:
            return await asyncio.wait_for(asyncio.shield(flight), patience)
        except TimeoutError:
            raise unavailable() from None

    def _end(self, key: Any, flight: asyncio.Future[V], landed: Callable[[V], None]) -> None:
        self._under_way.pop(key, None)
        if not flight.cancelled() and flight.exception() is None:
            landed(flight.result())

    def close(self) -> None:
        """Take on no more work, and do not wait for what is under way: it changes nothing."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def document(content: bytes, name: str) -> Any:
    """Return what Keystone's answer holds under a name; raise Busy when it is not what Keystone would say."""
    try:
        return msgspec.json.decode(content)[name]
    except (msgspec.DecodeError, KeyError, TypeError):
        log.error("Keystone's answer holds no %s", name)
        raise unavailable() from None
