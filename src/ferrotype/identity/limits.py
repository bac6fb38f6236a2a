"""What projects may have, as Keystone has registered it: asked every few seconds, and the last known kept."""

import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

from ferrotype.config.unified_limits import UnifiedLimits
from ferrotype.identity.session import Flights, Keystone, document, unavailable
from ferrotype.model.errors import Busy

log = logging.getLogger("ferrotype.identity")

#: Seconds for which limits are used without asking again.
FRESH = 5.0
#: Seconds for which a request waits for news when there is something older to go by.
PATIENCE = 1.0
#: Projects whose limits a process remembers.
MOST_KEPT = 10_000

_THREADS = 4

Limits = Mapping[str, int]


class Registered:
    """The limits of each project: its own where it has one, else the registered default.

    A resource that nobody registered is missing here, which means that there may be none of it.
    """

    def __init__(self, config: UnifiedLimits):
        self._config = config
        self._keystone = Keystone(config.login)
        self._flights: Flights[Limits] = Flights(_THREADS, "limits")
        #: project -> when it was last asked about, and the limits
        self._known: dict[str, tuple[float, Limits]] = {}
        self._endpoint: tuple[str, str | None] | None = None

    async def of(self, project: str | None) -> Limits:
        """Return the limits of a project, or what holds for everybody. Raises Busy where they were never known."""
        key = project or ""
        known = self._known.get(key)
        if known and time.monotonic() - known[0] < FRESH:
            return known[1]
        patience = PATIENCE if known else self._config.login.timeout
        try:
            return await self._flights.join(key, patience, partial(self._learn, key), partial(self._ask, project))
        except Busy:
            if known is None:
                raise
            # Asked again only after a while: an outage must not make every request wait.
            self._known[key] = (time.monotonic(), known[1])
            return known[1]

    def _learn(self, key: str, limits: Limits) -> None:
        if key not in self._known and len(self._known) >= MOST_KEPT:
            del self._known[next(iter(self._known))]
        self._known[key] = (time.monotonic(), limits)

    def _ask(self, project: str | None) -> Limits:
        """Ask, in a thread."""
        service, region = self._endpoint or self._found_endpoint()
        where = {"service_id": service} | ({"region_id": region} if region else {})
        limits = {each["resource_name"]: each["default_limit"] for each in self._list("registered_limits", where)}
        if project:
            for each in self._list("limits", {**where, "project_id": project}):
                limits[each["resource_name"]] = each["resource_limit"]
        return limits

    def _found_endpoint(self) -> tuple[str, str | None]:
        """Return the service and the region whose limits count."""
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

    def _only(self, kind: str, which: Mapping[str, str | None]) -> Any:
        found = self._list(kind, which)
        if len(found) != 1:
            log.error("[oslo_limit] must match exactly one of %s: matches=%d %s", kind, len(found), dict(which))
            raise unavailable()
        return found[0]

    def _list(self, kind: str, which: Mapping[str, str | None]) -> Any:
        query = urlencode({name: value for name, value in which.items() if value})
        return self._document(f"/{kind}?{query}", kind)

    def _document(self, path: str, name: str) -> Any:
        status, content = self._keystone.get(path)
        if status != 200:
            log.error("reading limits failed: Keystone returned status=%d path=%s", status, path)
            raise unavailable()
        return document(content, name)

    def close(self) -> None:
        """Let go of threads and connections."""
        self._flights.close()
