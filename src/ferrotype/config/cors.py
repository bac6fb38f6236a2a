"""Cross-origin resource sharing: which web pages of other origins may call the service."""

import re
from dataclasses import dataclass

from ferrotype.config.auth import Auth
from ferrotype.config.options import BOOL, COUNT, NAMES, Option
from ferrotype.config.values import Values


@dataclass(frozen=True)
class Cors:
    """CORS is off while ``origins`` is empty: no page of another origin may call."""

    #: as browsers send them; ``*`` is every page
    origins: tuple[str, ...] = ()
    allow_credentials: bool = True
    #: seconds that a browser may cache a preflight response; 0 leaves that to the browser, -1: not at all
    max_age: int = 3600
    allow_methods: tuple[str, ...] = ("GET", "PUT", "POST", "DELETE", "PATCH")
    allow_headers: tuple[str, ...] = (
        "Content-MD5", "X-Image-Meta-Checksum", "X-Storage-Token", "Accept-Encoding", "X-Auth-Token",
        "X-Identity-Status", "X-Roles", "X-Service-Catalog", "X-User-Id", "X-Tenant-Id", "X-OpenStack-Request-ID",
    )  # fmt: skip
    expose_headers: tuple[str, ...] = (
        "X-Image-Meta-Checksum", "X-Auth-Token", "X-Subject-Token", "X-Service-Token", "X-OpenStack-Request-ID",
    )  # fmt: skip


OPTIONS = (
    Option("cors", "allowed_origin", NAMES, [],
           "origins whose pages may call the service, such as `https://dashboard.example.org`; `*`: all",
           dest="cors.origins", reloadable=True),
    Option("cors", "allow_credentials", BOOL, Cors.allow_credentials,
           "these pages may send the browser's credentials for this service; never with `*`",
           dest="cors.allow_credentials", reloadable=True),
    Option("cors", "max_age", COUNT, Cors.max_age,
           "seconds that a browser may cache a preflight response; 0 leaves it to the browser, -1: not at all",
           dest="cors.max_age", reloadable=True),
    Option("cors", "allow_methods", NAMES, list(Cors.allow_methods), "methods that these pages may use",
           dest="cors.allow_methods", reloadable=True),
    Option("cors", "allow_headers", NAMES, list(Cors.allow_headers), "headers that these pages may send",
           dest="cors.allow_headers", reloadable=True),
    Option("cors", "expose_headers", NAMES, list(Cors.expose_headers), "headers that these pages may read",
           dest="cors.expose_headers", reloadable=True),
)  # fmt: skip


def read(values: Values, auth: Auth) -> Cors:
    """Return which pages may call. ``*`` is refused without authentication."""
    cors = Cors(**values.fields(OPTIONS, "cors"))
    for origin in cors.origins:
        if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#@\sA-Z]+", origin):
            text = f"contains {origin!r}, which is not an origin; write it like https://dashboard.example.org"
            values.problem("cors", "allowed_origin", text)
    if "*" in cors.origins and auth.strategy == "none":
        text = "gives every web page full access, as auth_strategy is none; list the origins instead"
        values.problem("cors", "allowed_origin", text)
    elif "*" in cors.origins:
        values.warn("[cors] allowed_origin contains *: every web page may call, without the browser's credentials.")
    for name in ("allow_methods", "allow_headers", "expose_headers"):
        if any(not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", entry) for entry in getattr(cors, name)):
            values.problem("cors", name, "must be names separated by commas")
    return cors
