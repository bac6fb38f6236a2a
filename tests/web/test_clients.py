"""Whose request it is, for limits that hold for each client."""

from ipaddress import ip_network

import pytest

from ferrotype.web.clients import client_address, client_network

PROXIES = (ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/48"))


# RUL-83
@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1", "192.0.2.1"),
        ("10.1.2.3", "198.51.100.1", "198.51.100.1"),
        ("::ffff:10.1.2.3", "198.51.100.1", "198.51.100.1"),
        ("2001:db8:1::5", "2001:db8:2::1", "2001:db8:2::1"),
        ("10.1.2.3", "203.0.113.9, 198.51.100.1", "198.51.100.1"),
        ("10.1.2.3", "203.0.113.9,198.51.100.1 , 10.9.9.9,2001:db8:1::7", "198.51.100.1"),
        ("10.1.2.3", "", ""),
        ("10.1.2.3", "10.4.4.4", ""),
        ("10.1.2.3", "198.51.100.1, unknown", ""),
        ("10.1.2.3", "198.51.100.1,", ""),
        ("", "198.51.100.1", ""),
    ],
)
def test_the_client_is_the_last_one_that_is_no_proxy(peer: str, forwarded: str, client: str) -> None:
    assert client_address(peer, forwarded, PROXIES) == client
    assert client_address(peer, forwarded, ()) == peer


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1:2::3", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff::", "2001:db8:0:1::/64"),
        ("127.0.0.1", ""),
        ("127.8.8.8", ""),
        ("::1", ""),
        ("::ffff:127.0.0.1", ""),
        ("", ""),
    ],
)
def test_a_client_is_an_address_or_a_network_of_64_bits(address: str, network: str) -> None:
    assert client_network(address) == network
