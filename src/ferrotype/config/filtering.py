"""Which addresses the service may send requests to when a user names the URL: ``[import_filtering_opts]``."""

import ipaddress
import re
from dataclasses import dataclass

from ferrotype.config.options import BRACKETED, HOSTS, PORTS, Option
from ferrotype.config.values import Values

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: What a URL may have as scheme; others cannot be fetched.
SCHEMES = ("http", "https")
_SECTION = "import_filtering_opts"
_HOST = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.ASCII)


@dataclass(frozen=True)
class Filtering:
    """Which URLs may be fetched. Of each pair the first list decides alone unless it is empty (IMP-52)."""

    allowed_schemes: tuple[str, ...] = SCHEMES
    disallowed_schemes: tuple[str, ...] = ()
    #: lower-case names without a dot at the end, and addresses in their usual form
    allowed_hosts: tuple[str, ...] = ()
    disallowed_hosts: tuple[str, ...] = ()
    #: the addresses and networks in ``disallowed_hosts``
    disallowed_networks: tuple[Network, ...] = ()
    allowed_ports: tuple[int, ...] = (80, 443)
    disallowed_ports: tuple[int, ...] = ()
    #: may be connected to although they are private, or addresses of this machine
    allowed_networks: tuple[Network, ...] = ()


OPTIONS = (
    Option(_SECTION, "allowed_schemes", BRACKETED, list(SCHEMES), "schemes that the URLs of users may have",
           dest="filtering.allowed_schemes"),
    Option(_SECTION, "disallowed_schemes", BRACKETED, [], "schemes that they may not have, if `allowed_schemes` is"
           " empty", dest="filtering.disallowed_schemes"),
    Option(_SECTION, "allowed_hosts", HOSTS, [],
           "if not empty, the only hosts that URLs may name, compared exactly; their addresses may be private ones",
           dest="filtering.allowed_hosts"),
    Option(_SECTION, "disallowed_hosts", BRACKETED, [],
           "hosts, addresses and networks that are refused, if `allowed_hosts` is empty",
           dest="filtering.disallowed_hosts"),
    Option(_SECTION, "allowed_ports", PORTS, [80, 443], "ports that URLs may name; one that is not named is allowed",
           dest="filtering.allowed_ports"),
    Option(_SECTION, "disallowed_ports", PORTS, [], "ports that they may not name, if `allowed_ports` is empty",
           dest="filtering.disallowed_ports"),
    Option(_SECTION, "allowed_networks", BRACKETED, [],
           "networks, such as `10.1.0.0/16`, to which connections are allowed although they are private",
           dest="filtering.allowed_networks"),
)  # fmt: skip


def read(values: Values) -> Filtering:
    """Return the filter; hosts and networks that could never match are problems."""
    fields = values.fields(OPTIONS, "filtering")
    for what in ("schemes", "hosts", "ports"):
        if fields[f"allowed_{what}"] and fields[f"disallowed_{what}"]:
            values.warn(f"[{_SECTION}] disallowed_{what} has no effect, as allowed_{what} is not empty.")
    schemes = tuple(scheme.lower() for scheme in fields["allowed_schemes"])
    if others := sorted(set(schemes) - set(SCHEMES)):
        values.warn(f"[{_SECTION}] allowed_schemes: only http and https can be fetched, not {', '.join(others)}.")
    computed = {
        "allowed_schemes": schemes,
        "disallowed_schemes": tuple(scheme.lower() for scheme in fields["disallowed_schemes"]),
        "allowed_hosts": tuple(_hosts(values, "allowed_hosts", fields["allowed_hosts"])),
        "allowed_networks": _networks(values, fields["allowed_networks"]),
    }
    refused = _hosts(values, "disallowed_hosts", fields["disallowed_hosts"], networks=True)
    numbers = [network for network in map(_network, refused) if network]
    computed["disallowed_networks"] = tuple(numbers)
    computed["disallowed_hosts"] = tuple(each for each in refused if _network(each) is None)
    return Filtering(**{**fields, **computed})


def _hosts(values: Values, name: str, texts: tuple[str, ...], networks: bool = False) -> list[str]:
    found = []
    for text in texts:
        host = text.strip().lower().removesuffix(".").removeprefix("[").removesuffix("]")
        address = _network(host)
        if address and (networks or "/" not in host):
            found.append(host if "/" in host else str(address.network_address))
        elif address is None and _HOST.fullmatch(host) and not re.fullmatch(r"(.*\.)?[0-9]+", host):
            found.append(host)
        else:
            kinds = "a host name, an IP address or a network" if networks else "a host name or an IP address"
            values.problem(_SECTION, name, f"contains {text!r}, which is not {kinds}; there are no wildcards")
    return found


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def _networks(values: Values, texts: tuple[str, ...]) -> tuple[Network, ...]:
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            values.problem(_SECTION, "allowed_networks", f"contains {text!r}: {error}; correct it")
    return tuple(found)
