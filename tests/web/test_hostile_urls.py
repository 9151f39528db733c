"""No URL of a stranger opens a connection into a refused network.

Two witnesses: sockets that listen on every address of loopback and count who comes, and every
`connect` of this process, as the interpreter's own audit hook reports it.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from gateway.delivery import CourierSettings, Undeliverable
from gateway.posting import Poster
from processors.dependencies.guard import Guard, GuardSettings, Refused
from processors.dependencies.guarded_client import GuardedBackend, guarded_client
from tests.web.hostile import NAMES, PUBLIC, hostile_urls, ports
from tests.web.local_server import local_server, response

AT_LEAST = 200
REDIRECTS = (301, 302, 303, 307, 308)
ALLOWED = "127.0.0.2"  # the one address of loopback that the settings of some tests allow
SETTINGS = CourierSettings(connect_timeout_s=1.0, total_timeout_s=1.0, response_timeout_s=0.2)

_recordings: list[list[object]] = []


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if _recordings and event == "socket.connect":
        _recordings[-1].append(arguments[1])


sys.addaudithook(_hear)  # for the life of the process; it records while a test asks for it


@contextlib.contextmanager
def recorded() -> Iterator[list[object]]:
    """Every address to which this process connects in the block."""
    _recordings.append([])
    try:
        yield _recordings[-1]
    finally:
        _recordings.pop()


class Trap:
    """Listens on one port of 127.0.0.1, ::1 and, if it may, on 80, 443 and 8443."""

    def __init__(self) -> None:
        self.port = 0
        self.accepted: list[object] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.append(writer.get_extra_info("peername"))
        writer.write(response(200, b"inside"))
        writer.close()


@pytest.fixture
async def trap() -> AsyncIterator[Trap]:
    trap, servers = Trap(), []
    servers.append(await asyncio.start_server(trap.serve, "127.0.0.1", 0))
    trap.port = servers[0].sockets[0].getsockname()[1]
    for host, port in [
        ("::1", trap.port),
        *((h, p) for h in ("127.0.0.1", "::1") for p in (80, 443)),
    ]:
        with contextlib.suppress(OSError):  # no IPv6 here, or not for us
            servers.append(await asyncio.start_server(trap.serve, host, port))
    yield trap
    for server in servers:
        server.close()


class Names:
    """A resolver that knows the hostile names, and the system's for nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        if host == "rebinding.example":
            return [PUBLIC] if self.asked.count(host) == 1 else ["127.0.0.1"]
        if host not in NAMES:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return NAMES[host]


def guard_for(trap: Trap, *networks: str, plain: bool = True) -> tuple[Guard, Names]:
    """A guard that would let the trap's port pass, were it not for its address."""
    names = Names()
    settings = GuardSettings(allow_networks=networks, allow_ports=(trap.port,))
    return Guard(settings, plain_http=plain, resolve=names), names


@pytest.fixture(autouse=True)
def proxies(monkeypatch: pytest.MonkeyPatch, trap: Trap) -> None:
    """Variables that would send everything through the trap."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{trap.port}")


def test_there_are_enough_of_them() -> None:
    assert len(hostile_urls(8_000)) >= AT_LEAST


async def test_no_callback_reaches_a_refused_network(trap: Trap) -> None:
    guard, _ = guard_for(trap)
    poster = Poster(guard, SETTINGS)
    with recorded() as connects:
        endings = {url: await poster.post(url, {}, b"{}") for url in hostile_urls(trap.port)}
    await poster.close()
    assert (connects, trap.accepted) == ([], [])
    assert {url for url, one in endings.items() if not isinstance(one, Undeliverable)} == set()


async def test_no_processor_reaches_a_refused_network(trap: Trap) -> None:
    guard, _ = guard_for(trap)
    timeout, limits = httpx.Timeout(1.0), httpx.Limits()
    with recorded() as connects:
        async with guarded_client(guard, user_agent="t", timeout=timeout, limits=limits) as http:
            for url in set(hostile_urls(trap.port)) - set(ports()):
                with pytest.raises((Refused, httpx.HTTPError, httpx.InvalidURL, ValueError)):
                    await http.get(url)
    assert (connects, trap.accepted) == ([], [])


def test_what_needs_no_resolver_is_refused_at_registration() -> None:
    guard = Guard(GuardSettings(allow_ports=(8_000,)), plain_http=True)
    passed = set()
    for url in hostile_urls(8_000):
        with contextlib.suppress(Refused):
            passed.add(guard.check_url(url).host)
    assert passed <= NAMES.keys(), "only names, of which a resolver has to be asked"


@pytest.mark.parametrize("status", REDIRECTS)
async def test_no_redirect_leads_into_one(trap: Trap, status: int) -> None:
    urls = hostile_urls(trap.port)
    locations = iter(urls)

    async def redirect(request: object, writer: asyncio.StreamWriter) -> None:
        location = next(locations).encode("utf-8", "ignore").decode("latin-1")
        clean = "".join(c for c in location if c.isprintable())
        writer.write(response(status, Location=clean))

    async with local_server(redirect, ALLOWED) as server:
        settings = GuardSettings(allow_networks=(f"{ALLOWED}/32",), allow_ports=(server.port,))
        poster = Poster(Guard(settings, plain_http=True), SETTINGS)
        with recorded() as connects:
            for _ in range(20):
                await poster.post(f"http://{ALLOWED}:{server.port}/", {}, b"{}")
        await poster.close()
        assert len(server.received) == 20
    assert set(connects) == {(ALLOWED, server.port)}
    assert trap.accepted == []


async def test_a_name_that_turns_inward_after_its_registration(trap: Trap) -> None:
    guard, names = guard_for(trap)
    url = f"http://rebinding.example:{trap.port}/"
    guard.check_url(url)
    assert await guard.addresses("rebinding.example", trap.port, plain=True)
    poster = Poster(guard, SETTINGS)
    with recorded() as connects:
        ending = await poster.post(url, {}, b"{}")
    await poster.close()
    assert isinstance(ending, Undeliverable)
    assert "127.0.0.1 is loopback" in ending.reason
    assert (connects, trap.accepted, len(names.asked)) == ([], [], 2)


async def test_a_network_that_is_allowed_opens_no_other(trap: Trap) -> None:
    guard, _ = guard_for(trap, f"{ALLOWED}/32")
    poster = Poster(guard, SETTINGS)
    with recorded() as connects:
        for url in hostile_urls(trap.port):
            await poster.post(url, {}, b"{}")
    await poster.close()
    assert (connects, trap.accepted) == ([], [])


async def test_both_witnesses_see_a_connection_that_is_made(trap: Trap) -> None:
    """Without this the tests above would prove nothing."""
    guard, _ = guard_for(trap, "127.0.0.0/8")
    poster = Poster(guard, SETTINGS)
    with recorded() as connects:
        await poster.post(f"http://127.0.0.1:{trap.port}/", {}, b"{}")
    await poster.close()
    assert connects == [("127.0.0.1", trap.port)]
    assert len(trap.accepted) == 1


async def test_a_unix_socket_is_never_reached(tmp_path: Path) -> None:
    guard = Guard(GuardSettings(), plain_http=True)
    with recorded() as connects, pytest.raises(Refused, match="unix"):
        await GuardedBackend(guard, plain=True).connect_unix_socket(str(tmp_path / "s"))
    assert connects == []
