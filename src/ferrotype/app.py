"""The one place where parts are put together: Config in, ASGI application out."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ferrotype import logs
from ferrotype.admin import seeding
from ferrotype.admin.consistency import Difference, differences
from ferrotype.background import cleanup
from ferrotype.config.model import Config
from ferrotype.config.read import reloadable
from ferrotype.db import logins
from ferrotype.db.backends.connect import connect
from ferrotype.db.engine import DatabaseUnavailable
from ferrotype.identity import none
from ferrotype.model.errors import FerrotypeError
from ferrotype.offload import Crew
from ferrotype.rules.schemas import Schemas
from ferrotype.rules.view import View
from ferrotype.service.context import Service, UnifiedLimits
from ferrotype.service.lease import Lease
from ferrotype.service.policies import Policies
from ferrotype.service.watched_files import Snapshot
from ferrotype.stores.store import open_stores
from ferrotype.web.application import Identify, Web
from ferrotype.web.http import Receive, Scope, Send

if TYPE_CHECKING:
    from ferrotype.service.account_files import AccountFiles
    from ferrotype.service.login import Login
    from ferrotype.web.identity import Door

log = logging.getLogger("ferrotype.app")

#: Seconds between renewals of the lease (when one has failed), rounds of upkeep, and probes of the stores.
RENEW, REGAIN, TIDY, PROBE = 10.0, 1.0, 5.0, 30.0
#: Seconds between two looks at the policy files.
REREAD = 2.0

_IDENTITIES: dict[str, Identify] = {"none": none.identify}


def _identity(config: Config, closing: ExitStack) -> Identify:
    """Return who says who is calling; what it has open is closed with ``closing``."""
    if config.keystone is None:
        return _IDENTITIES[config.auth.strategy]
    from ferrotype.identity.keystone import Tokens  # keystoneauth is imported only where Keystone is.

    tokens = Tokens(config.keystone)
    closing.callback(tokens.close)
    return tokens.identify


def _unified_limits(config: Config, closing: ExitStack) -> UnifiedLimits | None:
    if config.unified_limits is None:
        return None
    from ferrotype.identity.limits import Registered

    limits = Registered(config.unified_limits)
    closing.callback(limits.close)
    return limits


class Application:
    """A service in one process: opened by ``start``, closed by ``stop``, called by the server in between."""

    def __init__(self, svc: Service, policies: Policies, web: Web, login: "Login | None", closing: ExitStack):
        self.svc = svc
        self._policies = policies
        self._closing = closing
        self._web = web
        self._login = login
        self._loops: list[asyncio.Task[None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._web(scope, receive, send)

    async def start(self) -> None:
        """Take a place among the workers and begin the cleanup."""
        await self.svc.lease.begin()
        await cleanup.look_at_stores(self.svc)
        await cleanup.tidy(self.svc)
        self._loops = [
            asyncio.create_task(_every(RENEW, self.svc.lease.renew)),
            asyncio.create_task(_every(REGAIN, self.svc.lease.regain)),
            asyncio.create_task(_every(TIDY, lambda: cleanup.tidy(self.svc))),
            asyncio.create_task(_every(PROBE, lambda: cleanup.look_at_stores(self.svc))),
            asyncio.create_task(_every(REREAD, self._refresh_files)),
        ]

    async def _refresh_files(self) -> None:
        try:
            if self._policies.refresh():
                self._apply_policies()
        finally:  # Whatever becomes of the policies: an API token that was taken out of its file is void.
            if self._login:
                self._login.files.refresh()

    def _apply_policies(self) -> None:
        config = self.svc.config
        self.svc.authoriser, self.svc.protection = self._policies.authoriser, self._policies.protection
        self.svc.view = View(config.api, config.stores.multi, self.svc.stores.weight, self.svc.protection)

    async def stop(self) -> None:
        """Leave in order: nothing is under way any more."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        try:
            await self.svc.lease.end()
        except DatabaseUnavailable as error:
            log.warning("The lease of this worker could not be ended, it will lapse by itself: %s", error)
        await self.close()

    async def close(self) -> None:
        """Close what ``build`` opened."""
        await self.svc.db.close()
        self.svc.crew.close()
        self._closing.close()

    def reload(self, config: Config) -> None:
        """Go on with a configuration that differs only in what may change while the service runs."""
        self.svc.config = config
        logs.follow(config.logging)
        self._policies.configure(config.policy)
        self.svc.schemas = Schemas(config.formats, config.api)
        self._apply_policies()


async def build(config: Config, identify: Identify | None = None, snapshot: Snapshot | None = None) -> Application:
    """Return the application of a configuration; call it in the process that will run it.

    ``snapshot`` has what other processes of the service read from the watched files.
    """
    closing = ExitStack()
    policies = Policies(config.policy, config.protection, snapshot)
    files = _account_files(config, snapshot)
    crew = Crew()
    db = await connect(config.database)
    stores = open_stores(config.stores, crew)
    svc = Service(
        config=config,
        db=db,
        stores=stores,
        crew=crew,
        lease=Lease(db),
        authoriser=policies.authoriser,
        schemas=Schemas(config.formats, config.api),
        view=View(config.api, config.stores.multi, stores.weight, policies.protection),
        protection=policies.protection,
        unified_limits=_unified_limits(config, closing),
    )
    login = await _login(files, svc) if files else None
    identify = identify or (login.identify if login else _identity(config, closing))
    door = _door(login) if login and config.accounts and config.accounts.door else None
    return Application(svc, policies, Web(svc, identify, door), login, closing)


def _account_files(config: Config, snapshot: Snapshot | None = None) -> "AccountFiles | None":
    if config.accounts is None:
        return None
    from ferrotype.service.account_files import AccountFiles

    return AccountFiles(config.accounts, snapshot)


async def _login(files: "AccountFiles", svc: Service) -> "Login":
    from ferrotype.identity.basic import Passwords  # bcrypt is imported only where there are passwords.
    from ferrotype.identity.tokens import Signer
    from ferrotype.service.login import Login

    signer = Signer(await logins.secret(svc.db, "tokens"))
    return Login(files, Passwords(svc.crew, svc.config.server.workers), signer, svc.db)


def _door(login: "Login") -> "Door":
    from ferrotype.web.identity import Door

    return Door(login)


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Repeat a piece of work for ever. What fails is logged and tried again the next time."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except FerrotypeError as error:
            log.error("The upkeep could not be done and is tried again: %s", error)
        except Exception:
            log.exception("The upkeep failed and is tried again")


def obstacles(config: Config) -> list[str]:
    """Return a sentence for each file that the configuration names and that would stop the start.

    They are read, nothing is created, and neither stores nor the database are opened.
    """
    found = []
    with ExitStack() as closing:
        for attempt in (
            lambda: logs.check(config.logging),
            lambda: Policies(config.policy, config.protection),
            lambda: _account_files(config),
            lambda: config.keystone and _identity(config, closing),
            lambda: _unified_limits(config, closing),
        ):
            try:
                attempt()
            except FerrotypeError as error:
                found.append(str(error))
    return list(dict.fromkeys(found))


def following(running: Config, read: Config) -> tuple[Config, tuple[str, ...]]:
    """Return what of a configuration can follow on the running one, and a sentence for each change that has to wait.

    Raises BrokenFiles where its policies cannot be read: then nothing of it follows.
    """
    after, waiting = reloadable(running, read)
    Policies(after.policy, after.protection)
    return after, waiting


async def check(config: Config, repair: bool, remove_unknown: bool = False) -> list[Difference]:
    """Compare ledger, stores and counters of a configuration, and mend what can be mended when told to."""
    application = await build(config)
    try:
        return await differences(application.svc, repair, remove_unknown)
    finally:
        await application.close()


async def seed(config: Config, count: int) -> str:
    """Write images to measure with, and say how many and how fast."""
    db = await connect(config.database)
    try:
        return await seeding.seed(db, count)
    finally:
        await db.close()
