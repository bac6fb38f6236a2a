"""Tokens of Keystone: validated once, believed for a while, asked about by one request at a time."""

import logging
from collections.abc import Mapping
from functools import partial

from msgspec.structs import replace

from ferrotype.config.keystone import Keystone as KeystoneConfig
from ferrotype.identity.facts import Facts, Kept, could_be_token, facts_from, key_of
from ferrotype.identity.session import Flights, Keystone, document, unavailable
from ferrotype.model.caller import Caller
from ferrotype.model.errors import Unauthenticated

log = logging.getLogger("ferrotype.identity")

#: Tokens that are validated at the same time.
THREADS = 8


class Tokens:
    """Says who is calling by the token of the request, and nothing else of it is believed."""

    def __init__(self, config: KeystoneConfig):
        self._config = config
        self._keystone = Keystone(config.login)
        self._kept = Kept(config.token_cache_time)
        self._flights: Flights[Facts | None] = Flights(THREADS, "keystone")
        self._shared = None
        if config.memcached and config.token_cache_time > 0:
            from ferrotype.identity.memcached import Shared

            self._shared = Shared(config.memcached, config.token_cache_time)

    async def identify(self, headers: Mapping[str, str]) -> Caller:
        """Return the caller. Raises Unauthenticated, and Busy when Keystone would have to be asked and cannot."""
        token = (headers.get("x-auth-token") or headers.get("x-storage-token") or "").strip()
        if not token:
            raise Unauthenticated("Authentication is required: send a token in 'X-Auth-Token'.")
        service = await self._service(headers.get("x-service-token", "").strip())
        # A service that may carry users' tokens goes on with work that outlasted them.
        carried = bool(service & frozenset(self._config.service_token_roles))
        facts = await self._facts(token, carried)
        if facts is None or (facts.expired and not carried):
            raise Unauthenticated("The token is invalid or expired.")
        return replace(facts.caller, service_roles=service) if service else facts.caller

    async def _service(self, token: str) -> frozenset[str]:
        """Return the roles of the service that sends the request for somebody; none where its token is no good."""
        facts = await self._facts(token, allow_expired=False) if token else None
        if facts is None or facts.expired:
            return frozenset()
        roles = facts.caller.roles
        if self._config.service_token_roles_required and not roles & frozenset(self._config.service_token_roles):
            return frozenset()
        return roles

    async def _facts(self, token: str, allow_expired: bool) -> Facts | None:
        """Return what a token means; None for one that Keystone does not know."""
        if not could_be_token(token):
            return None
        key = key_of(token)
        facts = self._kept.get(key)
        if facts is not None:
            return facts
        if self._kept.refused((key, allow_expired)):
            return None
        return await self._flights.join(
            (key, allow_expired),
            self._config.login.timeout,
            partial(self._learn, key, allow_expired),
            partial(self._validate, token, key, allow_expired),
        )

    def _learn(self, key: bytes, allow_expired: bool, facts: Facts | None) -> None:
        if facts is None:
            self._kept.refuse((key, allow_expired))
        else:
            self._kept.put(key, facts)

    def _validate(self, token: str, key: bytes, allow_expired: bool) -> Facts | None:
        """Ask, in a thread: what processes have in common first, then Keystone."""
        shared = self._shared.get(key) if self._shared else None
        if shared is not None and self._kept.believed(shared) and (allow_expired or not shared.expired):
            return shared
        path = "/auth/tokens?nocatalog" + ("&allow_expired=1" if allow_expired else "")
        status, content = self._keystone.get(path, {"X-Subject-Token": token})
        if status in (400, 404):
            return None
        if status != 200:
            log.error("token validation failed: Keystone returned status=%d", status)
            raise unavailable()
        try:
            facts = facts_from(document(content, "token"))
        except (KeyError, TypeError, ValueError, AttributeError):
            log.error("token validation failed: Keystone's response is malformed")
            raise unavailable() from None
        if self._shared:
            self._shared.put(key, facts)
        return facts

    def close(self) -> None:
        """Let go of threads and connections."""
        self._flights.close()
