"""CORS: the headers that let pages of other origins send requests and read responses."""

from ferrotype.config.model import Cors
from ferrotype.web.http import Request

#: Request headers that are always allowed.
_SAFE_HEADERS = frozenset(
    {
        "accept", "accept-language", "cache-control", "content-language", "content-type", "expires",
        "last-modified", "pragma",
    }
)  # fmt: skip

Headers = list[tuple[str, str]]


def allows(cors: Cors, origin: str) -> bool:
    """Tell whether the origin is among the configured ones."""
    return origin in cors.origins or "*" in cors.origins


def headers(request: Request) -> Headers:
    """Return the CORS headers of a response; none unless the origin is allowed.

    An OPTIONS request is a preflight: it gets headers only if the method and all headers it names are allowed.
    """
    cors, origin = request.ctx.config.cors, request.headers.get("origin")
    if origin is None or not allows(cors, origin):
        return []
    if request.method == "OPTIONS":
        return _preflight(request, cors, origin)
    exposed = [("access-control-expose-headers", ",".join(cors.expose_headers))] if cors.expose_headers else []
    return _allow_origin(cors, origin) + exposed


def _allow_origin(cors: Cors, origin: str) -> Headers:
    if "*" in cors.origins:  # Never with credentials: any page could use those that the browser keeps.
        return [("access-control-allow-origin", "*")]
    credentials = [("access-control-allow-credentials", "true")] if cors.allow_credentials else []
    return [("vary", "Origin"), ("access-control-allow-origin", origin), *credentials]


def _preflight(request: Request, cors: Cors, origin: str) -> Headers:
    method = request.headers.get("access-control-request-method")
    named = (name.strip() for name in request.headers.get("access-control-request-headers", "").split(","))
    wanted = [name for name in named if name]
    known = _SAFE_HEADERS.union(name.lower() for name in cors.allow_headers)
    if method not in cors.allow_methods or not known.issuperset(name.lower() for name in wanted):
        return []
    answer = _allow_origin(cors, origin)
    if cors.max_age:
        answer.append(("access-control-max-age", str(cors.max_age)))
    answer.append(("access-control-allow-methods", method))
    if wanted:
        answer.append(("access-control-allow-headers", ",".join(wanted)))
    return answer
