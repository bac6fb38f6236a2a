"""The version document: the supported minor versions and their URLs."""

from functools import lru_cache

import msgspec

from ferrotype.config.model import Config
from ferrotype.web.http import Request, Response

_ALWAYS = (0, 1, 2, 3, 4, 5, 6, 7, 9, 15, 17)
_WITH_STORES = (8, 10, 11, 12, 13)


def minors(config: Config) -> tuple[int, ...]:
    """Return the supported minor versions of version 2, newest first."""
    return _minors(config.stores.multi)


def prefixes(config: Config) -> frozenset[str]:
    """Return the first path segments that select this API: v2, v2.0, ..."""
    return _prefixes(config.stores.multi)


def document(request: Request, status: int) -> Response:
    """Return the version document; ``status`` is 300 (Multiple Choices) or 200."""
    config = request.ctx.config
    base = (config.server.public_endpoint or request.base).rstrip("/")
    return Response(status, _document(config.stores.multi, base), [("content-type", "application/json")])


@lru_cache
def _minors(multi: bool) -> tuple[int, ...]:
    return tuple(sorted((*_ALWAYS, *_WITH_STORES) if multi else _ALWAYS, reverse=True))


@lru_cache
def _prefixes(multi: bool) -> frozenset[str]:
    return frozenset({"v2", *(f"v2.{minor}" for minor in _minors(multi))})


@lru_cache(maxsize=64)  # Clients use few host names; made-up ones only cost a rebuild.
def _document(multi: bool, base: str) -> bytes:
    newest, *older = _minors(multi)
    versions = [
        {
            "id": f"v2.{minor}",
            "status": "CURRENT" if minor == newest else "SUPPORTED",
            "links": [{"rel": "self", "href": f"{base}/v2/"}],
        }
        for minor in (newest, *older)
    ]
    return msgspec.json.encode({"versions": versions})
