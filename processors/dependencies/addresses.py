"""Which IP addresses are ordinary public ones, by a table of our own.

The standard library's `is_global` is not asked: Python 3.11 calls `::ffff:100.100.100.200`,
`64:ff9b::7f00:1` and `224.0.0.1` global. The table is IANA's two special-purpose registries,
multicast and reserved space; in IPv6 all but 2000::/3 is refused as well, known or not.
"""

from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SPECIAL_V4 = tuple(
    (IPv4Network(network), name)
    for network, name in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a carrier"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "for protocol assignments"),
        ("192.0.2.0/24", "for documentation"),
        ("192.31.196.0/24", "AS112"),
        ("192.52.193.0/24", "AMT"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "AS112"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
SPECIAL_V6 = tuple(
    (IPv6Network(network), name)
    for network, name in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::/96", "an IPv4-compatible address"),
        ("64:ff9b:1::/48", "a local translation prefix"),
        ("100::/64", "discard-only"),
        ("100:0:0:1::/64", "a dummy prefix"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "for protocol assignments"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "6to4"),
        ("2620:4f:8000::/48", "AS112"),
        ("3fff::/20", "for documentation"),
        ("5f00::/16", "for segment routing"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
GLOBAL_UNICAST = IPv6Network("2000::/3")
MAPPED = IPv6Network("::ffff:0:0/96")
TRANSLATED = IPv6Network("64:ff9b::/96")  # NAT64: reaches the IPv4 address in its last 32 bits
COMPATIBLE = IPv6Network("::/96")
SIX_TO_FOUR = IPv6Network("2002::/16")
TEREDO = IPv6Network("2001::/32")
LOW_32 = 2**32 - 1


def refusal(address: Address, allowed: Sequence[Network] = ()) -> str | None:
    """Why no connection may be made to `address`, or None when it may.

    `allowed` networks are exempt. A mapped address (`::ffff:…`) is the IPv4 address inside; one
    behind a translator (64:ff9b::/96) is refused when the address inside is, allowed or not.
    """
    address = unmapped(address)
    if any(address.version == network.version and address in network for network in allowed):
        return None
    if isinstance(address, IPv4Address):
        return _special(address, SPECIAL_V4)
    inside = embedded(address)
    if inside is not None and (why := _special(inside, SPECIAL_V4)):
        return f"{address} leads to {why}"
    if address in TRANSLATED:
        return None
    if why := _special(address, SPECIAL_V6):
        return why
    return None if address in GLOBAL_UNICAST else f"{address} is not global unicast"


def unmapped(address: Address) -> Address:
    """The IPv4 address inside `::ffff:a.b.c.d`, or else the address itself."""
    if isinstance(address, IPv6Address) and address in MAPPED:
        return IPv4Address(int(address) & LOW_32)
    return address


def embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address of a transition scheme stands for."""
    value = int(address)
    if address in MAPPED or address in TRANSLATED or address in COMPATIBLE:
        return IPv4Address(value & LOW_32)
    if address in SIX_TO_FOUR:
        return IPv4Address(value >> 80 & LOW_32)
    if address in TEREDO:
        return IPv4Address(~value & LOW_32)  # the client's address, stored inverted
    return None


def parse_address(text: str) -> Address:
    """The address that a resolver or a socket names. Raises ValueError for anything else."""
    return ip_address(text.partition("%")[0])


def parse_network(text: str) -> Network:
    """A network such as `10.8.0.0/24`; host bits must be zero. Raises ValueError."""
    return ip_network(text)


def _special(
    address: Address, table: Sequence[tuple[IPv4Network, str]] | Sequence[tuple[IPv6Network, str]]
) -> str | None:
    for network, name in table:
        if address in network:
            return f"{address} is {name}"
    return None
