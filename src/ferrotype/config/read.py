"""From files and the command line to one checked ``Config``."""

import ipaddress
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ferrotype.config import stores
from ferrotype.config.database import database
from ferrotype.config.files import Line, expand, parse, referred
from ferrotype.config.keystone import keystone, unified
from ferrotype.config.model import (
    Accounts,
    Api,
    Auth,
    Config,
    ConfigError,
    Cors,
    Database,
    Formats,
    Limits,
    Logging,
    Policy,
    Protections,
    Server,
    Stores,
)
from ferrotype.config.options import IMPORT_METHODS, TABLE, find
from ferrotype.config.schema import schema
from ferrotype.config.values import Values, backends, load

#: Words of ``[paste_deploy] flavor`` that mean something.
FLAVORS = ("keystone", "caching", "cachemanagement")

_UNITS = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


@dataclass(frozen=True)
class Reading:
    """What was understood. ``config`` may run only if there are no ``problems``."""

    config: Config
    lines: tuple[Line, ...]
    store_ids: frozenset[str]
    problems: tuple[str, ...]
    #: those of the config's remarks that are not about a single line
    remarks: tuple[str, ...]


def read(files: Sequence[Path], dirs: Sequence[Path], overrides: Mapping[str, Any]) -> Config:
    """Return the configuration, or raise ``ConfigError`` with everything that is impossible in it.

    ``overrides`` are options of DEFAULT that the command line sets; None sets
    nothing, and ``allow_open`` is short for ``allow_unauthenticated_listen``.
    Nothing is created and no address is looked up.
    """
    reading = examine(files, dirs, overrides)
    if reading.problems:
        raise ConfigError(list(reading.problems))
    return reading.config


def examine(files: Sequence[Path], dirs: Sequence[Path], overrides: Mapping[str, Any]) -> Reading:
    """Return what ``read`` understands, impossible or not."""
    problems: list[str] = []
    given = {**overrides}
    if "allow_open" in given:
        given["allow_unauthenticated_listen"] = given.pop("allow_open")
    readable, lines = parse(expand(files, dirs, problems), problems)
    ids = stores.ids(backends(readable, lines, given))
    values = load(readable, lines, ids, given)
    values.problems[:0] = problems
    home = data_home()

    _check_accepted(values)
    nothing = not files and not dirs
    db = database(values, home / "ferrotype.sqlite", told=nothing)
    auth = _auth(values)
    asked = keystone(values) if auth.strategy == "keystone" else None
    if asked and not auth.www_authenticate_uri:
        auth = replace(auth, www_authenticate_uri=asked.login.options.get("auth_url"))
    where = list(dict.fromkeys([*(file.parent for file in readable), *dirs]))
    server = _server(values, auth, db)
    config = Config(
        server=server,
        auth=auth,
        accounts=_accounts(values, auth, server),
        database=db,
        api=_api(values, where),
        limits=_limits(values),
        formats=_formats(values),
        stores=_stores(values, home / "images" if nothing else None),
        logging=_logging(values),
        cors=_cors(values, auth),
        policy=_policy(values, where),
        protection=_protections(values, where),
        keystone=asked,
        unified_limits=unified(values) if values.get("DEFAULT", "use_keystone_limits") else None,
        files=readable,
    )
    remarks = (*values.remarks, *_remarks_on_lines(values))
    found = tuple(dict.fromkeys(values.problems))
    return Reading(replace(config, remarks=remarks), lines, values.ids, found, tuple(values.remarks))


def data_home() -> Path:
    """Return the directory that holds the data of a service without configuration."""
    base = Path(os.environ.get("XDG_DATA_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".local" / "share") / "ferrotype"


def loopback(host: str) -> bool:
    """Return whether only this machine can reach ``host``."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def plain_fields(values: Values, section: str) -> dict[str, Any]:
    """Return what goes into a section of ``Config`` as it is."""
    return {
        option.goes_to.partition(".")[2]: values.get(option.section, option.name)
        for option in TABLE
        if option.goes_to is not None and option.goes_to.partition(".")[0] == section
    }


def _server(values: Values, auth: Auth, db: Database) -> Server:
    closed = auth.strategy == "none"
    host = values.get("DEFAULT", "bind_host") or ("127.0.0.1" if closed else "0.0.0.0")  # noqa: S104
    if closed and not auth.allow_open and not loopback(host):
        values.problem(
            "DEFAULT",
            "bind_host",
            f"would let everybody who reaches {host} do anything, as auth_strategy is none; use 127.0.0.1,"
            " or set allow_unauthenticated_listen = true",
            show=False,
        )
    endpoint = values.get("DEFAULT", "public_endpoint") or None
    if endpoint and not _is_web_address(endpoint):
        values.problem("DEFAULT", "public_endpoint", "is not an address such as https://images.example.org")
    processors = min(8, len(os.sched_getaffinity(0)))
    disable = values.get("healthcheck", "disable_by_file_path")
    plain = plain_fields(values, "server")
    plain["graceful_timeout"] = float(plain["graceful_timeout"])
    return Server(
        **plain,
        bind_host=host,
        workers=values.get("DEFAULT", "workers") or (1 if db.kind == "sqlite" else processors),
        public_endpoint=endpoint,
        healthcheck_disable_file=Path(disable) if disable else None,
    )


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _auth(values: Values) -> Auth:
    chosen = values.get("DEFAULT", "auth_strategy")
    words = [word for word in (values.get("paste_deploy", "flavor") or "").split("+") if word]
    strategy = (chosen or ("keystone" if "keystone" in words else "none")).lower()
    if strategy not in ("none", "keystone", "http_basic"):
        values.problem("DEFAULT", "auth_strategy", "must be none, keystone or http_basic")
    elif not chosen and (strange := [word for word in words if word not in FLAVORS]):
        text = f"holds {strange[0]!r}, which may ask who is calling; set [DEFAULT] auth_strategy to say so"
        values.problem("paste_deploy", "flavor", text)
    elif strategy == "none" and "keystone" in words:
        values.remark("[DEFAULT] auth_strategy = none counts, although [paste_deploy] flavor names keystone.")
    elif strategy == "none" and any(line.section == "keystone_authtoken" for line in values.lines):
        values.remark("[keystone_authtoken] is filled in, but nobody is asked who they are: auth_strategy is none.")
    if "caching" in words or "cachemanagement" in words or values.get("DEFAULT", "image_cache_dir"):
        values.remark("A cache of images is configured; there is none in this version, every read goes to a store.")
    uri = values.get("keystone_authtoken", "www_authenticate_uri") or None
    return Auth(strategy=strategy, www_authenticate_uri=uri, **plain_fields(values, "auth"))


def _accounts(values: Values, auth: Auth, server: Server) -> Accounts | None:
    """Return where accounts are. The files are read when the service starts, and whenever they change."""
    tokens, door = values.get("identity", "tokens_file") or None, values.get("identity", "door")
    if auth.strategy != "http_basic":
        if door:
            text = "needs accounts to log in to; set [DEFAULT] auth_strategy = http_basic, or remove it"
            values.problem("identity", "door", text)
        if tokens:
            values.remark("[identity] tokens_file does nothing: auth_strategy is not http_basic.")
        return None
    if not loopback(server.bind_host) and not (server.public_endpoint or "").startswith("https://"):
        values.remark(
            f"Passwords travel in the clear to {server.bind_host}; put a proxy with TLS in front,"
            " and set public_endpoint to its address, which begins with https."
        )
    users = Path(values.get("oslo_middleware", "http_basic_auth_user_file")).absolute()
    roles = Path(values.get("identity", "roles_file")).absolute()
    return Accounts(users, Path(tokens).absolute() if tokens else None, door is not False, roles)


def _cors(values: Values, auth: Auth) -> Cors:
    origins = tuple(values.get("cors", "allowed_origin"))
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#@\sA-Z]+", origin):
            text = f"holds {origin!r}, which no browser sends; write it like https://dashboard.example.org"
            values.problem("cors", "allowed_origin", text)
    if "*" in origins and auth.strategy == "none":
        text = "would let every web page do anything, as auth_strategy is none; name the origins that may"
        values.problem("cors", "allowed_origin", text)
    elif "*" in origins:
        values.remark("[cors] allowed_origin holds *: every web page may call, none with what the browser keeps.")
    lists: dict[str, Any] = {}
    for name in ("allow_methods", "allow_headers", "expose_headers"):
        lists[name] = tuple(values.get("cors", name))
        if any(not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", entry) for entry in lists[name]):
            values.problem("cors", name, "must be names with commas between them")
    return Cors(**plain_fields(values, "cors"), **lists, origins=origins)


def _api(values: Values, where: Sequence[Path]) -> Api:
    methods = values.get("DEFAULT", "enabled_import_methods") or []
    if unknown := [method for method in methods if method not in IMPORT_METHODS]:
        listed = ", ".join(IMPORT_METHODS)
        values.problem("DEFAULT", "enabled_import_methods", f"holds {unknown[0]!r}; methods are {listed}")
    elif methods:
        values.remark("[DEFAULT] enabled_import_methods: no method of import runs in this version, none is offered.")
    properties, required = schema(values, where)
    return Api(**plain_fields(values, "api"), schema_properties=properties, schema_required=required)


def _limits(values: Values) -> Limits:
    cap = values.get("DEFAULT", "image_size_cap")
    text = values.get("DEFAULT", "user_storage_quota").strip()
    found = re.fullmatch(r"([0-9]+)([KMGT]?B)?", text)
    quota = int(found[1]) * _UNITS[found[2] or ""] if found else 0
    if not found:
        values.problem("DEFAULT", "user_storage_quota", "must be a number and B, KB, MB, GB or TB, as in 500GB")
    elif quota >= 1 << 63:
        values.problem("DEFAULT", "user_storage_quota", "is more than 8388607TB; use less, or 0 for no quota")
    return Limits(**plain_fields(values, "limits"), image_size_cap=min(cap, (1 << 63) - 1), user_storage_quota=quota)


def _formats(values: Values) -> Formats:
    lists: dict[str, tuple[str, ...]] = {}
    for name in ("disk_formats", "container_formats"):
        lists[name] = tuple(dict.fromkeys(values.get("image_format", name)))
        if any(not re.fullmatch(r"\S{1,64}", entry) for entry in lists[name]):
            values.problem("image_format", name, "must be names of 1 to 64 characters with commas between them")
        if not lists[name]:
            values.problem("image_format", name, "is empty, so that no image could have data; name a format")
    tolerated = tuple(values.get("image_format", "gpt_safety_checks_nonfatal"))
    if unknown := set(tolerated) - {"mbr", "gptmbr"}:
        text = f"holds {sorted(unknown)[0]!r}; checks are mbr and gptmbr"
        values.problem("image_format", "gpt_safety_checks_nonfatal", text)
    return Formats(
        disk_formats=lists["disk_formats"],
        container_formats=lists["container_formats"],
        gpt_nonfatal=tolerated,
        **plain_fields(values, "formats"),
    )


def _stores(values: Values, alone: Path | None) -> Stores:
    if values.get("DEFAULT", "enabled_backends") is not None:
        return stores.several(values)
    return stores.local(alone) if alone else stores.single(values)


def _logging(values: Values) -> Logging:
    file, directory = values.get("DEFAULT", "log_file"), values.get("DEFAULT", "log_dir")
    path = Path(directory or "", file or "ferrotype.log").absolute() if file or directory else None
    return Logging(level="DEBUG" if values.get("DEFAULT", "debug") else "INFO", file=path)


def _check_accepted(values: Values) -> None:
    """Say what is wrong with options that are not used yet, where a mistake should not wait for later."""
    for option in TABLE:
        if option.section != "<store>" and option.standing == "accepted" and option.type is not None:
            values.get(option.section, option.name)
    for text in values.get("import_filtering_opts", "allowed_networks") or []:
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            values.problem("import_filtering_opts", "allowed_networks", f"holds {text!r}: {error}")


def _protections(values: Values, where: Sequence[Path]) -> Protections:
    named = values.get("DEFAULT", "property_protection_file")
    if not named:
        return Protections()
    file = next((path for path in (base / named for base in where) if path.is_file()), None)
    if file is None:
        values.problem("DEFAULT", "property_protection_file", "is not a file; name one that exists")
    by_roles = values.get("DEFAULT", "property_protection_rule_format") == "roles"
    return Protections(file or Path(named), by_roles)


def _policy(values: Values, where: Sequence[Path]) -> Policy:
    """Rules are looked for beside the configuration files, in the order in which those are read."""
    named = values.get("oslo_policy", "policy_file")
    names = [named] if named else ["policy.yaml", "policy.json"]
    candidates = [base / name for name in names for base in where]
    dirs = []
    for name in values.get("oslo_policy", "policy_dirs") or ["policy.d"]:
        places = [base / name for base in where]
        dirs += [place for place in places if place.is_dir()][:1] or places[:1]
    present = [path for path in candidates if path.is_file()]
    if named and candidates and not present and values.written("oslo_policy", "policy_file"):
        values.problem("oslo_policy", "policy_file", f"names {candidates[0]}, which is not a file")
    return Policy(
        **plain_fields(values, "policy"),
        file=next(iter([*present, *candidates]), None),
        dirs=tuple(dict.fromkeys(dirs)),
    )


def _remarks_on_lines(values: Values) -> list[str]:
    """Return a sentence for every line that means nothing, and one for all that mean nothing yet."""
    remarks: list[str] = []
    counted: Counter[str] = Counter()
    names = referred(values.lines)
    for line in values.lines:
        option, older = find(line.section, line.name, values.ids)
        if line.section in values.borrowed or (option is None and line.name in names):
            continue
        if option is None:
            remarks.append(f"{line.where}: {line.title} is unknown and does nothing.")
        elif option and option.standing == "obsolete":
            remarks.append(f"{line.where}: {line.title} is obsolete: {option.note}.")
        elif option and older:
            remarks.append(f"{line.where}: {line.title} is an older name of {option.title}.")
        counted[option.standing if option else "unknown"] += 1
    if counted["accepted"]:
        remarks.append(f"Lines without effect in this version: {counted['accepted']}; see `ferrotype config check`.")
    return remarks


#: Parts of a configuration that follow the files whole while the service runs.
_FOLLOW = frozenset({"limits", "formats", "cors", "policy", "remarks", "files"})


def reloadable(old: Config, new: Config) -> tuple[Config, tuple[str, ...]]:
    """Return what runs after a SIGHUP, and a sentence for every change that needs a restart.

    Every part is compared, whatever parts there are: what does not follow is told.
    """
    following = {"logging.level", *(option.goes_to for option in TABLE if option.reloadable)}
    parts: dict[str, Any] = {}
    waiting: dict[str, None] = {}
    for part in (field.name for field in fields(Config)):
        before, wanted = getattr(old, part), getattr(new, part)
        if part in _FOLLOW or before == wanted:
            parts[part] = wanted
            continue
        names = [""]  # The part is there or it is not.
        if before is not None and wanted is not None:
            names = [each.name for each in fields(before) if getattr(before, each.name) != getattr(wanted, each.name)]
        fresh = {name: getattr(wanted, name) for name in names if f"{part}.{name}" in following}
        parts[part] = replace(before, **fresh) if fresh else before
        waiting |= {_spoken(part, name): None for name in names if name not in fresh}
    return Config(**parts), tuple(f"{what} has changed; it takes effect after a restart." for what in waiting)


#: What to call a value that is worked out from several options, or a whole part.
_COMPOSED = {
    "server.bind_host": "[DEFAULT] bind_host",
    "server.workers": "[DEFAULT] workers",
    "server.public_endpoint": "[DEFAULT] public_endpoint",
    "server.healthcheck_disable_file": "[healthcheck] disable_by_file_path",
    "auth.strategy": "[DEFAULT] auth_strategy",
    "auth.www_authenticate_uri": "[keystone_authtoken] www_authenticate_uri",
    "api.schema_properties": "schema-image.json",
    "api.schema_required": "schema-image.json",
    "logging.file": "[DEFAULT] log_file",
    "protection.by_roles": "[DEFAULT] property_protection_rule_format",
    "protection": "[DEFAULT] property_protection_file",
    "database": "[database] connection",
    "stores": "The list of stores, or an option of one,",
    "accounts": "The place of a file of accounts, or [identity] door,",
    "keystone": "[keystone_authtoken]",
    "unified_limits": "[oslo_limit]",
}


def _spoken(part: str, name: str) -> str:
    place = f"{part}.{name}"
    option = next((option for option in TABLE if option.goes_to == place), None)
    return option.title if option else _COMPOSED.get(place) or _COMPOSED.get(part) or f"Something of {part}"
