"""Composition root: builds the application from a configuration and connects its parts."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from ferrotype import logs
from ferrotype.admin import attribution, seeding
from ferrotype.admin import restore as restoring
from ferrotype.admin.consistency import Difference, differences
from ferrotype.background import cleanup, periodic
from ferrotype.config import Config, reload
from ferrotype.config.http_store import HttpStore
from ferrotype.db import logins
from ferrotype.db.backends.connect import connect
from ferrotype.db.engine import Database, DatabaseUnavailable
from ferrotype.identity import none
from ferrotype.model.errors import FerrotypeError
from ferrotype.offload import ThreadPools, Totals
from ferrotype.rules.permit import Authoriser
from ferrotype.rules.protection import Protection
from ferrotype.rules.schemas import Schemas
from ferrotype.rules.view import View
from ferrotype.service.context import ServiceContext, UnifiedLimits
from ferrotype.service.lease import Lease
from ferrotype.service.policies import Policies
from ferrotype.service.watched_files import Snapshot
from ferrotype.stores.driver import Factory
from ferrotype.stores.stores import Stores, open_stores
from ferrotype.web.application import Identify, Web
from ferrotype.web.http import Receive, Scope, Send

if TYPE_CHECKING:
    from ferrotype.service.account_files import AccountFiles
    from ferrotype.service.login import Login
    from ferrotype.web.identity import IdentityAPI

log = logging.getLogger("ferrotype.app")

#: Authentication without accounts and without Keystone, by ``auth_strategy``; any other fails to start.
_IDENTITIES: Mapping[str, Identify] = {"none": none.identify}


class Application:
    """A service in one process: ``start`` opens it, ``stop`` closes it, the server calls it in between.

    ``ctx`` is the context in force. A reload and a change of policy or property protection build another one
    completely and replace it with one assignment, so every request sees one configuration and one policy.
    """

    def __init__(self, ctx: ServiceContext, policies: Policies, web: Web, login: "Login | None", closing: ExitStack):
        self.ctx = ctx
        self._policies = policies
        self._closing = closing
        self._web = web
        self._login = login
        self._tasks: list[asyncio.Task[None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._web.answer(self.ctx, scope, receive, send)

    async def start(self) -> None:
        """Register this worker, probe the stores, run the first cleanup and start the periodic work."""
        await self.ctx.lease.begin()
        await cleanup.probe_stores(self.ctx)
        await cleanup.run_cleanup(self.ctx)
        self._tasks = periodic.start(periodic.schedule(lambda: self.ctx, self._refresh_files))

    async def stop(self) -> None:
        """Shut down cleanly. All requests must have finished."""
        await periodic.stop(self._tasks)
        try:
            await self.ctx.lease.end()
        except DatabaseUnavailable as error:
            log.warning("lease could not be released; it will expire: %s", error)
        await self.close()

    async def close(self) -> None:
        """Close what ``build`` opened."""
        await self.ctx.db.close()
        self.ctx.pools.close()
        self._closing.close()

    def reload(self, config: Config) -> None:
        """Apply a configuration that differs from the running one in reloadable options only."""
        logs.apply(config.logging)
        self._policies.configure(config.policy)
        self.ctx = _reconfigured(self.ctx, config, self._policies)

    async def _refresh_files(self) -> None:
        """Apply changes of the policy, property protection and account files."""
        try:
            if self._policies.refresh():
                self.ctx = _reconfigured(self.ctx, self.ctx.config, self._policies)
        finally:  # An error in the policies must not keep a token valid that was removed from its file (SEC-74).
            if self._login:
                self._login.files.refresh()


async def build(
    config: Config,
    identify: Identify | None = None,
    snapshot: Snapshot | None = None,
    totals: Totals | None = None,
) -> Application:
    """Return the application of a configuration. Call it in the process that will run it.

    ``identify`` replaces the configured authentication. ``snapshot`` holds the contents of watched files that other
    processes of the service have in force; ``totals`` are the numbers that they keep together.
    """
    closing = ExitStack()
    policies = Policies(config.policy, config.protection, snapshot)
    authoriser, protection = policies.authoriser, policies.protection
    files = _account_files(config, snapshot)
    pools = ThreadPools(totals=totals)
    db = await connect(config.database)
    stores = open_stores(config.stores, pools, _store_drivers(config, pools))
    ctx = ServiceContext(
        config=config,
        db=db,
        stores=stores,
        pools=pools,
        lease=Lease(db, config.server.lease),
        authoriser=authoriser,
        schemas=Schemas(config.formats, config.api),
        view=_view(config, stores, authoriser, protection),
        protection=protection,
        unified_limits=_unified_limits(config, closing),
    )
    login = await _login(files, config, db, pools) if files else None
    identify = identify or (login.identify if login else _identity(config, closing))
    identity_api = _identity_api(login) if login and config.accounts and config.accounts.identity_api else None
    return Application(ctx, policies, Web(identify, identity_api), login, closing)


def _store_drivers(config: Config, pools: ThreadPools) -> Mapping[str, Factory]:
    """Return what makes the drivers of stores that send requests to addresses of users."""
    if not any(entry.type == "http" for entry in config.stores.entries):
        return {}
    from ferrotype.stores.http import HttpDriver  # Imports ssl only if there is such a store.
    from ferrotype.streams.addresses import Gate
    from ferrotype.streams.fetch import RESOLVER_THREADS, Fetcher, system_resolver, tls_context

    gate = Gate(config.filtering, system_resolver(pools.new_pool(RESOLVER_THREADS, "resolver")))

    def http_driver(store: str, options: HttpStore, pools: ThreadPools) -> HttpDriver:
        tls = tls_context(options.ca_file, options.insecure)
        return HttpDriver(Fetcher(gate, tls, dict(options.proxies), redirects=frozenset({301, 302})))

    return {"http": http_driver}


def _reconfigured(ctx: ServiceContext, config: Config, policies: Policies) -> ServiceContext:
    """Return the context with another configuration and policy, and everything derived from them."""
    authoriser, protection = policies.authoriser, policies.protection
    return replace(
        ctx,
        config=config,
        authoriser=authoriser,
        schemas=Schemas(config.formats, config.api),
        view=_view(config, ctx.stores, authoriser, protection),
        protection=protection,
    )


def _view(config: Config, stores: Stores, authoriser: Authoriser, protection: Protection | None) -> View:
    api = config.api
    return View(
        show_direct_url=api.show_direct_url,
        show_locations=api.show_locations,
        multi_store=config.stores.multi,
        weight=stores.weight,
        attribute=stores.attribute,
        schema_properties=api.schema_properties,
        protection=protection,
        may_see_locations=authoriser.may_see_locations,
    )


def _identity(config: Config, closing: ExitStack) -> Identify:
    """Return the configured authentication; ``closing`` closes what it opens."""
    if config.keystone is None:
        return _IDENTITIES[config.auth.strategy]
    from ferrotype.identity.keystone import KeystoneAuth  # Imports keystoneauth1 only if Keystone is used.

    auth = KeystoneAuth(config.keystone)
    closing.callback(auth.close)
    return auth.identify


def _unified_limits(config: Config, closing: ExitStack) -> UnifiedLimits | None:
    if config.unified_limits is None:
        return None
    from ferrotype.identity.limits import KeystoneLimits

    limits = KeystoneLimits(config.unified_limits)
    closing.callback(limits.close)
    return limits


def _account_files(config: Config, snapshot: Snapshot | None = None) -> "AccountFiles | None":
    if config.accounts is None:
        return None
    from ferrotype.service.account_files import AccountFiles

    return AccountFiles(config.accounts, snapshot)


async def _login(files: "AccountFiles", config: Config, db: Database, pools: ThreadPools) -> "Login":
    from ferrotype.identity.basic import Passwords  # Imports bcrypt only if there are passwords.
    from ferrotype.identity.tokens import Signer
    from ferrotype.service.login import Login

    signer = Signer(await logins.secret(db, "tokens"))
    return Login(files, Passwords(pools, config.server.workers), signer, db)


def _identity_api(login: "Login") -> "IdentityAPI":
    from ferrotype.web.identity import IdentityAPI

    return IdentityAPI(login)


def startup_errors(config: Config) -> list[str]:
    """Return a sentence for each file named in the configuration that would prevent the start.

    Reads the files. Creates nothing, and opens neither the stores nor the database.
    """
    errors = []
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
                errors.append(str(error))
    return list(dict.fromkeys(errors))


def reloadable_changes(running: Config, read: Config) -> tuple[Config, tuple[str, ...]]:
    """Return the running configuration with the reloadable changes of ``read``, and a sentence for each other change.

    Raises BrokenFiles if its policies cannot be read: then nothing is reloaded.
    """
    after, needs_restart = reload.reloadable_changes(running, read)
    Policies(after.policy, after.protection)
    return after, needs_restart


async def check(config: Config, repair: bool, remove_unknown: bool = False) -> list[Difference]:
    """Compare ledger, stores and counters; with ``repair`` fix what can be fixed safely."""
    application = await build(config)
    try:
        return await differences(application.ctx, repair, remove_unknown)
    finally:
        await application.close()


async def restore(config: Config, image_id: str) -> restoring.Restored:
    """Make a deleted image whose data is kept active again."""
    application = await build(config)
    try:
        return await restoring.restore(application.ctx, image_id)
    finally:
        await application.close()


async def attribute(
    config: Config, dry_run: bool, after: str, report: Callable[[attribution.Attributed], None]
) -> None:
    """Write into locations which store holds them, and report each; with ``dry_run`` change nothing."""
    application = await build(config)
    try:
        async for each in attribution.attribute(application.ctx, dry_run, after):
            report(each)
    finally:
        await application.close()


async def seed(config: Config, count: int) -> str:
    """Create ``count`` images for benchmarks; return how long it took."""
    db = await connect(config.database)
    try:
        return await seeding.seed(db, count)
    finally:
        await db.close()
