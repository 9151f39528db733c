"""The guard: what is parsed, what is resolved, and what is really connected to."""

import asyncio
from collections.abc import Sequence

import httpx
import pytest

from processors.dependencies.guard import (
    Guard,
    GuardSettings,
    Refused,
    lies_under,
    parse_url,
)
from processors.dependencies.guarded_client import check_peer, guarded_client
from streams.errors import ConfigError
from tests.web.local_server import local_server, response

SPELLINGS = [
    ("https://receiver.example", "https://receiver.example/"),
    ("HTTPS://Receiver.Example:443/a?b=c", "https://receiver.example/a?b=c"),
    ("http://receiver.example:8443/", "http://receiver.example:8443/"),
    ("https://1.1.1.1/", "https://1.1.1.1/"),
    ("https://[2A00::1]/", "https://[2a00::1]/"),
    ("https://økolariet.example/å", "https://xn--kolariet-44a.example/å"),
]
DOUBTFUL = [
    "",
    "receiver.example",
    "//receiver.example/",
    "ftp://receiver.example/",
    "file:///etc/passwd",
    "https:receiver.example",
    "https:///receiver.example",
    "https://",
    "https://user@receiver.example/",
    "https://user:secret@receiver.example/",
    "https://receiver.example@127.0.0.1/",
    "https://receiver.example/#fragment",
    "https://receiver.example/a b",
    "https://receiver.example/a\\b",
    "https://receiver.example\\@127.0.0.1/",
    "https://receiver.example/\r\nHost: x",
    "https://receiver.example/\x00",
    " https://receiver.example/",
    "https://receiver.example./",
    "https://receiver..example/",
    "https://receiver_one.example/",
    "https://-receiver.example/",
    "https://%31%32%37.0.0.1/",
    "https://receiver.example:/",
    "https://receiver.example:0/",
    "https://receiver.example:080/",
    "https://receiver.example:65536/",
    "https://receiver.example:99999999/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://127.0.0.01/",
    "https://127.0.0.1./",
    "https://1.2.3.4.5/",
    "https://256.1.1.1/",
    "https://①②⑦.⓪.⓪.①/",
    "https://127。0。0。1/",
    "https://[::1%25eth0]/",
    "https://[::1/",
    "https://[1::2::3]/",
    "https://::1/",
    "https://receiver.example/" + "a" * 2_048,
]
REFUSED_LITERALS = [
    "https://127.0.0.1/",
    "https://10.0.0.1/",
    "https://169.254.169.254/latest/meta-data",
    "https://[::1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::ffff:100.100.100.200]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[::127.0.0.1]/",
    "https://[fe80::1]/",
    "https://1.1.1.1:6379/",
    "http://1.1.1.1/",
]


def answers(*batches: Sequence[str]) -> "FakeResolver":
    return FakeResolver(list(batches))


class FakeResolver:
    """Answers with one batch after another, the last one for ever."""

    def __init__(self, batches: list[Sequence[str]]) -> None:
        self.batches = batches
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.batches.pop(0) if len(self.batches) > 1 else self.batches[0]


def client(guard: Guard, *, connect_s: float = 3.0) -> httpx.AsyncClient:
    timeout = httpx.Timeout(5.0, connect=connect_s)
    limits = httpx.Limits(max_keepalive_connections=0)
    return guarded_client(guard, user_agent="Roughneck-test", timeout=timeout, limits=limits)


def loopback_guard(port: int, **options: object) -> Guard:
    settings = GuardSettings(allow_networks=("127.0.0.0/8",), allow_ports=(port,))
    return Guard(settings, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "canonical"), SPELLINGS)
def test_a_plain_url_has_one_spelling(text: str, canonical: str) -> None:
    assert parse_url(text).url == canonical
    assert parse_url(canonical).url == canonical


@pytest.mark.parametrize("text", DOUBTFUL)
def test_a_doubtful_spelling_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        parse_url(text)


@pytest.mark.parametrize("text", REFUSED_LITERALS)
def test_a_refused_literal_or_port_needs_no_resolver(text: str) -> None:
    resolver = answers(["1.1.1.1"])
    with pytest.raises(Refused):
        Guard(GuardSettings(), resolve=resolver).check_url(text)
    assert resolver.asked == []


@pytest.mark.parametrize(
    ("url", "under"),
    [
        ("https://a.example/hooks", True),
        ("https://a.example/hooks/1", True),
        ("https://a.example:443/hooks/1?x=1", True),
        ("https://a.example/hooksandmore", False),
        ("https://a.example/", False),
        ("https://a.example:8443/hooks", False),
        ("http://a.example/hooks", False),
        ("https://b.example/hooks", False),
        ("https://a.example/hooks/../admin", False),
        ("https://a.example/hooks/%2e%2E/admin", False),
    ],
)
def test_a_url_lies_under_an_origin_and_path(url: str, under: bool) -> None:
    assert lies_under(parse_url(url), parse_url("https://a.example/hooks/")) is under


@pytest.mark.parametrize(
    "settings",
    [
        GuardSettings(allow_networks=("10.0.0.0/33",)),
        GuardSettings(allow_networks=("localhost",)),
        GuardSettings(allow_networks=("10.0.0.1/8",)),
        GuardSettings(allow_ports=(0,)),
        GuardSettings(allow_ports=(65_536,)),
    ],
)
def test_wrong_settings_are_named_at_once(settings: GuardSettings) -> None:
    with pytest.raises(ConfigError, match="allow_"):
        Guard(settings)


async def test_one_refused_answer_among_good_ones_refuses_the_name() -> None:
    guard = Guard(GuardSettings(), resolve=answers(["1.1.1.1", "10.0.0.1"]))
    with pytest.raises(Refused, match=r"mixed\.example: 10\.0\.0\.1 is private"):
        await guard.addresses("mixed.example", 443, plain=False)


async def test_plain_http_reaches_allowed_networks_only() -> None:
    settings = GuardSettings(allow_networks=("10.8.0.0/24",))
    inside = Guard(settings, resolve=answers(["10.8.0.7"]))
    assert await inside.addresses("inside.example", 80, plain=True)
    outside = Guard(settings, resolve=answers(["1.1.1.1"]))
    with pytest.raises(Refused, match="use https"):
        await outside.addresses("outside.example", 80, plain=True)
    fetcher = Guard(settings, plain_http=True, resolve=answers(["1.1.1.1"]))
    assert await fetcher.addresses("outside.example", 80, plain=True)


async def test_loopback_is_refused_unless_the_settings_allow_it() -> None:
    async with local_server() as server:
        settings = GuardSettings(allow_ports=(server.port,))
        async with client(Guard(settings, plain_http=True)) as http:
            with pytest.raises(Refused, match="loopback"):
                await http.get(server.origin)
        assert server.received == []
        async with client(loopback_guard(server.port)) as http:
            assert (await http.get(server.origin)).status_code == 204


async def test_localhost_by_name_is_refused() -> None:
    async with local_server() as server:
        settings = GuardSettings(allow_ports=(server.port,))
        async with client(Guard(settings, plain_http=True)) as http:
            with pytest.raises(Refused):
                await http.get(f"http://localhost:{server.port}/")
        assert server.received == []


async def test_the_connection_goes_to_the_checked_address_under_the_name() -> None:
    async with local_server() as server:
        resolver = answers(["127.0.0.1"])
        async with client(loopback_guard(server.port, resolve=resolver)) as http:
            await http.get(f"http://receiver.example:{server.port}/")
    assert resolver.asked == ["receiver.example"]
    assert server.received[0].headers["host"] == f"receiver.example:{server.port}"


async def test_tls_greets_the_name_and_not_the_address() -> None:
    hello = bytearray()

    async def read_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello.extend(await reader.read(4_096))
        writer.close()

    server = await asyncio.start_server(read_hello, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with client(loopback_guard(port, resolve=answers(["127.0.0.1"]))) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(f"https://receiver.example:{port}/")
    server.close()
    assert b"receiver.example" in hello


async def test_a_name_that_turns_to_loopback_is_refused_at_the_next_connection() -> None:
    async with local_server() as server:
        settings = GuardSettings(allow_ports=(server.port,))
        rebinding = answers(["1.1.1.1"], ["127.0.0.1"])
        guard = Guard(settings, plain_http=True, resolve=rebinding)
        await guard.addresses("rebinding.example", server.port, plain=True)
        async with client(guard) as http:
            with pytest.raises(Refused, match="loopback"):
                await http.get(f"http://rebinding.example:{server.port}/")
        assert server.received == []


async def test_the_name_is_resolved_once_per_connection() -> None:
    async with local_server() as server:
        rebinding = answers(["127.0.0.1"], ["127.0.0.2"])
        async with client(loopback_guard(server.port, resolve=rebinding)) as http:
            await http.get(f"http://rebinding.example:{server.port}/")
    assert rebinding.asked == ["rebinding.example"]
    assert len(server.received) == 1


async def test_an_address_other_than_the_checked_one_is_refused() -> None:
    class Elsewhere:
        def get_extra_info(self, info: str) -> object:
            return ("127.0.0.1", 443) if info == "server_addr" else None

    (checked,) = await Guard(GuardSettings()).addresses("1.1.1.1", 443, plain=False)
    with pytest.raises(Refused, match=r"meant to connect to 1\.1\.1\.1"):
        check_peer(Elsewhere(), checked)  # type: ignore[arg-type]


async def test_the_next_address_is_tried_when_one_is_closed() -> None:
    async with local_server() as server:
        resolver = answers(["127.0.0.9", "127.0.0.1"])
        async with client(loopback_guard(server.port, resolve=resolver)) as http:
            assert (await http.get(f"http://two.example:{server.port}/")).status_code == 204


async def test_a_resolver_that_hangs_ends_at_the_connect_timeout() -> None:
    async def hang(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    async with client(Guard(GuardSettings(), resolve=hang), connect_s=0.05) as http:
        with pytest.raises(httpx.ConnectTimeout):
            await http.get("https://hanging.example/")


async def test_a_name_without_an_address_is_a_connect_error() -> None:
    async with client(Guard(GuardSettings(), resolve=answers([]))) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get("https://nowhere.example/")


async def test_redirects_cookies_and_proxies_are_not_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    answer = response(302, Location="http://127.0.0.1:1/", Set_Cookie="a=b")
    async with local_server(answer) as server:
        async with client(loopback_guard(server.port)) as http:
            assert (await http.get(server.origin)).status_code == 302
            await http.get(server.origin)
        assert [r.headers.get("cookie") for r in server.received] == [None, None]
        assert server.received[0].headers["accept-encoding"] == "identity"
        assert server.received[0].headers["user-agent"] == "Roughneck-test"
