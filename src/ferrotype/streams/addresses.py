"""The gate for requests to URLs that a user can influence (SSRF): which URL, and which addresses of its host.

A URL is parsed once, by a grammar stricter than any other reader's; the request is sent to what this parser found.
Every address of the host is checked, and the connection is made to one that passed, so that another answer of the DNS
a moment later changes nothing (DNS rebinding). Rules: RUL-95, IMP-52..56, docs/spec/security-checklist.md section C.
"""

import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from urllib.parse import urljoin

from msgspec import Struct

from ferrotype.config.filtering import Filtering
from ferrotype.model.errors import URLRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Returns every address of a name, as text; none when it has none. It may raise OSError.
Resolve = Callable[[str], Awaitable[Sequence[str]]]

#: characters of a URL
MAX_URL = 8192

_PORTS = {"http": 80, "https": 443}
# RFC 3986. A reader that is more lenient would find another host in what this leaves out: white space, control and
# non-ASCII characters, backslashes, percent-encoded hosts.
_URL = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*)://"
    r"([^/?#]*)"
    r"((?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?)"
    r"((?:\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?)",
    re.ASCII,
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:", re.ASCII)
_PRINTABLE = re.compile(r"[!-~]*", re.ASCII)
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
# A last label that begins with a digit and is a number in any notation: no name, but an address to some readers.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)

#: IPv4 networks that are not part of the public Internet, or whose addresses stand for others.
_NOT_PUBLIC_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # private
        "100.64.0.0/10",  # shared by a provider's customers (CGNAT)
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, with the metadata of clouds
        "192.0.0.0/24", "198.18.0.0/15",  # protocols, benchmarks
        "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4
        "224.0.0.0/4", "240.0.0.0/4",  # multicast, reserved, broadcast
    )
)  # fmt: skip
#: Everything else of IPv6 is loopback, private, link-local, multicast, reserved, or translates IPv4 addresses.
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocols, with Teredo
        "2002::/16",  # 6to4
        "2001:db8::/32", "3fff::/20",  # documentation
    )
)  # fmt: skip
#: Networks whose addresses hold an IPv4 address, and how far it is from their end, in bits.
_EMBEDDING = tuple(
    (ipaddress.IPv6Network(network), shift)
    for network, shift in (
        ("::/96", 0),  # IPv4-compatible
        ("::ffff:0:0/96", 0),  # IPv4-mapped
        ("::ffff:0:0:0/96", 0),  # IPv4-translated (SIIT)
        ("64:ff9b::/96", 0),  # NAT64
        ("64:ff9b:1::/48", 0),  # NAT64 of a local network
        ("2002::/16", 80),  # 6to4
        ("2001::/32", 64),  # the server of Teredo; its client is the last 32 bits, inverted
    )
)


class Target(Struct, frozen=True):
    """Where a request goes. ``host`` is a lower-case name, or an address in its usual form without brackets."""

    scheme: str
    host: str
    port: int
    #: path and query, as they were written
    path: str
    #: the host, if it is an address
    address: Address | None = None
    port_named: bool = False

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """The server, for messages: path and query may hold secrets."""
        return f"{self.scheme}://{self.authority}"


class Gate:
    """Judges URLs and the addresses of their hosts by the operator's rules."""

    def __init__(self, rules: Filtering, resolve: Resolve):
        self._rules, self._resolve = rules, resolve

    def parse(self, url: str) -> Target:
        """Return where the URL points; raise URLRefused for what is malformed, or refused without asking the DNS.

        A host that is an address is checked here.
        """
        target = parse(url)
        self._check_lists(target)
        if target.address and target.host not in self._rules.allowed_hosts:
            self._permitted(target, [target.host])
        return target

    async def addresses(self, target: Target) -> Sequence[str]:
        """Return the addresses of a target that may be connected to, in the order of the resolver.

        Other addresses of the same name are left out. Raises URLRefused when none is left, or none was found.
        """
        rules = self._rules
        exempt = target.host in rules.allowed_hosts
        if target.address:
            return [target.host]
        try:
            # With the dot a name means the same on every machine. One that the operator lists may be a short one.
            found = await self._resolve(target.host if exempt else f"{target.host}.")
        except OSError as error:
            raise _no_address(target, f"{target.host} cannot be resolved: {error}") from error
        if not found:
            raise _no_address(target, f"{target.host} has no address")
        return found if exempt else self._permitted(target, found)

    async def check(self, url: str) -> None:
        """Raise URLRefused unless the URL could be fetched now, as far as the rules go. Nothing is connected."""
        await self.addresses(self.parse(url))

    def redirected(self, target: Target, location: str) -> Target:
        """Return where a redirect points; raise URLRefused as ``parse``, and for one from https to http."""
        location = location.partition("#")[0]
        if not _PRINTABLE.fullmatch(location):  # urljoin would drop some of the others.
            raise _refused("the redirect is malformed")
        if location.startswith("//"):
            location = f"{target.scheme}:{location}"
        elif not _SCHEME.match(location):
            location = urljoin(f"{target.origin}{target.path}", location)
        after = self.parse(location)
        if target.scheme == "https" and after.scheme != "https":
            raise _refused("a redirect from https to http is not followed")
        return after

    def _check_lists(self, target: Target) -> None:
        rules = self._rules
        if not _listed(target.scheme, rules.allowed_schemes, rules.disallowed_schemes):
            raise _refused(f"the scheme {target.scheme} is not allowed")
        if not _listed(target.host, rules.allowed_hosts, rules.disallowed_hosts):
            raise _refused("the host is not allowed")
        if target.port_named and not _listed(target.port, rules.allowed_ports, rules.disallowed_ports):
            raise _refused(f"the port {target.port} is not allowed")

    def _permitted(self, target: Target, found: Sequence[str]) -> Sequence[str]:
        reasons = {each: refusal(each, self._rules) for each in found}
        permitted = [each for each, reason in reasons.items() if reason is None]
        if not permitted:
            detail = ", ".join(f"{each} {reason}" for each, reason in reasons.items())
            raise _no_address(target, f"{target.host} may not be connected to: {detail}")
        return permitted


def parse(url: str) -> Target:
    """Return the parts of a URL whatever the operator's rules say; raise URLRefused where it is malformed."""
    if len(url) > MAX_URL:
        raise _refused(f"it has more than {MAX_URL} characters")
    if "#" in url:
        raise _refused("it has a fragment; remove '#' and what follows")
    parts = _URL.fullmatch(url)
    if parts is None:
        raise _refused("it is not an absolute URL; encode spaces and special characters with %")
    scheme, authority, path, query = parts[1].lower(), parts[2], parts[3], parts[4]
    if scheme not in _PORTS:
        raise _refused("its scheme is neither http nor https")
    if "@" in authority:
        raise _refused("it names a user; remove what precedes '@'")
    names = _AUTHORITY.fullmatch(authority)
    if names is None:
        raise _refused("its host or port is malformed")
    port = _PORTS[scheme] if names[2] is None else int(names[2])
    if not 1 <= port <= 65535:
        raise _refused("its port is not a number from 1 to 65535")
    host, address = _host(names[1].lower())
    return Target(scheme, host, port, f"{path or '/'}{query}", address, names[2] is not None)


def _host(text: str) -> tuple[str, Address | None]:
    """Return a host as it is compared with the operator's lists, and its address if it is one."""
    if text.startswith("["):
        try:
            address: Address = ipaddress.IPv6Address(text[1:-1])
        except ValueError:
            raise _refused("its host is not an IPv6 address") from None
        return str(address), address
    labels = text.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            address = ipaddress.IPv4Address(text)
        except ValueError:
            raise _refused("its host is not an IPv4 address of four decimal numbers") from None
        return str(address), address
    if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _refused("its host is not a host name")
    return text, None


def _listed(value: object, allowed: Sequence[object], disallowed: Sequence[object]) -> bool:
    return value in allowed if allowed else value not in disallowed


def refusal(text: str, rules: Filtering) -> str | None:
    """Return why an address may not be connected to, as the end of a sentence; None if it may."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:  # It has a zone, so it is link-local.
        return "is not public"
    forms = [address, *_embedded(address)]
    if not rules.allowed_hosts and any(form in network for form in forms for network in rules.disallowed_networks):
        return "is in disallowed_hosts"
    for form in forms:
        if any(form in network for network in rules.allowed_networks):
            continue
        if not _is_public(form):
            return "is not public" if form == address else f"stands for {form}, which is not public"
        if _is_own(form):
            return "is an address of this machine"
    return None


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    return address in _PUBLIC_V6 and not any(address in network for network in _NOT_PUBLIC_V6)


def _embedded(address: Address) -> Iterator[Address]:
    """Yield the IPv4 addresses for which an IPv6 address stands."""
    if isinstance(address, ipaddress.IPv4Address):
        return
    number = int(address)
    for network, shift in _EMBEDDING:
        if address in network and number > 1:  # not the unspecified address and loopback
            yield ipaddress.IPv4Address(number >> shift & 0xFFFF_FFFF)
    if address.teredo:
        yield address.teredo[1]


def _is_own(address: Address) -> bool:
    """Return whether the kernel would deliver to this machine: then it would use the address as the sender's too."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))  # No packet is sent.
        except OSError:  # There is no route.
            return False
        return bool(probe.getsockname()[0] == str(address))


def _refused(why: str) -> URLRefused:
    return URLRefused(f"The URL is refused: {why}.")


def _no_address(target: Target, detail: str) -> URLRefused:
    # The same text for a name that does not exist and one of the internal network: no scanner of it (SEC-45).
    text = "The URL is refused: its host has no address that the service may connect to."
    return URLRefused(text, detail if not target.address else f"{target.origin}: {detail}")
