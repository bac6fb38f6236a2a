"""Keystone's unified limits: refreshed every few seconds, and the last known ones used during an outage."""

import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

from ferrotype.config.unified_limits import UnifiedLimits
from ferrotype.identity.session import Keystone, SingleFlight, document, unavailable
from ferrotype.model.errors import Busy

log = logging.getLogger("ferrotype.identity")

#: Seconds for which limits are used without being refreshed.
CACHE_SECONDS = 5.0
#: Seconds for which a request waits for a refresh when there are older limits to use.
REFRESH_TIMEOUT = 1.0
#: Most projects whose limits a process caches.
MAX_CACHED = 10_000

_THREADS = 4

Limits = Mapping[str, int]


class KeystoneLimits:
    """The limits of each project: its own where it has one, else the registered default.

    A resource without a registered limit is missing here, which means a limit of 0.
    """

    def __init__(self, config: UnifiedLimits):
        self._config = config
        self._keystone = Keystone(config.login)
        self._refreshes: SingleFlight[Limits] = SingleFlight(_THREADS, "limits")
        #: project -> when its limits were fetched, and the limits
        self._cache: dict[str, tuple[float, Limits]] = {}
        self._endpoint: tuple[str, str | None] | None = None

    async def of(self, project: str | None) -> Limits:
        """Return the limits of a project; for None the defaults. Raises Busy if they were never fetched."""
        key = project or ""
        cached = self._cache.get(key)
        if cached and time.monotonic() - cached[0] < CACHE_SECONDS:
            return cached[1]
        timeout = REFRESH_TIMEOUT if cached else self._config.login.timeout
        try:
            return await self._refreshes.do(key, timeout, partial(self._put, key), partial(self._fetch, project))
        except Busy:
            if cached is None:
                raise
            # Back off: during an outage only one request in CACHE_SECONDS waits for Keystone.
            self._cache[key] = (time.monotonic(), cached[1])
            return cached[1]

    def _put(self, key: str, limits: Limits) -> None:
        if key not in self._cache and len(self._cache) >= MAX_CACHED:
            del self._cache[next(iter(self._cache))]
        self._cache[key] = (time.monotonic(), limits)

    def _fetch(self, project: str | None) -> Limits:
        """Read the limits from Keystone. Blocks; runs in a thread."""
        service, region = self._endpoint or self._find_endpoint()
        where = {"service_id": service} | ({"region_id": region} if region else {})
        limits = {each["resource_name"]: each["default_limit"] for each in self._list("registered_limits", where)}
        if project:
            for each in self._list("limits", {**where, "project_id": project}):
                limits[each["resource_name"]] = each["resource_limit"]
        return limits

    def _find_endpoint(self) -> tuple[str, str | None]:
        """Return service and region of the endpoint whose limits apply."""
        model = self._document("/limits/model", "model")["name"]
        if model != "flat":
            log.error("unsupported limit model in Keystone; only 'flat' is supported: model=%s", model)
            raise unavailable()
        config = self._config
        if config.endpoint_id:
            endpoint = self._document(f"/endpoints/{quote(config.endpoint_id, safe='')}", "endpoint")
        else:
            named = {"type": config.service_type, "name": config.service_name}
            service = self._only("services", named)
            wanted = {"service_id": service["id"], "interface": config.interface, "region_id": config.region}
            endpoint = self._only("endpoints", wanted)
        self._endpoint = (endpoint["service_id"], endpoint.get("region_id"))
        return self._endpoint

    def _only(self, kind: str, filters: Mapping[str, str | None]) -> Any:
        """Return the only service or endpoint that matches; raise Busy if there is none or more than one."""
        found = self._list(kind, filters)
        if len(found) != 1:
            log.error("[oslo_limit] must match exactly one of %s: matches=%d %s", kind, len(found), dict(filters))
            raise unavailable()
        return found[0]

    def _list(self, kind: str, filters: Mapping[str, str | None]) -> Any:
        query = urlencode({name: value for name, value in filters.items() if value})
        return self._document(f"/{kind}?{query}", kind)

    def _document(self, path: str, name: str) -> Any:
        status, content = self._keystone.get(path)
        if status != 200:
            log.error("reading limits failed: Keystone returned status=%d path=%s", status, path)
            raise unavailable()
        return document(content, name)

    def close(self) -> None:
        """Stop the threads; running refreshes are abandoned."""
        self._refreshes.close()
