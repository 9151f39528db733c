"""URLs by which somebody would steer us into our own networks, and names that lead there."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

# Addresses of every special network, the first and last ones among them, and cloud metadata.
SPECIAL_V4 = (
    *("0.0.0.0", "0.0.0.1", "0.255.255.255", "10.0.0.0", "10.0.0.1", "10.255.255.255"),
    *("100.64.0.0", "100.64.0.1", "100.100.100.200", "100.127.255.255"),
    *("127.0.0.0", "127.0.0.1", "127.0.0.53", "127.1.1.1", "127.255.255.255"),
    *("169.254.0.1", "169.254.169.253", "169.254.169.254", "169.254.170.2", "169.254.255.255"),
    *("172.16.0.0", "172.16.0.1", "172.17.0.1", "172.31.255.255"),
    *("192.0.0.1", "192.0.0.170", "192.0.0.192", "192.0.2.1", "192.31.196.1", "192.52.193.1"),
    *("192.88.99.1", "192.168.0.1", "192.168.1.254", "192.168.255.255", "192.175.48.1"),
    *("198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1"),
    *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
)
SPECIAL_V6 = (
    *("::", "::1", "::2", "0:0:0:0:0:0:0:1", "::127.0.0.1", "::10.0.0.1", "100::1", "100:0:0:1::1"),
    *("64:ff9b:1::7f00:1", "64:ff9b:1:ffff::1", "2001::1", "2001:2::1", "2001:10::1"),
    *("2001:20::1", "2001:db8::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254"),
    *("fdff:ffff::1", "fe80::1", "febf::1", "fec0::1", "ff00::1", "ff02::1", "ff0e::1"),
    *("4000::1", "8000::1", "e000::1", "2620:4f:8000::1", "::ffff:0:127.0.0.1"),
)
WRAPPED = ("127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "100.100.100.200", "0.0.0.0")
LOOPBACK = IPv4Address("127.0.0.1")

# What the test's resolver answers. `rebinding` is public when it is asked first.
PUBLIC = "93.184.216.34"
NAMES: dict[str, tuple[str, ...]] = {
    "localhost": ("127.0.0.1", "::1"),
    "localhost.localdomain": ("127.0.0.1",),
    "sub.localhost": ("::1",),
    "ip6-localhost": ("::1",),
    "metadata.google.internal": ("169.254.169.254",),
    "metadata": ("169.254.169.254",),
    "instance-data": ("169.254.169.254",),
    "kubernetes.default.svc": ("10.96.0.1",),
    "host.docker.internal": ("172.17.0.1",),
    "127.0.0.1.nip.example": ("127.0.0.1",),
    "7f000001.rebind.example": ("127.0.0.1",),
    "intranet.example": ("10.1.2.3",),
    "carrier.example": ("100.64.1.1",),
    "lan.example": ("192.168.178.1",),
    "any.example": ("0.0.0.0",),
    "any6.example": ("::",),
    "loop6.example": ("::1",),
    "mapped.example": ("::ffff:127.0.0.1",),
    "mapped-hex.example": ("::ffff:7f00:1",),
    "nat64.example": ("64:ff9b::7f00:1",),
    "sixtofour.example": ("2002:7f00:1::",),
    "teredo.example": ("2001:0:4136:e378:8000:63bf:80ff:fffe",),
    "compatible.example": ("::127.0.0.1",),
    "link.example": ("fe80::1%lo",),
    "zone.example": ("::1%lo",),
    "unique.example": ("fd12:3456:789a::1",),
    "site.example": ("fec0::1",),
    "multicast.example": ("224.0.0.1",),
    "broadcast.example": ("255.255.255.255",),
    "mixed.example": (PUBLIC, "127.0.0.1"),
    "mixed-last.example": (PUBLIC, "2606:2800:220:1::1", "169.254.169.254"),
    "mixed-first.example": ("10.0.0.1", PUBLIC),
    "xn--lcalhost-n4a.example": ("127.0.0.1",),
}


def hostile_urls(port: int) -> list[str]:
    """All of them, against `port` where a port is not what is hostile; none twice."""
    urls = [*literals(port), *numerals(port), *disguises(port), *ports(), *schemes(port)]
    urls += [f"{scheme}://{name}:{port}/" for name in NAMES for scheme in ("http", "https")]
    return list(dict.fromkeys(urls))


def literals(port: int) -> Iterator[str]:
    """Addresses as they are usually written, plain and inside those of IPv6."""
    for v4 in SPECIAL_V4:
        yield f"http://{v4}:{port}/"
    for v6 in (*SPECIAL_V6, *map(str, wrappings())):
        yield f"http://[{v6}]:{port}/"
    for host in ("127.0.0.1", "[::1]", "169.254.169.254", "[fd00:ec2::254]"):
        yield f"https://{host}/latest/meta-data/iam/"
        yield f"https://{host}:{port}/"


def wrappings() -> Iterator[IPv6Address]:
    """IPv4 inside mapped, translated, 6to4, Teredo and compatible addresses."""
    for text in WRAPPED:
        value = int(ip_address(text))
        yield IPv6Address(0xFFFF << 32 | value)
        yield IPv6Address(0x64FF9B << 96 | value)
        yield IPv6Address(0x2002 << 112 | value << 80)
        yield IPv6Address(0x20010000 << 96 | (~value & 0xFFFFFFFF))
        yield IPv6Address(value)


def numerals(port: int) -> Iterator[str]:
    """Loopback and metadata in the other notations that resolvers of the system accept."""
    for address in (LOOPBACK, IPv4Address("169.254.169.254")):
        value, (a, b, c, d) = int(address), address.packed
        yield from (
            f"http://{host}:{port}/"
            for host in (
                *(str(value), hex(value), f"0{value:o}", f"{value + 2**32}", f"0x{value:08X}"),
                *(f"{a}.{(b << 16) + (c << 8) + d}", f"{a}.{b}.{(c << 8) + d}"),
                *(f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
                *(f"{a:03}.{b:03}.{c:03}.{d:03}", f"{a}.{b}.{c}.{d:#x}", f"000{a:o}.{b}.{c}.{d}"),
                *(f"{a}.{b}.{c}.{d}.", f"{a}.{b}.{c}.{d}.0", f"{a}.{b}.{c}.{d + 256}"),
                *(f"{a}..{b}.{c}.{d}", f"{a + 256}.{b}.{c}.{d}", f"-{a}.{b}.{c}.{d}"),
            )
        )
    yield from (f"http://{host}:{port}/" for host in ("127.1", "0", "0x0", "00", "017700000001"))


def disguises(port: int) -> Iterator[str]:
    """User info, other characters for the same host, zones, control characters, escapes."""
    at = f"127.0.0.1:{port}"
    yield from (
        *(f"http://a.example@{at}/", f"http://a.example:80@{at}/", f"http://{at}@a.example/"),
        *(f"http://a.example%40{at}/", f"http://a.example%00@{at}/", f"http://@{at}/"),
        *(f"http://a.example#@{at}/", f"http://a.example?@{at}/#", f"http://a.example\\@{at}/"),
        *(f"http://{at}\\.a.example/", f"http://{at}#.a.example/", f"http://{at}%23.a.example/"),
        *(f"http:{at}/", f"http:/{at}/", f"http:///{at}/", f"//{at}/", f"http:\\\\{at}\\"),
        *(
            f"http://①②⑦.⓪.⓪.①:{port}/",
            f"http://１２７.０.０.１:{port}/",
            f"http://127。0。0。1:{port}/",
        ),
        *(
            f"http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:{port}/",
            f"http://ｌｏｃａｌｈｏｓｔ:{port}/",
            f"http://loc\u00adalhost:{port}/",
        ),
        *(f"http://127.0.0.1\u200b:{port}/", f"http://127\uff0e0\uff0e0\uff0e1:{port}/"),
        *(f"http://xn--127-pf3b.0.0.1:{port}/", f"http://%6c%6f%63alhost:{port}/"),
        *(f"http://%31%32%37.0.0.1:{port}/", f"http://127%2e0%2e0%2e1:{port}/"),
        *(
            f"http://[::1%25lo]:{port}/",
            f"http://[::1%lo]:{port}/",
            f"http://[fe80::1%25eth0]:{port}/",
        ),
        *(
            f"http://[::1]a.example:{port}/",
            f"http://[[::1]]:{port}/",
            f"http://[::ffff:127.1]:{port}/",
        ),
        *(f"http://[0x7f000001]:{port}/", f"http://[127.0.0.1]:{port}/", f"http://::1:{port}/"),
        *(
            f"http://{at}\t/",
            f"http://{at}\r\nHost: a.example/",
            f" http://{at}/",
            f"http://{at}/\x00",
        ),
        *(
            f"http://\u202e{at}/",
            f"http://{at}/\u2028",
            f"ht\ntp://{at}/",
            f"http://127.0.0.1 :{port}/",
        ),
        *(f"http://a.example\r\n@{at}/", f"http://localhost.:{port}/", f"http://LOCALHOST:{port}/"),
        *(f"http://_{at}/", f"http://-{at}/", f"http://*.{at}/", f"http://a..{at}/"),
    )


def ports() -> Iterator[str]:
    """Services that would take a request for one of their own, on a host that is fine."""
    for port in (0, 1, 21, 22, 23, 25, 53, 110, 2375, 3306, 5432, 5672, 6379, 8080, 9200, 11211):
        yield f"https://{PUBLIC}:{port}/"
    yield from (
        f"https://{PUBLIC}:{port}/"
        for port in ("65536", "99999", "-443", "+443", "0443", "443a", "4 43", "４４３", "0x1bb")
    )


def schemes(port: int) -> Iterator[str]:
    """What is no web address at all."""
    at = f"127.0.0.1:{port}"
    for scheme in ("ftp", "gopher", "dict", "ldap", "tftp", "ws", "redis", "unix", "httpx"):
        yield f"{scheme}://{at}/_%0d%0aPING"
    yield from ("file:///etc/passwd", "data:,x", "javascript:0", "http+unix://%2ftmp%2fa.sock/", "")
