"""Authentication by Keystone tokens: validated once, cached, and validated by one request at a time."""

import logging
from collections.abc import Mapping
from functools import partial

from msgspec.structs import replace

from ferrotype.config.keystone import Keystone as KeystoneConfig
from ferrotype.identity.session import Keystone, SingleFlight, document, unavailable
from ferrotype.identity.token_info import TokenCache, TokenInfo, cache_key, could_be_token, parse_token, token_form
from ferrotype.model.caller import Caller
from ferrotype.model.errors import Unauthenticated

log = logging.getLogger("ferrotype.identity")

#: Tokens that are validated concurrently.
THREADS = 8


class KeystoneAuth:
    """Authenticates callers by their token alone; other identity headers of a request are ignored."""

    def __init__(self, config: KeystoneConfig):
        self._config = config
        self._keystone = Keystone(config.login)
        self._cache = TokenCache(config.token_cache_time)
        self._validations: SingleFlight[TokenInfo | None] = SingleFlight(THREADS, "keystone")
        self._memcached = None
        if config.memcached and config.token_cache_time > 0:
            from ferrotype.identity.memcached import MemcachedTokenCache

            self._memcached = MemcachedTokenCache(config.memcached, config.token_cache_time)

    async def identify(self, headers: Mapping[str, str], client: str = "") -> Caller:
        """Return the caller. Raises Unauthenticated; Busy when Keystone is needed and unavailable.

        Clients take turns while tokens are validated.
        """
        token = (headers.get("x-auth-token") or headers.get("x-storage-token") or "").strip()
        if not token:
            raise Unauthenticated("Authentication is required: send a token in 'X-Auth-Token'.")
        service_roles = await self._service_roles(headers.get("x-service-token", "").strip(), client)
        # Long-running work of a service may outlast the user's token; its service token vouches for that.
        accept_expired = bool(service_roles & frozenset(self._config.service_token_roles))
        info = await self._token_info(token, accept_expired, client)
        if info is None or (info.expired and not accept_expired):
            raise Unauthenticated("The token is invalid or expired.")
        return replace(info.caller, service_roles=service_roles) if service_roles else info.caller

    async def _service_roles(self, token: str, client: str) -> frozenset[str]:
        """Return the roles of a service token; none if it is missing, invalid or lacks a required role."""
        info = await self._token_info(token, False, client) if token else None
        if info is None or info.expired:
            return frozenset()
        roles = info.caller.roles
        if self._config.service_token_roles_required and not roles & frozenset(self._config.service_token_roles):
            return frozenset()
        return roles

    async def _token_info(self, token: str, allow_expired: bool, client: str) -> TokenInfo | None:
        """Return the validation of a token; None if Keystone rejects it."""
        if not could_be_token(token):
            return None
        key = cache_key(token)
        info = self._cache.get(key)
        if info is not None:
            return info
        if self._cache.is_rejected((key, allow_expired)):
            return None
        return await self._validations.do(
            (key, allow_expired),
            self._config.login.timeout,
            partial(self._on_result, key, allow_expired),
            partial(self._validate, token, key, allow_expired),
            client,
            token_form(token),
        )

    def _on_result(self, key: bytes, allow_expired: bool, info: TokenInfo | None) -> None:
        if info is None:
            self._cache.reject((key, allow_expired))
        else:
            self._cache.put(key, info)

    def _validate(self, token: str, key: bytes, allow_expired: bool) -> TokenInfo | None:
        """Validate a token, with memcached or else with Keystone. Blocks; runs in a thread."""
        shared = self._memcached.get(key) if self._memcached else None
        if shared is not None and self._cache.is_current(shared) and (allow_expired or not shared.expired):
            return shared
        path = "/auth/tokens?nocatalog" + ("&allow_expired=1" if allow_expired else "")
        status, content = self._keystone.get(path, {"X-Subject-Token": token})
        if status in (400, 404):
            return None
        if status != 200:
            log.error("token validation failed: Keystone returned status=%d", status)
            raise unavailable()
        try:
            info = parse_token(document(content, "token"))
        except (KeyError, TypeError, ValueError, AttributeError):
            log.error("token validation failed: Keystone's response is malformed")
            raise unavailable() from None
        if self._memcached:
            self._memcached.put(key, info)
        return info

    def close(self) -> None:
        """Stop the threads; running validations are abandoned."""
        self._validations.close()
