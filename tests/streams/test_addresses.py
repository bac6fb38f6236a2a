"""The gate for URLs that users name: what is refused, in how many spellings, and what passes."""

import asyncio
import ipaddress
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrotype.config.filtering import Filtering
from ferrotype.model.errors import Invalid, URLRefused
from ferrotype.streams.addresses import Gate, Target, parse, refusal

DEFAULT = Filtering()
PUBLIC = "93.184.216.34"
ANY_PORT = {"allowed_ports": ()}


def networks(*texts: str) -> Any:
    return tuple(ipaddress.ip_network(text) for text in texts)


class Names:
    """A resolver that knows these names, and remembers what it was asked."""

    def __init__(self, names: dict[str, Sequence[str]]):
        self.names, self.asked = names, []

    async def __call__(self, name: str) -> Sequence[str]:
        self.asked.append(name)
        if name not in self.names:
            raise OSError("no such name")
        return self.names[name]


def gate(names: dict[str, Sequence[str]] | None = None, **rules: Any) -> Gate:
    return Gate(Filtering(**rules), Names(names or {}))


def checked(url: str, names: dict[str, Sequence[str]] | None = None, **rules: Any) -> Sequence[str]:
    """Return the addresses to which a request for the URL would connect."""

    async def ask() -> Sequence[str]:
        found = gate(names, **rules)
        return await found.addresses(found.parse(url))

    return asyncio.run(ask())


#: Networks of which no address may be connected to, with one address of each.
NOT_PUBLIC = {
    "0.0.0.0/8": "0.0.0.0", "10.0.0.0/8": "10.0.0.5", "100.64.0.0/10": "100.64.1.1", "127.0.0.0/8": "127.0.0.1",
    "169.254.0.0/16": "169.254.169.254", "172.16.0.0/12": "172.31.255.255", "192.0.0.0/24": "192.0.0.170",
    "192.0.2.0/24": "192.0.2.1", "192.88.99.0/24": "192.88.99.1", "192.168.0.0/16": "192.168.1.1",
    "198.18.0.0/15": "198.19.0.1", "198.51.100.0/24": "198.51.100.7", "203.0.113.0/24": "203.0.113.9",
    "224.0.0.0/4": "224.0.0.251", "240.0.0.0/4": "255.255.255.255",
}  # fmt: skip
#: IPv6 addresses that are internal, reserved, or stand for an IPv4 address.
NOT_PUBLIC_V6 = (
    "::", "::1", "::2", "fe80::1", "fec0::1", "fc00::1", "fd12:3456::1", "ff02::1", "ff0e::101", "100::1", "2001::1",
    "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "3fff::1", "4000::1", "5f00::1", "::127.0.0.1",
    "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:8.8.8.8", "::ffff:0:7f00:1", "64:ff9b::7f00:1",
    "64:ff9b::8.8.8.8", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:a00:5::1", "2002:808:808::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:0:7f00:1::1",
)  # fmt: skip


def mapped(v4: str) -> list[str]:
    """Return IPv6 addresses that stand for an IPv4 address."""
    number = int(ipaddress.IPv4Address(v4))
    high, low = number >> 16, number & 0xFFFF
    return [
        f"::ffff:{v4}", f"::ffff:{high:x}:{low:x}", f"::{v4}", f"::ffff:0:{high:x}:{low:x}", f"64:ff9b::{v4}",
        f"64:ff9b:1::{high:x}:{low:x}", f"2002:{high:x}:{low:x}::1", f"2001:0:{high:x}:{low:x}::1",
        f"2001:0:4136:e378::{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}",
    ]  # fmt: skip


def spellings(v4: str) -> list[str]:
    """Return spellings of an IPv4 address that some reader understands, without the usual one."""
    number = int(ipaddress.IPv4Address(v4))
    a, b, c, d = number.to_bytes(4)
    return [
        str(number), f"0x{number:x}", f"0X{number:X}", f"0{number:o}", f"{a}.{number & 0xFFFFFF}",
        f"{a}.{b}.{number & 0xFFFF}", f"{a}.{b}.{c}.0x{d:x}", f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"{a:03}.{b:03}.{c:03}.{d:03}", f"{v4}.", f"{v4}..", f".{v4}", f"{v4}.1",
        f"%{ord(v4[0]):x}{v4[1:]}", "".join(f"%{ord(each):02x}" for each in v4),
        v4.replace(".", "\u3002"), v4.replace(".", "\uff0e"), v4.translate({ord("1"): "\uff11"}) + "\uff10",
        v4.replace("1", "\u2460") + "\u2460", f"{v4}\u200b", f"{v4} ", f" {v4}", f"{v4}\t", f"[{v4}]", f"0x{a:x}.{b}",
        f"{number + 2**32}", f"{a + 256}.{b}.{c}.{d}",
    ]  # fmt: skip


@pytest.mark.parametrize("address", [*NOT_PUBLIC.values(), *(f"[{each}]" for each in NOT_PUBLIC_V6)])
def test_an_internal_address_is_refused_before_the_dns_is_asked(address: str) -> None:
    with pytest.raises(URLRefused):  # SEC-33, SEC-35, IMP-56a
        gate().parse(f"http://{address}/x")


@pytest.mark.parametrize("v4", NOT_PUBLIC.values())
def test_no_spelling_of_an_internal_address_passes(v4: str) -> None:
    for spelled in spellings(v4):
        with pytest.raises(URLRefused):  # SEC-34
            gate().parse(f"http://{spelled}/x")
    for v6 in mapped(v4):
        for form in (v6, ipaddress.IPv6Address(v6).exploded, v6.upper()):
            with pytest.raises(URLRefused):  # SEC-35
                gate().parse(f"http://[{form}]/x")
        with pytest.raises(URLRefused):  # SEC-36
            checked("http://name.example/", {"name.example.": [v6]})


@given(st.ip_addresses())
def test_no_address_passes_that_the_registries_do_not_call_global(address: Any) -> None:
    if refusal(str(address), DEFAULT) is None:  # IMP-56a, RUL-95
        assert address.is_global and not address.is_multicast and not address.is_reserved


@given(st.sampled_from(list(NOT_PUBLIC)), st.integers(0, 2**32))
def test_no_address_of_a_refused_network_passes(network: str, number: int) -> None:
    inside = ipaddress.ip_network(network)
    address = inside[number % inside.num_addresses]
    for form in (str(address), *mapped(str(address))):
        assert refusal(form, DEFAULT) is not None


@pytest.mark.parametrize(
    "address", [PUBLIC, "1.1.1.1", "100.63.255.255", "172.15.0.1", "172.32.0.1", "2606:4700::1111", "2a00:1450::1"]
)
def test_a_public_address_passes(address: str) -> None:
    assert refusal(address, DEFAULT) is None
    host = f"[{address}]" if ":" in address else address
    assert checked(f"http://{host}/x") == [address]


def test_an_address_with_a_zone_is_refused() -> None:
    for host in ("[fe80::1%25eth0]", "[fe80::1%eth0]", "[2606:4700::1%25eth0]"):
        with pytest.raises(URLRefused):  # SEC-33
            gate().parse(f"http://{host}/")
    assert refusal("fe80::1%2", DEFAULT) is not None


MALFORMED = (
    "", "x", "/path", "//host.example/", "http:", "http:/", "http://", "http:///path", "http:host.example",
    "http:/host.example/x", "http:\\\\host.example", "http://host.example\\x", "http://host.example\\@127.0.0.1/",
    "http://127.0.0.1\\@host.example/", " http://host.example/", "http://host.example/ ", "http://host.example/a b",
    "http://host.example/\t", "http://host.example/\r\nX: y", "http://host.example/\n", "http://host.example/\x00",
    "http://ho\tst.example/", "http://ho\nst.example/", "http://host.example\r\n/", "http://host\x00.example/",
    "http://user:pass@host.example/", "http://user@host.example/", "http://@host.example/", "http://:@host.example/",
    "http://allowed.example@127.0.0.1/", "http://allowed.example#@127.0.0.1/", "http://allowed.example?@127.0.0.1#/",
    "http://host.example/#part", "http://host.example#", "http://host.example:0/", "http://host.example:99999/",
    "http://host.example:65536/", "http://host.example:80abc/", "http://host.example:-80/", "http://host.example:+80/",
    "http://host.example: 80/", "http://host.example:/", "http://host.example:80:80/", "http://:80/", "http://?x",
    "http://host.example:8\u0660/", "http://host.example:\uff18\uff10/", "http://h\u00f6st.example/",
    "http://host\u3002example/", "http://\u0430llowed.example/", "http://host.example/\u00fc", "http://host.example./",
    "http://.host.example/", "http://host..example/", "http://-host.example/", "http://host-.example/",
    f"http://{'a' * 64}.example/", f"http://{'a.' * 150}example/", f"http://{'a' * 300}/", "http://ho%73t.example/",
    "http://host.example%00.evil.example/", "http://host.example%2f@evil.example/", "http://[::1/", "http://::1/",
    "http://[::1]x/", "http://[::1]:x/", "http://[host.example]/", "http://[]/", "http://[:::]/", "http://[1.1.1.1]/",
    "http://[v1.a]/", "http://host_!.example/", "http://host,example/", "http://host;example/", "http://*.example/",
    "http://host.example/%", "http://host.example/%zz", "http://host.example/%a", "http://host.example/[x]",
    'http://host.example/"', "http://host.example/<", "http://host.example/{x}", "http://host.example/|",
    "http://host.example/^", "http://host.example/`", "http ://host.example/", "ht\ttp://host.example/",
    "http//host.example/", "http://http://host.example/", "http://host.example/" + "x" * 8192,
    "http://1.1.1/", "http://1.1.1.1.1/", "http://1.1.1.256/", "http://01.1.1.1/", "http://1.1.1.1a:80:/",
    "http://0x/", "http://a.0x/", "http://a.1/", "http://a.0x1f/",
)  # fmt: skip


@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_url_is_refused(url: str) -> None:
    with pytest.raises(URLRefused) as caught:  # SEC-40
        gate({"host.example.": [PUBLIC]}).parse(url)
    assert "pass" not in str(caught.value) and "user:" not in str(caught.value), "no secret in the text (SEC-115)"


@pytest.mark.parametrize(
    "scheme",
    [
        "ftp",
        "file",
        "gopher",
        "dict",
        "ldap",
        "swift+config",
        "filesystem",
        "rbd",
        "javascript",
        "data",
        "HTTPX",
        "h",
    ],
)
def test_only_http_and_https_can_be_fetched_whatever_is_allowed(scheme: str) -> None:
    for rules in ({}, {"allowed_schemes": (scheme.lower(),)}, {"allowed_schemes": ()}):
        with pytest.raises(URLRefused):  # SEC-39, IMP-53
            gate({}, **rules).parse(f"{scheme}://host.example/")


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://host.example", Target("http", "host.example", 80, "/")),
        (
            "HTTP://HOST.Example:8080/A%2fb?q=%20#"[:-1],
            Target("http", "host.example", 8080, "/A%2fb?q=%20", None, True),
        ),
        ("https://host.example?x=1", Target("https", "host.example", 443, "/?x=1")),
        ("https://h_o-st.example/../a/./b", Target("https", "h_o-st.example", 443, "/../a/./b")),
        ("https://xn--hst-sna.example/", Target("https", "xn--hst-sna.example", 443, "/")),
        ("http://a1.b2.c3d/", Target("http", "a1.b2.c3d", 80, "/")),
        ("http://x/a@b:c;d=e,f!$&'()*+~", Target("http", "x", 80, "/a@b:c;d=e,f!$&'()*+~")),
        ("http://1.1.1.1:080/", Target("http", "1.1.1.1", 80, "/", ipaddress.ip_address("1.1.1.1"), True)),
        ("http://[2606:4700:0::1]/", Target("http", "2606:4700::1", 80, "/", ipaddress.ip_address("2606:4700::1"))),
    ],
)
def test_a_url_is_parsed_once_and_sent_as_it_was_written(url: str, target: Target) -> None:
    assert parse(url) == target


def test_the_authority_of_a_request_names_what_the_url_names() -> None:
    assert parse("http://h.example:80/").authority == "h.example"
    assert parse("https://h.example:80/").authority == "h.example:80"
    assert parse("http://[2606:4700::1]:81/").authority == "[2606:4700::1]:81"


@given(st.text(max_size=60) | st.from_regex(r"https?://[!-~]{1,40}", fullmatch=True))
def test_whatever_is_sent_is_parsed_or_refused_and_nothing_else(url: str) -> None:
    try:
        target = parse(url)
    except URLRefused:
        return
    assert target.scheme in ("http", "https") and 1 <= target.port <= 65535
    assert all("!" <= each <= "~" for each in target.authority + target.path), "nothing that could end a header line"
    assert url.lower().startswith(f"{target.scheme}://")
    assert target.address is not None or target.host in url.lower()
    again = parse(f"{target.origin}{target.path}")
    assert (again.host, again.port, again.path) == (target.host, target.port, target.path)


# IMP-52, CFG-50..52, CFA-22..25: of each pair the allow list alone counts unless it is empty
SCHEMES = [
    ({}, "http", True), ({}, "https", True), ({"allowed_schemes": ("https",)}, "http", False),
    ({"allowed_schemes": (), "disallowed_schemes": ("http",)}, "http", False),
    ({"allowed_schemes": (), "disallowed_schemes": ("http",)}, "https", True),
    ({"allowed_schemes": ("http",), "disallowed_schemes": ("http",)}, "http", True),
    ({"allowed_schemes": ()}, "http", True),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "scheme", "passes"), SCHEMES)
def test_schemes_are_filtered_as_in_glance(rules: dict[str, Any], scheme: str, passes: bool) -> None:
    assert does_pass(f"{scheme}://h.example/", rules) is passes


PORTS = [
    ({}, "", True), ({}, ":80", True), ({}, ":443", True), ({}, ":8080", False), ({}, ":22", False),
    ({"allowed_ports": (8080,)}, ":8080", True), ({"allowed_ports": (8080,)}, ":80", False),
    ({"allowed_ports": (8080,)}, "", True),  # IMP-55: only a port that is written is looked at
    ({"allowed_ports": (), "disallowed_ports": (22,)}, ":22", False),
    ({"allowed_ports": (), "disallowed_ports": (22,)}, ":2222", True),
    ({"allowed_ports": (22,), "disallowed_ports": (22,)}, ":22", True), (ANY_PORT, ":65535", True),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "port", "passes"), PORTS)
def test_ports_are_filtered_as_in_glance(rules: dict[str, Any], port: str, passes: bool) -> None:
    assert does_pass(f"http://h.example{port}/", rules) is passes


HOSTS = [
    ({"allowed_hosts": ("h.example",)}, "h.example", True), ({"allowed_hosts": ("h.example",)}, "H.EXAMPLE", True),
    ({"allowed_hosts": ("h.example",)}, "h.example.evil.test", False),
    ({"allowed_hosts": ("h.example",)}, "evilh.example", False),
    ({"allowed_hosts": ("h.example",)}, "sub.h.example", False), ({"allowed_hosts": ("h.example",)}, PUBLIC, False),
    ({"disallowed_hosts": ("h.example",)}, "h.example", False),
    ({"disallowed_hosts": ("h.example",)}, "sub.h.example", True),
    ({"allowed_hosts": ("h.example",), "disallowed_hosts": ("h.example",)}, "h.example", True),
    ({"disallowed_networks": networks(PUBLIC)}, PUBLIC, False),
    ({"disallowed_networks": networks(PUBLIC)}, "h.example", False),  # IMP-56: its address is a literal of the list
    ({"disallowed_networks": networks("93.184.0.0/16")}, "h.example", False),
    ({"disallowed_networks": networks("1.0.0.0/8")}, "h.example", True),
    ({"allowed_hosts": ("h.example",), "disallowed_networks": networks(PUBLIC)}, "h.example", True),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "host", "passes"), HOSTS)
def test_hosts_are_compared_exactly(rules: dict[str, Any], host: str, passes: bool) -> None:
    assert does_pass(f"http://{host}/", rules) is passes  # SEC-41, IMP-54


def does_pass(url: str, rules: dict[str, Any]) -> bool:
    names = {
        f"{each}{dot}": [PUBLIC]
        for each in ("h.example", "sub.h.example", "h.example.evil.test", "evilh.example")
        for dot in ("", ".")
    }
    try:
        return checked(url, names, **rules) == [PUBLIC]
    except URLRefused:
        return False


def test_a_deny_entry_matches_every_spelling_of_an_address() -> None:
    rules = Filtering(disallowed_networks=networks("8.8.8.8"), allowed_networks=networks("64:ff9b::/96", "::/0"))
    for form in ("8.8.8.8", *mapped("8.8.8.8")):
        assert refusal(form, rules) == "is in disallowed_hosts", form  # IMP-56a


def test_an_allowed_host_is_exempt_and_no_other_spelling_of_it() -> None:
    names = {"inside.example": ["10.0.0.5", "127.0.0.1"], "other.example.": ["10.0.0.5"]}
    rules = {"allowed_hosts": ("inside.example", "10.0.0.7", "::1")}
    assert checked("http://inside.example/", names, **rules) == ["10.0.0.5", "127.0.0.1"]  # RUL-95, IMP-56
    assert checked("http://10.0.0.7/", **rules) == ["10.0.0.7"]
    assert checked("http://[0::1]/", **rules) == ["::1"]
    for url in ("http://other.example/", "http://10.0.0.5/", "http://[::ffff:10.0.0.7]/", "http://127.0.0.1/"):
        with pytest.raises(URLRefused):
            checked(url, names, **rules)


def test_allowed_networks_open_what_they_name_and_nothing_else() -> None:
    rules = {"allowed_networks": networks("10.1.0.0/16", "fd00:1::/32")}
    names = {"a.example.": ["10.1.2.3"], "b.example.": ["10.2.2.3"], "c.example.": ["fd00:1::5"]}
    assert checked("http://a.example/", names, **rules) == ["10.1.2.3"]  # RUL-95
    assert checked("http://10.1.0.1/", names, **rules) == ["10.1.0.1"]
    assert checked("http://c.example/", names, **rules) == ["fd00:1::5"]
    for url in ("http://b.example/", "http://10.2.0.1/", "http://[::ffff:10.1.0.1]/", "http://[fd00:2::1]/"):
        with pytest.raises(URLRefused):
            checked(url, names, **rules)
    assert refusal("::1", Filtering(allowed_networks=networks("::1/128"))) is None


def test_a_network_of_translated_addresses_opens_public_ones_only() -> None:
    rules = Filtering(
        allowed_networks=networks("64:ff9b::/96")
    )  # as behind NAT64, where every name has such addresses
    assert refusal("64:ff9b::8.8.8.8", rules) is None
    assert refusal("64:ff9b::127.0.0.1", rules) == "stands for 127.0.0.1, which is not public"
    both = Filtering(allowed_networks=networks("64:ff9b::/96", "127.0.0.0/8"))
    assert refusal("64:ff9b::127.0.0.1", both) is None


def test_of_several_addresses_only_permitted_ones_are_connected_to() -> None:
    mixed = {"h.example.": ["10.0.0.1", PUBLIC, "::1", "2606:4700::1111", "fe80::1%2"]}
    assert checked("http://h.example/", mixed) == [PUBLIC, "2606:4700::1111"]  # SEC-36, SEC-38
    for internal in (["10.0.0.1"], ["127.0.0.1", "::1"], ["::ffff:10.0.0.1"], []):
        with pytest.raises(URLRefused):
            checked("http://h.example/", {"h.example.": internal})


def test_names_are_resolved_as_absolute_ones() -> None:
    names = Names({"mirror": [PUBLIC], "h.example.": [PUBLIC], "localhost": ["127.0.0.1"]})

    async def ask(rules: Filtering, host: str) -> Sequence[str]:
        return await Gate(rules, names).addresses(parse(f"http://{host}/"))

    assert asyncio.run(ask(DEFAULT, "h.example")) == [PUBLIC]
    with pytest.raises(URLRefused):  # IMP-54, SEC-33: a search domain would make it another name on each machine
        asyncio.run(ask(DEFAULT, "localhost"))
    assert asyncio.run(ask(Filtering(allowed_hosts=("mirror",)), "mirror")) == [PUBLIC]
    assert names.asked == ["h.example.", "localhost.", "mirror"]


def test_names_that_do_not_exist_and_internal_ones_are_refused_alike() -> None:
    texts = set()
    for url in ("http://inside.example/", "http://nothing.example/", "http://10.0.0.5/"):
        with pytest.raises(Invalid) as caught:  # IMG-LOCN-05: 400
            checked(url, {"inside.example.": ["10.0.0.5"]})
        texts.add(str(caught.value))
        assert "10.0.0.5" not in str(caught.value)
        assert isinstance(caught.value, URLRefused) and caught.value.detail != str(caught.value)
    assert len(texts) == 1  # SEC-45


REDIRECTS = [
    ("https://h.example/a/b?c", "d", "https://h.example/a/d"), ("https://h.example/a/b", "/d?x", "https://h.example/d?x"),
    ("https://h.example/a", "//other.example/d", "https://other.example/d"),
    ("https://h.example/a", "https://other.example:443/d#part", "https://other.example/d"),
    ("http://h.example/a", "https://h.example/b", "https://h.example/b"), ("http://h.example/a/b", "../c", "http://h.example/c"),
    ("http://h.example/a", "?x=1", "http://h.example/a?x=1"), ("http://h.example/a", "", "http://h.example/a"),
]  # fmt: skip


@pytest.mark.parametrize(("url", "location", "after"), REDIRECTS)
def test_a_redirect_is_relative_to_the_url_before(url: str, location: str, after: str) -> None:
    found = gate().redirected(parse(url), location)
    assert f"{found.origin}{found.path}" == f"{parse(after).origin}{parse(after).path}"


BAD_REDIRECTS = (
    "http://127.0.0.1/", "//127.0.0.1/", "//[::1]/", "http://169.254.169.254/latest/meta-data/", "http://2130706433/",
    "file:///etc/passwd", "ftp://h.example/", "gopher://h.example/", "https://h.example:22/", "https://u:p@h.example/",
    "https://h.example\\@127.0.0.1/", "\\\\127.0.0.1\\x", "https://h.example/\r\nX: y", "https://h\t.example/",
    "https://h.ex\u00e4mple/", "https://[/", "https:///x", "https://", "data:text/plain,x", "http://h.example/",
)  # fmt: skip


@pytest.mark.parametrize("location", BAD_REDIRECTS)
def test_a_redirect_passes_the_same_gate_and_never_loses_tls(location: str) -> None:
    with pytest.raises(URLRefused):  # SEC-39, IMP-56, STOR-152
        gate().redirected(parse("https://h.example/a"), location)


def test_addresses_of_this_machine_are_refused_unless_they_are_named() -> None:
    """In a network namespace whose only interface has a public address."""
    program = (
        "import ipaddress\nfrom ferrotype.config.filtering import Filtering\n"
        "from ferrotype.streams.addresses import refusal\n"
        "none, named = Filtering(), Filtering(allowed_networks=(ipaddress.ip_network('11.22.33.44'),))\n"
        "for address, rules in (('11.22.33.44', none), ('11.22.33.45', none), ('11.22.33.44', named)):\n"
        "    print(refusal(address, rules))"
    )
    setup = "ip link set lo up && ip address add 11.22.33.44/24 dev lo && exec"
    found = subprocess.run(
        ["unshare", "--net", "sh", "-c", f'{setup} "$@"', "sh", sys.executable, "-c", program],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if found.returncode and "unshare" in found.stderr:
        pytest.skip("needs root-for-namespaces, which is missing here")
    # SEC-33, IMP-56a: also where the service listens on a public address
    assert found.stdout.split("\n")[:3] == ["is an address of this machine", "None", "None"], found.stderr
