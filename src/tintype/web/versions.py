"""The version document: which minor versions this deployment speaks, and where."""

from tintype.config.model import Config
from tintype.web.http import Request, Response, json_response

_ALWAYS = (0, 1, 2, 3, 4, 5, 6, 7, 9, 15, 17)
_WITH_STORES = (8, 10, 11, 12, 13)


def minors(config: Config) -> tuple[int, ...]:
    """Return the minor versions of 2, the newest first."""
    found = set(_ALWAYS)
    if config.stores.multi:
        found.update(_WITH_STORES)
    return tuple(sorted(found, reverse=True))


def prefixes(config: Config) -> frozenset[str]:
    """Return the first path segments that mean this API."""
    return frozenset({"v2", *(f"v2.{minor}" for minor in minors(config))})


def document(request: Request, status: int) -> Response:
    """Return the version document, for 300 (choose one) or 200 (as asked)."""
    config = request.svc.config
    base = (config.server.public_endpoint or request.base).rstrip("/")
    newest, *older = minors(config)
    versions = [
        {
            "id": f"v2.{minor}",
            "status": "CURRENT" if minor == newest else "SUPPORTED",
            "links": [{"rel": "self", "href": f"{base}/v2/"}],
        }
        for minor in (newest, *older)
    ]
    return json_response({"versions": versions}, status)
