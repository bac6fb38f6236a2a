"""Which client a request comes from, for limits that hold for each client."""

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address

from ferrotype.config.server import Networks


def client_address(peer: str, forwarded_for: str, proxies: Networks) -> str:
    """Return the address of the client: of the peer, or of whom a trusted proxy forwards the request for.

    That is the rightmost address in X-Forwarded-For that is not a proxy itself: a client can make up those before it
    (RUL-83). Return "" when the proxy does not say.
    """
    if not proxies or not _is_in(peer, proxies):
        return peer
    for part in reversed(forwarded_for.split(",")):
        address = part.strip()
        if not _is_address(address):
            return ""
        if not _is_in(address, proxies):
            return address
    return ""


@lru_cache(maxsize=4096)
def client_network(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or an IPv6 network of 64 bits.

    Return "" for loopback addresses, as behind them may be a proxy with any number of clients, and for "".
    """
    if not _is_address(address):
        return ""
    found = ip_address(address)
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    if found.is_loopback:
        return ""
    return str(IPv6Network((int(found), 64), strict=False)) if isinstance(found, IPv6Address) else str(found)


@lru_cache(maxsize=4096)
def _is_in(address: str, networks: Networks) -> bool:
    if not _is_address(address):
        return False
    found = ip_address(address)
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return any(found in network for network in networks)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
