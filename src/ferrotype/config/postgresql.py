"""A PostgreSQL connection URL as SQLAlchemy and libpq understand it, translated into one that asyncpg understands."""

import configparser
import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote

from ferrotype.config.files import no_file
from ferrotype.config.libpq import ALIASES, IGNORED, PARAMETERS, REFUSED, effect
from ferrotype.config.values import Values
from ferrotype.model.errors import FerrotypeError

#: Seconds that a new connection may take where ``connect_timeout`` does not say it.
CONNECT_TIMEOUT = 10.0
_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[^:/?#@\[\],]*)(?::\d{0,5})?"
_PARTS = re.compile(
    rf"//(?:([^:/]*?)(?::(.*?))?@)?({_HOST}(?:,{_HOST})*)(?:/([^?#]*))?(?:\?(.*))?", re.DOTALL
)  # user, password, hosts, database, parameters
_SERVICE_FILES = ("~/.pg_service.conf", "/etc/postgresql-common/pg_service.conf", "/etc/pg_service.conf")
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile")
_SECRET = ("password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret")
#: Parameters that asyncpg takes from the URL as they are.
_PASSED_ON = (
    "options", "passfile", "target_session_attrs", "sslmode", "sslnegotiation", "sslcert", "sslkey", "sslpassword",
    "sslrootcert", "sslcrl", "ssl_min_protocol_version", "ssl_max_protocol_version", "krbsrvname",
)  # fmt: skip

#: A host and its port; None is the default port.
Host = tuple[str, int | None]


class Target(NamedTuple):
    """Where to connect. ``url`` is what asyncpg understands; several ``hosts`` are tried in their order."""

    url: str
    hosts: tuple[Host, ...] = ()
    application_name: str | None = None
    #: seconds for each host
    connect_timeout: float = CONNECT_TIMEOUT
    #: verify the server with the system's CA certificates
    system_ca: bool = False


class _Invalid(FerrotypeError):
    """The URL is invalid; the message continues the sentence after the option's name. ``parameter`` is to blame."""

    def __init__(self, text: str, parameter: str = ""):
        super().__init__(text)
        self.parameter = parameter


def translate(values: Values, url: str, parameters: str) -> Target:
    """Return where ``url`` leads, which begins with ``//``. ``parameters`` are appended to those that it has.

    Parameters in the URL win over the parts before them, over those of a service, and over environment variables.
    """
    try:
        given = _parameters(url, parameters)
        if service := given.pop("service", ""):
            given = {**_service(service, given.get("servicefile", "")), **given}
        given.pop("servicefile", None)
        return _target(values, _honoured(values, given))
    except _Invalid as error:
        appended = error.parameter in dict(parse_qsl(parameters))
        values.problem("database", "connection_parameters" if appended else "connection", str(error))
        return Target(f"postgresql:{url}")


def _parameters(url: str, parameters: str) -> dict[str, str]:
    """Return all parameters by libpq's names, without those that are empty; hosts are joined with commas."""
    found = _PARTS.fullmatch(url)
    if found is None:
        text = (
            "must be postgresql://user:password@host:port/name; write @, / and : in user or password as %40, %2F, %3A"
        )
        raise _Invalid(text)
    hosts, ports = _split(unquote(part) for part in found[3].split(","))
    given = {name: os.environ.get(p.variable, "") for name, p in PARAMETERS.items() if p.variable}
    given |= {
        "user": unquote(found[1] or ""),
        "password": unquote(found[2] or ""),
        "host": ",".join(hosts).strip(","),
        "port": ",".join(ports).strip(","),
        "dbname": unquote(found[4] or ""),
    }
    pairs = [(ALIASES.get(name, name), value) for name, value in parse_qsl(f"{found[5] or ''}&{parameters}")]
    given |= dict(pairs)
    listed = [value for name, value in pairs if name == "host"]
    # SQLAlchemy's own form: host=a:1&host=b:2, or host=a:1 alone.
    if len(listed) > 1 or (listed and re.fullmatch(r"[A-Za-z0-9.-]*:\d*", listed[0])):
        hosts, ports = _split(listed)
        given |= {"host": ",".join(hosts), "port": ",".join(ports)}
    return {name: value for name, value in given.items() if value}


def _split(hosts: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return names and ports of ``host:port``; a port is empty where none is given."""
    names, ports = [], []
    for text in hosts:
        found = re.fullmatch(r"(?:\[(.*)\]|(/.*|[^:]*))(?::(\d*))?", text)
        if found is None:
            raise _Invalid(f"has the host {text!r}; write host:port, and an IPv6 address in brackets")
        names.append(found[1] or found[2] or "")
        ports.append(found[3] or "")
    return names, ports


def _service(service: str, file: str) -> Mapping[str, str]:
    """Return the parameters that a connection service file has for a service."""
    files = [file] if file else [*_SERVICE_FILES]
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    for path in (Path(name).expanduser() for name in files):
        try:
            if not no_file(path):
                parser.read_string(path.read_text())
        except (OSError, UnicodeDecodeError, configparser.Error) as error:
            reason = f"{path} cannot be read: {type(error).__name__}"
            raise _Invalid(f"names the service {service!r}, but {reason}; correct the file") from None
        if parser.has_section(service):
            return {ALIASES.get(name, name): value for name, value in parser.items(service) if value}
    raise _Invalid(
        f"names the service {service!r}, which is in none of {', '.join(files)}; define it or remove service"
    )


def _honoured(values: Values, given: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters to translate. Warn about those without effect; raise for one that is refused."""
    kept: dict[str, str] = {}
    for name, value in given.items():
        shown = f"{name}={'***' if name in _SECRET else value}"
        if name not in PARAMETERS:
            close = get_close_matches(name, PARAMETERS, 1, 0.7)
            hint = f"did you mean {close[0]}?" if close else "set server parameters with options=-c%20name=value"
            raise _Invalid(f"has the parameter {name}, which libpq does not have; {hint}", name)
        parameter = PARAMETERS[name]
        if parameter.choices and value not in parameter.choices:
            raise _Invalid(f"has {shown}; {name} must be one of {', '.join(parameter.choices)}", name)
        found = effect(name, value)
        if found == REFUSED:
            raise _Invalid(f"has {shown}, which cannot be honoured: {parameter.reason}, or remove {name}", name)
        if found == IGNORED:
            values.warn(f"[database] connection: {shown} has no effect: {parameter.reason}.")
        elif found:
            kept[name] = value
    return kept


def _target(values: Values, given: dict[str, str]) -> Target:
    for name in _FILES:
        if given.get(name, "system") != "system" and (reason := no_file(given[name])):
            raise _Invalid(f"has {name}={given[name]}, which {reason}; correct the path or remove {name}", name)
    if given.get("requiressl") == "1":
        given.setdefault("sslmode", "require")
    if given.get("target_session_attrs") == "prefer-standby":
        given["target_session_attrs"] = "primary"
        values.warn("[database] connection: target_session_attrs=prefer-standby means primary: the service writes.")
    system_ca = _system_ca(given)
    hosts = _hosts(given, system_ca)
    application_name = given.get("application_name") or given.get("fallback_application_name")
    return Target(
        url=_url(given, hosts),
        hosts=hosts if len(hosts) > 1 else (),
        application_name=application_name,
        connect_timeout=_connect_timeout(given.get("connect_timeout", "")),
        system_ca=system_ca,
    )


def _system_ca(given: Mapping[str, str]) -> bool:
    """Return whether the server is verified with the system's CA certificates: ``sslrootcert=system``."""
    if given.get("sslrootcert") != "system":
        return False
    if given.get("sslmode", "verify-full") != "verify-full":
        raise _Invalid(f"has sslrootcert=system with sslmode={given['sslmode']}; use sslmode=verify-full")
    others = ("sslcert", "sslkey", "sslcrl", "ssl_min_protocol_version", "ssl_max_protocol_version")
    if other := [name for name in others if name in given]:
        text = f"has sslrootcert=system with {other[0]}, which the driver cannot combine"
        raise _Invalid(f"{text}; name the file of the system's CA certificates, or remove {other[0]}")
    return True


def _hosts(given: Mapping[str, str], system_ca: bool) -> tuple[Host, ...]:
    """Return the hosts to try; none at all means the local server."""
    names = given["host"].split(",") if "host" in given else []
    if "hostaddr" in given:
        if names and (system_ca or given.get("sslmode") == "verify-full"):
            text = "has host and hostaddr with sslmode=verify-full: the driver verifies the name that it connects to"
            raise _Invalid(f"{text}; remove hostaddr")
        addresses = given["hostaddr"].split(",")
        if names and len(names) != len(addresses):
            raise _Invalid(f"has {len(names)} hosts and {len(addresses)} addresses in hostaddr; name one for each")
        for address in addresses:
            try:
                ipaddress.ip_address(address)
            except ValueError:
                raise _Invalid(f"has hostaddr={address}, which is not an IP address; use host for names") from None
        names = addresses
    ports = [_port(text) for text in given.get("port", "").split(",")]
    if len(ports) == 1:
        ports *= max(1, len(names))
    if len(ports) != max(1, len(names)):
        raise _Invalid(f"has {len(names)} hosts and {len(ports)} ports; name one port, or one for each host")
    if len(names) > 1 and "" in names:
        raise _Invalid("has an empty host in a list of hosts; name it, as in localhost or a directory of a socket")
    return tuple(zip(names or ([""] if ports[0] else []), ports, strict=False))


def _port(text: str) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise _Invalid(f"has the port {text}; a port is a number from 1 to 65535")
    return int(text)


def _connect_timeout(text: str) -> float:
    """Return the seconds; 0 and negative numbers leave it to the service, as it never waits without limit."""
    if not re.fullmatch(r"\s*-?[0-9]{1,9}\s*", text or "0"):
        raise _Invalid(f"has connect_timeout={text}; it must be a whole number of seconds")
    return float(text or 0) if int(text or 0) > 0 else CONNECT_TIMEOUT


def _url(given: Mapping[str, str], hosts: tuple[Host, ...]) -> str:
    """Return the URL. Directories of sockets stand among the parameters, other hosts before the database."""
    query = {name: given[name] for name in _PASSED_ON if name in given}
    netloc = ""
    if any(not host or host.startswith("/") for host, _ in hosts):
        if names := ",".join(host for host, _ in hosts):
            query["host"] = names
        if any(port for _, port in hosts):
            query["port"] = ",".join(str(port or 5432) for _, port in hosts)
    else:
        named = ((f"[{host}]" if ":" in host else quote(host, safe=""), port) for host, port in hosts)
        netloc = ",".join(f"{host}:{port}" if port else host for host, port in named)
    if "user" in given or "password" in given:
        password = f":{quote(given['password'], safe='')}" if "password" in given else ""
        netloc = f"{quote(given.get('user', ''), safe='')}{password}@{netloc}"
    database = f"/{quote(given['dbname'], safe='')}" if "dbname" in given else "/" if query else ""
    parameters = "&".join(f"{name}={quote(value, safe='/,@:')}" for name, value in query.items())
    return f"postgresql://{netloc}{database}{'?' if query else ''}{parameters}"
