"""Errors -> HTTP responses: the only module that maps the product's errors to statuses."""

import html
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Literal

import msgspec

from ferrotype.db.engine import DatabaseUnavailable, Locked
from ferrotype.model import errors
from ferrotype.web.http import BodyTooSlow, Request, Response

log = logging.getLogger("ferrotype.web")

#: The most specific class in the error's MRO decides.
STATUSES: dict[type[Exception], int] = {
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.Invalid: 400,
    errors.BadRange: 416,
    errors.OverLimit: 413,
    errors.ContentRefused: 415,
    errors.Busy: 503,
    errors.BlobNotFound: 503,
    errors.BlobDamaged: 503,
    errors.StoreFull: 413,
    errors.StoreDenied: 503,
    errors.StoreReadOnly: 410,
    errors.StoreUnavailable: 503,
    errors.StoreError: 503,
    DatabaseUnavailable: 503,
    BodyTooSlow: 408,
}

#: Texts for clients about failures of a store or the database; the log has the details.
_STORE_TEXTS: dict[type[Exception], str] = {
    errors.StoreFull: "The store has no space for the data.",
    errors.StoreDenied: "The service has no access to the store at the moment.",
    errors.StoreReadOnly: "Error in store configuration. Adding images to store is disabled.",
    errors.BlobNotFound: "The data of the image cannot be read at the moment.",
    errors.BlobDamaged: "The data of the image cannot be read at the moment.",
    errors.StoreUnavailable: "The store cannot be used at the moment.",
    errors.StoreError: "The store cannot be used at the moment.",
    Locked: "The resource is locked by another request. Please retry.",
    DatabaseUnavailable: "The service cannot reach its database at the moment. Please retry.",
}


#: How the body of an error is written.
Form = Literal["html", "json", "plain"]

#: Makes the response for a status, a text and headers.
ErrorFormatter = Callable[[Request, int, str, tuple[tuple[str, str], ...]], Response]


class HTTPError(errors.FerrotypeError):
    """An error that only HTTP has, with its status: wrong method, wrong media type, header too long."""

    def __init__(self, status: int, text: str, headers: tuple[tuple[str, str], ...] = ()):
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers


def response_to(error: Exception, request: Request, formatter: ErrorFormatter | None = None) -> Response:
    """Return the response to a request that failed, and log what an operator needs to know.

    ``formatter`` makes the body; default is the Image API's format.
    """
    formatter = formatter or error_response
    if isinstance(error, HTTPError):
        return formatter(request, error.status, error.text, error.headers)
    status = _lookup_by_mro(STATUSES, error)
    if status is None:
        path = request.scope["raw_path"][:256].decode("latin-1")
        log.error("request failed: %s %s request=%s", request.method, path, request.id, exc_info=error)
        return formatter(request, 500, "An internal error occurred; details are in the server's log.", ())
    text = _lookup_by_mro(_STORE_TEXTS, error) or str(error)
    headers: list[tuple[str, str]] = []
    if status == 503:
        headers.append(("retry-after", str(getattr(error, "retry_after", 5))))
    if status == 401 and (challenge := getattr(error, "challenge", None)):
        headers.append(("www-authenticate", challenge))
    elif status == 401 and (uri := request.ctx.config.auth.www_authenticate_uri):
        headers.append(("www-authenticate", f'Keystone uri="{uri}"'))
    if isinstance(error, errors.BadRange):
        headers.append(("content-range", f"bytes */{error.size}"))
    if isinstance(error, errors.StoreError):
        log.error("store error: store=%s request=%s: %s", error.store or "?", request.id, error)
    if isinstance(error, DatabaseUnavailable):
        log.error("database unavailable: request=%s: %s", request.id, error)
    return formatter(request, status, text, tuple(headers))


def _lookup_by_mro(table: dict[type[Exception], Any], error: Exception) -> Any:
    return next((table[kind] for kind in type(error).__mro__ if kind in table), None)


def error_response(request: Request, status: int, text: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """Return an error as plain text, HTML or JSON, as the client's Accept header prefers."""
    phrase = reason(status)
    title = f"{status} {phrase}"
    match _form(request.headers.get("accept")):
        case "html":
            escaped = html.escape(text, quote=False)
            body = (
                f"<html>\n <head>\n  <title>{title}</title>\n </head>\n <body>\n"
                f"  <h1>{title}</h1>\n  {escaped}<br /><br />\n\n\n </body>\n</html>"
            ).encode()
            kind = "text/html; charset=UTF-8"
        case "json":
            body = msgspec.json.encode({"message": text, "code": title, "title": phrase})
            kind = "application/json"
        case _:
            body = f"{title}\n\n{text}\n".encode()
            kind = "text/plain; charset=UTF-8"
    return Response(status, body, [("content-type", kind), ("x-content-type-options", "nosniff"), *headers])


def reason(status: int) -> str:
    """Return the reason phrase of a status, in Glance's words."""
    if status == 413:
        return "Request Entity Too Large"
    if status == 416:
        return "Request Range Not Satisfiable"
    return HTTPStatus(status).phrase


def _form(accept: str | None) -> Form:
    """Return html, json or plain: the acceptable one with the best quality, in that order (RFC 9110 12.5.1)."""
    if accept is None or not accept.strip():
        return "plain"
    try:
        wanted = [_media_range(part) for part in accept.split(",") if part.strip()]
    except ValueError:
        return "html"
    page, document = _quality(wanted, "text/html"), _quality(wanted, "application/json")
    if page > 0 and page >= document:
        return "html"
    return "json" if document > 0 else "plain"


def _media_range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    if name.count("/") != 1 or not all(name.split("/")):
        raise ValueError(name)
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            quality = float(value)
    return name, quality


def _quality(wanted: list[tuple[str, float]], kind: str) -> float:
    """Return the quality of a media type: that of the most specific range that matches."""
    for pattern in (kind, kind.split("/")[0] + "/*", "*/*"):
        found = [quality for name, quality in wanted if name == pattern]
        if found:
            return max(found)
    return 0.0
