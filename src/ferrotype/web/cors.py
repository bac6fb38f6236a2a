"""What a browser must be told before a page of another origin may call us, or read what we answered."""

from ferrotype.config.cors import Cors
from ferrotype.web.http import Request

#: Headers that a page may send without being on the list.
_HARMLESS = frozenset(
    {
        "accept", "accept-language", "cache-control", "content-language", "content-type", "expires",
        "last-modified", "pragma",
    }
)  # fmt: skip

Headers = list[tuple[str, str]]


def allows(cors: Cors, origin: str) -> bool:
    """Tell whether the deployment lets pages of this origin call."""
    return origin in cors.origins or "*" in cors.origins


def headers(request: Request) -> Headers:
    """Return what to add to the answer, whatever it is: nothing, unless its origin may call.

    An OPTIONS request asks what another one would be allowed; all that it names must be, or nothing is said.
    """
    cors, origin = request.svc.config.cors, request.headers.get("origin")
    if origin is None or not allows(cors, origin):
        return []
    if request.method == "OPTIONS":
        return _preflight(request, cors, origin)
    exposed = [("access-control-expose-headers", ",".join(cors.expose_headers))] if cors.expose_headers else []
    return _to(cors, origin) + exposed


def _to(cors: Cors, origin: str) -> Headers:
    if "*" in cors.origins:  # A browser must not send what it keeps for us at every page's wish.
        return [("access-control-allow-origin", "*")]
    credentials = [("access-control-allow-credentials", "true")] if cors.allow_credentials else []
    return [("vary", "Origin"), ("access-control-allow-origin", origin), *credentials]


def _preflight(request: Request, cors: Cors, origin: str) -> Headers:
    method = request.headers.get("access-control-request-method")
    named = (name.strip() for name in request.headers.get("access-control-request-headers", "").split(","))
    wanted = [name for name in named if name]
    known = _HARMLESS.union(name.lower() for name in cors.allow_headers)
    if method not in cors.allow_methods or not known.issuperset(name.lower() for name in wanted):
        return []
    answer = _to(cors, origin)
    if cors.max_age:
        answer.append(("access-control-max-age", str(cors.max_age)))
    answer.append(("access-control-allow-methods", method))
    if wanted:
        answer.append(("access-control-allow-headers", ",".join(wanted)))
    return answer
