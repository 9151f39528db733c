"""The table of addresses that are never reached by accident."""

from ipaddress import IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.dependencies.addresses import parse_network, refusal

PUBLIC = [
    "1.1.1.1",
    "93.184.216.34",
    "172.32.0.1",
    "100.128.0.1",
    "2a00:1450:400f:80d::200e",
    "::ffff:1.1.1.1",
    "64:ff9b::101:101",
]

REFUSED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.31.196.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:100.100.100.200",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:1:1:1:1:80ff:fffe",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::",
    "2002:101:101::",
    "2001:10::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "4000::1",
    "e000::1",
]


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_reached(text: str) -> None:
    assert refusal(ip_address(text)) is None


@pytest.mark.parametrize("text", REFUSED)
def test_a_special_address_is_refused_with_a_reason(text: str) -> None:
    why = refusal(ip_address(text))
    assert why is not None
    assert " is " in why


def test_an_allowed_network_is_exempt_and_nothing_beside_it() -> None:
    allowed = [parse_network("10.8.0.0/24")]
    assert refusal(ip_address("10.8.0.7"), allowed) is None
    assert refusal(ip_address("::ffff:10.8.0.7"), allowed) is None
    assert refusal(ip_address("10.8.1.7"), allowed) is not None
    assert refusal(ip_address("64:ff9b::a08:7"), allowed) is not None


@given(st.ip_addresses(v=4))
def test_every_wrapping_of_a_refused_address_is_refused(inside: object) -> None:
    value = int(ip_address(str(inside)))
    if refusal(ip_address(str(inside))) is None:
        return
    for wrapped in (
        0xFFFF << 32 | value,
        0x64FF9B << 96 | value,
        value,
        0x2002 << 112 | value << 80,
        0x20010000 << 96 | (~value & 0xFFFFFFFF),
    ):
        assert refusal(IPv6Address(wrapped)) is not None
