"""From where a request comes. A header that anyone may send counts from trusted proxies only."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import Scope

from streams.errors import ConfigError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# What proxies add. One of these says that the peer is not who asks.
FORWARDING = ("forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip")
FORWARDED_FOR = "x-forwarded-for"
ADDRESS_MAX = 100  # characters; the longest, with a zone, has fewer
PEERS_MAX = 4_096  # addresses that are known without being parsed again
HOPS_MAX = 20  # addresses of one X-Forwarded-For that are looked at


def networks(texts: Sequence[str], where: str) -> tuple[Network, ...]:
    """Networks such as `10.8.0.0/24`, or single addresses. Raises ConfigError naming `where`."""
    try:
        return tuple(ip_network(text) for text in texts)
    except ValueError as error:
        raise ConfigError(f"settings: {error} - at `{where}`") from None


def lies_in(address: str, among: Sequence[Network]) -> bool:
    """Whether `address`, which may be no address at all, lies in one of the networks."""
    parsed = parse(address)
    return parsed is not None and any(parsed in network for network in among)


def parse(text: str) -> Address | None:
    """An address, an IPv4 one inside IPv6 as IPv4; None for what is none."""
    return _parsed(text)[0] if len(text) <= ADDRESS_MAX else None


@lru_cache(maxsize=PEERS_MAX)
def _parsed(text: str) -> tuple[Address | None, str]:
    """An address, and how it is written; empty for what is none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None, ""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address, str(mapped or address)


def address_of(scope: Scope, trusted: Sequence[Network]) -> str:
    """The client's address: the peer's, or behind trusted proxies the one that they saw."""
    peer, said = _parsed((scope.get("client") or ("",))[0])
    if peer is None or not any(peer in network for network in trusted):
        return said
    hops = ",".join(Headers(scope=scope).getlist(FORWARDED_FOR)).split(",")
    for hop in reversed(hops[-HOPS_MAX:]):
        address = parse(hop.strip())
        if address is None:
            break  # nothing further left can be believed
        peer = address
        if not any(peer in network for network in trusted):
            break
    return str(peer)


def is_local(scope: Scope) -> bool:
    """Whether the request was made on this machine, and no proxy on it forwarded it.

    A proxy gives itself away by a header, by the name that its clients asked for, or by HTTP/1.0,
    which nginx speaks to what is behind it unless told otherwise.
    """
    peer = parse((scope.get("client") or ("",))[0])
    headers = Headers(scope=scope)
    if peer is None or not peer.is_loopback or scope.get("http_version") == "1.0":
        return False
    if any(name in FORWARDING or name.startswith("x-forwarded") for name in headers):
        return False
    return _names_loopback(headers.get("host", ""))


def _names_loopback(host: str) -> bool:
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    address = parse(name)
    return name.lower() == "localhost" or (address is not None and address.is_loopback)
