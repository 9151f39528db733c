"""Which URLs and addresses may be reached, so that nobody steers us into our own networks.

A URL is parsed once, strictly; its name is resolved here; every answer must be a public address
or lie in a network that the settings allow. `guarded_client` connects to a checked address.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address

import idna
import msgspec

from processors.dependencies.addresses import (
    Address,
    Network,
    parse_address,
    parse_network,
    refusal,
    unmapped,
)
from streams.errors import ConfigError, Rejected

PORTS = frozenset({80, 443, 8443})
URL_MAX_LENGTH = 2_048
RESOLVER_THREADS = 64
DEFAULT_PORT = {"http": 80, "https": 443}
URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<host>[^\s/?#@:\[\]\\%]+))"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?P<path>/[^?#\\\s]*)?(?P<query>\?[^#\\\s]*)?",
    re.IGNORECASE,
)
LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
NUMERIC = re.compile(r"\d+|0x[0-9a-f]*")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class Refused(Rejected):
    """A URL, or an address behind it, that Roughneck does not connect to."""

    code = "url_refused"


class GuardSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be reached beside the public internet."""

    allow_networks: tuple[str, ...] = ()  # such as 10.8.0.0/24; also reached by plain http
    allow_ports: tuple[int, ...] = ()  # beside 80, 443 and 8443


class Target(msgspec.Struct, frozen=True):
    """A URL taken apart: lower case, ASCII host, explicit port, a path that starts with `/`."""

    scheme: str
    host: str  # a name or an address, IPv6 without brackets
    port: int
    path: str
    query: str = ""  # with its `?`

    @property
    def origin(self) -> str:
        """`scheme://host[:port]`, the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORT[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    @property
    def url(self) -> str:
        """The one spelling of this URL."""
        return self.origin + self.path + self.query


def parse_url(text: str) -> Target:
    """Take an absolute http or https URL apart; of doubtful spellings none is guessed at.

    Raises Refused for user info, a fragment, control characters, spaces, backslashes, a host that
    is neither a plain name nor a canonical address, and anything over 2,048 characters.
    """
    if len(text) > URL_MAX_LENGTH:
        raise Refused(f"the URL is longer than {URL_MAX_LENGTH} characters")
    if not text.isprintable():
        raise Refused("the URL holds control characters or unusual spaces")
    match = URL.fullmatch(text)
    if match is None:
        raise Refused(f"not a plain http or https URL: {text[:200]}")
    scheme = match["scheme"].lower()
    host = _v6_host(match["v6"]) if match["v6"] else _host(match["host"])
    port = int(match["port"] or DEFAULT_PORT[scheme])
    if port > 65_535:
        raise Refused(f"there is no port {port}")
    return Target(scheme, host, port, match["path"] or "/", match["query"] or "")


def lies_under(url: Target, prefix: Target) -> bool:
    """Whether `url` has the origin of `prefix` and its path, or one below it."""
    if (url.scheme, url.host, url.port) != (prefix.scheme, prefix.host, prefix.port):
        return False
    if re.search(r"/(?:\.|%2e){1,2}(?:/|$)", url.path, re.IGNORECASE):
        return False
    base = prefix.path.rstrip("/")
    return url.path == base or url.path.startswith(base + "/")


def literal(host: str) -> Address | None:
    """The address that a host of a `Target` spells, or None for a name."""
    try:
        return parse_address(host)
    except ValueError:
        return None


class Guard:
    """Decides which URLs and addresses may be reached.

    `plain_http` permits http to public addresses; without it http reaches allowed networks only.
    """

    def __init__(
        self,
        settings: GuardSettings,
        *,
        plain_http: bool = False,
        resolve: Resolve | None = None,
    ) -> None:
        """Raises ConfigError naming a network or port that is none."""
        self._allowed = tuple(_network(text) for text in settings.allow_networks)
        self._ports = PORTS | {_port(port) for port in settings.allow_ports}
        self._plain_http = plain_http
        self._resolve = resolve or Resolver()

    def check_url(self, text: str) -> Target:
        """Parse `text` and check all that can be known without asking a resolver.

        Raises Refused with a sentence that says what is wrong.
        """
        target = parse_url(text)
        if target.port not in self._ports:
            raise Refused(f"port {target.port} is not among the allowed ports")
        address = literal(target.host)
        if address is not None:
            self._check(address, plain=target.scheme == "http")
        return target

    def in_allowed_network(self, host: str) -> bool:
        """Whether `host` is spelt as an address inside an allowed network."""
        address = literal(host)
        return address is not None and self._is_allowed(address)

    async def addresses(self, host: str, port: int, *, plain: bool) -> list[Address]:
        """The addresses to connect to for `host`; `plain` says without TLS.

        Raises Refused when any single answer is refused, and OSError when there is no answer.
        """
        if port not in self._ports:
            raise Refused(f"port {port} is not among the allowed ports")
        spelt = literal(host)
        if spelt is not None:
            answers = [spelt]
        else:
            answers = [parse_address(text) for text in await self._resolve(host, port)]
        if not answers:
            raise OSError(f"{host} has no address")
        for address in answers:
            self._check(address, plain=plain, name=host)
        return list(dict.fromkeys(answers))

    def _check(self, address: Address, *, plain: bool, name: str = "") -> None:
        whose = f"{name}: " if name and name != str(address) else ""
        why = refusal(address, self._allowed)
        if why is not None:
            raise Refused(f"{whose}{why}, which no setting allows")
        if plain and not self._plain_http and not self._is_allowed(address):
            raise Refused(f"{whose}plain http is for allowed networks only, use https")

    def _is_allowed(self, address: Address) -> bool:
        plain = unmapped(address)
        return any(plain.version == net.version and plain in net for net in self._allowed)


class Resolver:
    """Asks the system's resolver in threads of its own. Who asks for a name that is being asked for
    waits for the same answer: a name that never resolves holds one thread, however many want it."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolve")
        self._asked: dict[str, asyncio.Future[list[str]]] = {}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Every address of `host`, in the system's order of preference."""
        asked = self._asked.get(host)
        if asked is None:
            loop = asyncio.get_running_loop()
            asked = loop.run_in_executor(self._threads, self._ask, host, port)
            self._asked[host] = asked
            asked.add_done_callback(lambda answered: self._forget(host, answered))
        return await asyncio.shield(asked)

    def _forget(self, host: str, answered: "asyncio.Future[list[str]]") -> None:
        del self._asked[host]
        if not answered.cancelled():
            answered.exception()  # whoever asked may have left: that nobody reads it is no fault

    @staticmethod
    def _ask(host: str, port: int) -> list[str]:
        rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [str(sockaddr[0]) for *_, sockaddr in rows]


def _host(text: str) -> str:
    """The ASCII form of a host name, or a canonical dotted quad."""
    if isinstance(literal(text), IPv4Address):
        return text
    host = text.lower()
    try:
        if not host.isascii():
            host = idna.encode(host).decode("ascii")
        elif "xn--" in host:
            idna.decode(host)
    except idna.IDNAError as error:
        raise Refused(f"not a host name: {text[:200]}") from error
    labels = host.split(".")
    if len(host) > 253 or not all(LABEL.fullmatch(label) for label in labels):
        raise Refused(f"not a host name: {text[:200]}")
    if NUMERIC.fullmatch(labels[-1]):
        raise Refused(f"an address must be written as a.b.c.d: {text[:200]}")
    return host


def _v6_host(text: str) -> str:
    try:
        return str(parse_address(text))
    except ValueError as error:
        raise Refused(f"not an IPv6 address: {text[:200]}") from error


def _network(text: str) -> Network:
    try:
        return parse_network(text)
    except ValueError as error:
        raise ConfigError(f"allow_networks: {error}") from error


def _port(port: int) -> int:
    if not 0 < port < 65_536:
        raise ConfigError(f"allow_ports: there is no port {port}")
    return port
