"""Outgoing HTTP that cannot be steered into our own networks (server-side request forgery).

Every connection goes to an address that `guard` has checked, and the address that it really reached
is compared. Host header and TLS keep the name.
"""

import asyncio
import sys
from collections.abc import Iterable, Sequence
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.util import find_spec
from ssl import SSLContext

import httpcore
import httpx

from processors.dependencies.addresses import Address, parse_address, unmapped
from processors.dependencies.guard import DEFAULT_PORT, Guard, Refused

ADDRESSES_TRIED = 4
PIECES_MAX = 256  # of an answer whose bytes are bounded

# httpcore imports sniffio for every lock that it makes. Where there is none, the search for it is a
# quarter of a request's time, unless its absence is written down (measured, httpcore 1.0.9).
if "sniffio" not in sys.modules and find_spec("sniffio") is None:
    sys.modules["sniffio"] = None  # type: ignore[assignment]  # the documented way to say so

SocketOptions = Iterable[httpcore.SOCKET_OPTION]


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections for httpcore, to checked addresses only.

    An answer over `answer_max_bytes`, its head and interim answers included, breaks off; so does
    one that comes in ever so many little pieces.
    """

    def __init__(self, guard: Guard, *, plain: bool, answer_max_bytes: int | None = None) -> None:
        self._guard = guard
        self._plain = plain
        self._answer_max_bytes = answer_max_bytes
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: SocketOptions | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve, check and connect within `timeout` seconds. Raises Refused or httpcore's own."""
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._guard.addresses(host, port, plain=self._plain)
                return await self._first(addresses[:ADDRESSES_TRIED], port, timeout)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"no connection to {host} in {timeout} s") from error
        except OSError as error:
            raise httpcore.ConnectError(f"{host}: {error}") from error

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: SocketOptions | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never: a unix socket is always inside."""
        raise Refused("unix sockets are not reached")

    async def sleep(self, seconds: float) -> None:
        """Wait, for httpcore's own retries."""
        await self._network.sleep(seconds)

    async def _first(
        self, addresses: Sequence[Address], port: int, timeout: float | None
    ) -> httpcore.AsyncNetworkStream:
        share = None if timeout is None else timeout / len(addresses)
        for address in addresses[:-1]:
            try:
                return await self._connect(address, port, share)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._connect(addresses[-1], port, timeout)

    async def _connect(
        self, address: Address, port: int, timeout: float | None
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._network.connect_tcp(str(address), port, timeout)
        try:
            check_peer(stream, address)
        except Refused:
            await stream.aclose()
            raise
        return CappedStream(stream, self._answer_max_bytes) if self._answer_max_bytes else stream


class CappedStream(httpcore.AsyncNetworkStream):
    """A connection on which each answer may have so many bytes, in no more than a few hundred
    pieces, since each costs as much as a large one. A request starts the count anew."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._read = self._pieces = 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read on. Raises httpcore.ReadError beyond the limit."""
        chunk = await self._stream.read(max_bytes, timeout)
        self._read += len(chunk)
        self._pieces += 1
        if self._pieces > PIECES_MAX:
            raise httpcore.ReadError(f"the answer came in more than {PIECES_MAX} pieces")
        if self._read > self._max_bytes:
            raise httpcore.ReadError(f"the answer has more than {self._max_bytes} bytes")
        return chunk

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write, which is a new request."""
        self._read = self._pieces = 0
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """The same under TLS: the limit counts what is inside it."""
        stream = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        return CappedStream(stream, self._max_bytes)

    def get_extra_info(self, info: str) -> object:
        """What the connection under this one says of itself."""
        return self._stream.get_extra_info(info)


def check_peer(stream: httpcore.AsyncNetworkStream, address: Address) -> None:
    """Compare the address that `stream` reached with the checked one. Raises Refused."""
    peer = stream.get_extra_info("server_addr")
    if peer is None or unmapped(parse_address(str(peer[0]))) != unmapped(address):
        raise Refused(f"meant to connect to {address}, reached {peer}")


class GuardedTransport(httpx.AsyncBaseTransport):
    """An httpx transport that checks each request, redirected ones included."""

    def __init__(
        self,
        guard: Guard,
        limits: httpx.Limits,
        tls: SSLContext,
        answer_max_bytes: int | None = None,
    ) -> None:
        self._guard = guard
        self._by_scheme = {
            scheme: _Transport(
                GuardedBackend(guard, plain=scheme == "http", answer_max_bytes=answer_max_bytes),
                limits,
                tls,
            )
            for scheme in DEFAULT_PORT
        }

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`. Raises Refused, or httpx's own errors."""
        target = self._guard.check_url(str(request.url))
        return await self._by_scheme[target.scheme].handle_async_request(request)

    async def aclose(self) -> None:
        """Close every connection."""
        for transport in self._by_scheme.values():
            await transport.aclose()


def guarded_client(
    guard: Guard,
    *,
    user_agent: str,
    timeout: httpx.Timeout,
    limits: httpx.Limits,
    tls: SSLContext | None = None,
    answer_max_bytes: int | None = None,
) -> httpx.AsyncClient:
    """A client that reaches only what `guard` permits.

    It follows no redirect by itself, keeps no cookie, asks for no compression and ignores proxy
    variables of the environment. `tls` replaces the public certificate authorities;
    `answer_max_bytes` bounds every answer, head and body.
    """
    tls = tls or httpx.create_ssl_context(trust_env=False)
    return httpx.AsyncClient(
        transport=GuardedTransport(guard, limits, tls, answer_max_bytes),
        headers={"user-agent": user_agent, "accept-encoding": "identity"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        timeout=timeout,
        follow_redirects=False,
        trust_env=False,
    )


class _Transport(httpx.AsyncHTTPTransport):
    """httpx's transport over our backend; httpx has no public way to pass one (0.28)."""

    def __init__(self, backend: GuardedBackend, limits: httpx.Limits, tls: SSLContext) -> None:
        super().__init__(verify=tls, trust_env=False, limits=limits)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=backend,
        )
