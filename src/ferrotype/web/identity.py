"""Minimal Identity v3 API (/identity/v3 and /v3) for clients that require Keystone, used when there is none.

It can log in, return a catalog with the Image service, and look up projects and users by name. It is read-only:
the accounts are in the operator's files.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from ferrotype.identity.accounts import DOMAIN, Account, project_id, project_name
from ferrotype.identity.tokens import Token
from ferrotype.model.errors import Forbidden, Invalid, NotFound, Unauthenticated
from ferrotype.model.times import SECOND
from ferrotype.service.login import Login
from ferrotype.web.clients import client_network
from ferrotype.web.errors import HTTPError, reason, response_to
from ferrotype.web.http import NO_CONTENT, Request, Response, json_response

T = TypeVar("T")
#: Sets the caller of a request, or raises Unauthenticated.
Authenticate = Callable[[Request], Awaitable[None]]

#: Most bytes in the body of a log-in.
MAX_BODY = 64 * 1024
#: The only region in the catalog.
REGION = "RegionOne"

_DOMAIN = {"id": DOMAIN, "name": "Default"}
_MEDIA_TYPE = {"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}
_METHODS = frozenset({"password", "token"})


class _Domain(Struct):
    id: str | None = None
    name: str | None = None


class _User(Struct):
    id: str | None = None
    name: str | None = None
    domain: _Domain | None = None
    password: str = ""


class _Password(Struct):
    user: _User


class _EarlierToken(Struct):
    id: str


class _Identity(Struct):
    methods: list[str]
    password: _Password | None = None
    token: _EarlierToken | None = None


class _Project(Struct):
    id: str | None = None
    name: str | None = None
    domain: _Domain | None = None


class _Auth(Struct):
    identity: _Identity
    scope: Any = None


class _LogIn(Struct):
    auth: _Auth


class IdentityAPI:
    """Answers requests below /identity and /v3."""

    def __init__(self, login: Login):
        self._login = login
        self._routes: Mapping[str, Mapping[str, Callable[[Request], Awaitable[Response]]]] = {
            "auth/tokens": {"POST": self._log_in, "GET": self._show_token, "DELETE": self._revoke_token},
            "auth/catalog": {"GET": self._catalog},
            "auth/projects": {"GET": self._own_projects},
            "auth/domains": {"GET": self._domains},
            "users/{id}/projects": {"GET": self._own_projects},
            "projects": {"GET": self._projects},
            "projects/{id}": {"GET": self._project},
            "users": {"GET": self._users},
            "users/{id}": {"GET": self._user},
            "domains": {"GET": self._domains},
            "domains/{id}": {"GET": self._domain},
        }

    async def answer(self, request: Request, segments: list[str], authenticate: Authenticate) -> Response:
        """Answer a request; errors have Identity's format. ``authenticate`` sets the request's caller."""
        try:
            return await self._answer(request, [each for each in segments if each], authenticate)
        except Unauthenticated as error:
            challenge = f'Keystone uri="{_base(request)}/identity/v3"'
            return _error(request, 401, str(error), (("www-authenticate", challenge),))
        except Exception as error:
            return response_to(error, request, _error)

    async def _answer(self, request: Request, segments: list[str], authenticate: Authenticate) -> Response:
        mount = "/v3" if segments[0] == "v3" else "/identity/v3"
        if segments == ["identity"]:
            return json_response({"versions": {"values": [_version(request, mount)]}}, 300)
        below = segments[1:] if mount == "/v3" else segments[2:]
        if mount == "/identity/v3" and segments[1] != "v3":
            raise NotFound("The resource could not be found.")
        if not below:
            return json_response({"version": _version(request, mount)})
        if below[0] in ("projects", "users", "domains") and len(below) > 1:
            request.params = {"id": below[1]}
            below[1] = "{id}"
        methods = self._routes.get("/".join(below))
        if methods is None:
            raise NotFound("The resource could not be found.")
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            allow = ", ".join(methods)
            raise HTTPError(405, f"This path supports the methods {allow}.", (("allow", allow),))
        if handler != self._log_in:
            await authenticate(request)
            if request.caller.anonymous:
                raise Unauthenticated("A token is required.")
        return await handler(request)

    async def _log_in(self, request: Request) -> Response:
        """POST /v3/auth/tokens"""
        asked = _decode(await request.body(MAX_BODY), _LogIn).auth
        account, before = await self._verify(asked.identity, client_network(request.client))
        project = _scope(asked.scope, account)
        request.caller = account.caller(project)
        text, token = self._login.issue(account, project, tuple(asked.identity.methods), before)
        document = _token(request, account, token)
        return json_response({"token": document}, 201, [("x-subject-token", text), ("vary", "X-Auth-Token")])

    async def _verify(self, identity: _Identity, client: str) -> tuple[Account, Token | None]:
        """Return the account that all named methods authenticate, and the token if one was given."""
        if not identity.methods or not _METHODS.issuperset(identity.methods):
            raise Unauthenticated("'methods' must be password, token or both.")
        account, before = None, None
        if "password" in identity.methods:
            if identity.password is None:
                raise Invalid("The method password requires 'password' next to 'methods'.")
            account = await self._by_password(identity.password.user, client)
        if "token" in identity.methods:
            if identity.token is None:
                raise Invalid("The method token requires 'token' next to 'methods'.")
            holder, before = await self._login.by_token(identity.token.id)
            if account and account.name != holder.name:
                raise Unauthenticated("The password and the token belong to different users.")
            account = holder
        if account is None:
            raise RuntimeError("no log-in method returned an account")
        return account, before

    async def _by_password(self, user: _User, client: str) -> Account:
        name = user.id or user.name
        if not name:
            raise Invalid("'user' must have an id, or a name and a domain.")
        # Takes as long for a user of another domain as for an unknown one (timing side channel).
        return await self._login.by_password(name if _is_default_domain(user.domain) else "", user.password, client)

    async def _show_token(self, request: Request) -> Response:
        """GET /v3/auth/tokens"""
        account, token = await self._subject(request)
        document = _token(request, account, token)
        if any(name == "nocatalog" for name, _ in request.query()):
            document.pop("catalog", None)
        headers = [("x-subject-token", request.headers["x-subject-token"]), ("vary", "X-Auth-Token")]
        return json_response({"token": document}, headers=headers)

    async def _revoke_token(self, request: Request) -> Response:
        """DELETE /v3/auth/tokens"""
        _, token = await self._subject(request)
        await self._login.revoke(token)
        return Response(NO_CONTENT)

    async def _subject(self, request: Request) -> tuple[Account, Token]:
        """Return account and token of ``X-Subject-Token``; only administrators may name others'."""
        try:
            account, token = await self._login.by_token(request.headers.get("x-subject-token", ""))
        except Unauthenticated:
            raise NotFound("The token in 'X-Subject-Token' is unknown, expired or revoked.") from None
        if token is None:
            raise NotFound("The token in 'X-Subject-Token' is an API token, not one that a log-in issued.")
        if account.name != request.caller.user and not request.caller.is_admin:
            raise Forbidden("The token in 'X-Subject-Token' belongs to another user.")
        return account, token

    async def _catalog(self, request: Request) -> Response:
        """GET /v3/auth/catalog"""
        if request.caller.project is None:
            raise Forbidden("An unscoped token has no catalog.")
        return _listed(request, "catalog", _catalog(request))

    async def _own_projects(self, request: Request) -> Response:
        """GET /v3/auth/projects, GET /v3/users/{id}/projects"""
        account = self._account(request.params.get("id", request.caller.user or ""), request)
        return _listed(request, "projects", [_project(grant.project) for grant in account.grants])

    async def _projects(self, request: Request) -> Response:
        """GET /v3/projects"""
        _require_admin(request)
        found = [_project(id_) for id_ in self._login.accounts.projects()]
        return _listed(request, "projects", _filtered(request, found))

    async def _project(self, request: Request) -> Response:
        """GET /v3/projects/{id}"""
        wanted, caller = request.params["id"], request.caller
        account = self._login.accounts.named(caller.user or "")
        if not caller.is_admin and not (account and account.roles(wanted)):
            raise Forbidden("Only an administrator may show other projects.")
        if wanted not in self._login.accounts.projects():
            raise NotFound(f"No project found with ID {wanted[:64]}.")
        return json_response({"project": _project(wanted)})

    async def _users(self, request: Request) -> Response:
        """GET /v3/users"""
        _require_admin(request)
        found = [_user(account) for account in self._login.accounts.all()]
        return _listed(request, "users", _filtered(request, found))

    async def _user(self, request: Request) -> Response:
        """GET /v3/users/{id}"""
        return json_response({"user": _user(self._account(request.params["id"], request))})

    def _account(self, name: str, request: Request) -> Account:
        """Return an account that the caller may see: its own, or any for an administrator."""
        if name != request.caller.user and not request.caller.is_admin:
            raise Forbidden("Only an administrator may show other users.")
        account = self._login.accounts.named(name)
        if account is None:
            raise NotFound(f"No user found with ID {name[:64]}.")
        return account

    async def _domains(self, request: Request) -> Response:
        """GET /v3/domains, GET /v3/auth/domains"""
        return _listed(request, "domains", _filtered(request, [{**_DOMAIN, "enabled": True}]))

    async def _domain(self, request: Request) -> Response:
        """GET /v3/domains/{id}"""
        if request.params["id"] != DOMAIN:
            raise NotFound(f"No domain found with ID {request.params['id'][:64]}.")
        return json_response({"domain": {**_DOMAIN, "enabled": True}})


def _require_admin(request: Request) -> None:
    """Raise Forbidden for callers who may not list.

    Clients fall back to treating the name as an ID on 403; an empty list would make them report "not found".
    """
    if not request.caller.is_admin:
        raise Forbidden("Only an administrator may list them; request one by its ID.")


def _error(request: Request, status: int, text: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """Return an error in Identity's format."""
    error = {"code": status, "message": text, "title": reason(status)}
    return json_response({"error": error}, status, headers)


def _decode(raw: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"The body must be a valid log-in request: {error}") from None


def _is_default_domain(domain: _Domain | None) -> bool:
    """Tell whether this is the only domain, which is also the default."""
    return domain is None or (domain.id in (None, DOMAIN) and (domain.name or "default").lower() == "default")


def _scope(scope: Any, account: Account) -> str | None:
    """Return the project of the new token, None for an unscoped one.

    Raises Unauthenticated for a project in which the user has no role.
    """
    if scope is None:  # Identity v3: the user's default project.
        return account.default_project
    if scope == "unscoped" or (isinstance(scope, dict) and list(scope) == ["unscoped"]):
        return None
    if isinstance(scope, dict) and list(scope) == ["project"]:
        try:
            project = msgspec.convert(scope["project"], _Project)
        except msgspec.ValidationError as error:
            raise Invalid(f"'project' in 'scope' is malformed: {error}") from None
        wanted = project.id or project_id(project.name or "")
        if account.roles(wanted) and _is_default_domain(project.domain):
            return wanted
    raise Unauthenticated("The user has no role in this scope.")


def _base(request: Request) -> str:
    return (request.ctx.config.server.public_endpoint or request.base).rstrip("/")


def _version(request: Request, mount: str) -> dict[str, Any]:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": f"{_base(request)}{mount}/"}],
        "media-types": [_MEDIA_TYPE],
    }


def _token(request: Request, account: Account, token: Token) -> dict[str, Any]:
    document: dict[str, Any] = {
        "methods": token.methods,
        "user": {"id": account.name, "name": account.name, "domain": _DOMAIN, "password_expires_at": None},
        "audit_ids": [token.id],
        "issued_at": _moment(token.issued_at),
        "expires_at": _moment(token.expires_at),
    }
    if token.project is not None:
        document |= {
            "project": {"id": token.project, "name": project_name(token.project), "domain": _DOMAIN},
            "is_domain": False,
            "roles": [{"id": role, "name": role} for role in account.roles(token.project)],
            "catalog": _catalog(request),
        }
    return document


def _moment(micros: int) -> str:
    return datetime.fromtimestamp(micros / SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _catalog(request: Request) -> list[dict[str, Any]]:
    """Return the services Image and Identity. Clients append the version to the URLs."""
    base = _base(request)
    return [_service("image", "glance", base), _service("identity", "keystone", f"{base}/identity")]


def _service(kind: str, name: str, url: str) -> dict[str, Any]:
    location = {"url": url, "region": REGION, "region_id": REGION}
    endpoints = [
        {"id": _id(f"{kind} {interface}"), "interface": interface, **location}
        for interface in ("public", "internal", "admin")
    ]
    return {"id": _id(kind), "type": kind, "name": name, "endpoints": endpoints}


def _id(of: str) -> str:
    """Return an id derived from a string, the same on every node."""
    return hashlib.sha256(of.encode()).hexdigest()[:32]


def _project(id_: str) -> dict[str, Any]:
    return {
        "id": id_, "name": project_name(id_), "domain_id": DOMAIN, "parent_id": DOMAIN, "enabled": True,
        "is_domain": False, "description": "", "tags": [], "options": {},
    }  # fmt: skip


def _user(account: Account) -> dict[str, Any]:
    return {
        "id": account.name, "name": account.name, "domain_id": DOMAIN, "enabled": True,
        "default_project_id": account.default_project, "password_expires_at": None, "options": {},
    }  # fmt: skip


def _filtered(request: Request, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the documents that match the query's ``name`` and ``domain_id``."""
    wanted = {name: value for name, value in request.query() if name in ("name", "domain_id")}
    return [each for each in found if all(each.get(name, value) == value for name, value in wanted.items())]


def _listed(request: Request, name: str, found: list[dict[str, Any]]) -> Response:
    path = request.scope["raw_path"].decode("latin-1")
    links = {"self": f"{_base(request)}{path}", "next": None, "previous": None}
    return json_response({name: found, "links": links})
