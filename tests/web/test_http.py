"""The fetcher over loopback: bounds, redirects, pace, robots.txt, cache, errors."""

import asyncio
import contextlib
import gzip
import time
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from processors.dependencies.guard import GuardSettings, Refused
from processors.dependencies.http import Bounded, Fetched, Http, HttpProvider, HttpSettings
from streams.errors import Rejected, Retry, TooLarge
from tests.web.local_server import LocalServer, Received, local_server, response

NO_ROBOTS = response(404)
PAGE = response(200, "<h1>Økolariet</h1>".encode(), Content_Type="text/html; charset=utf-8")


class FakeAttempt:
    """Counts the time that was not the job's."""

    def __init__(self) -> None:
        self.waits = 0
        self.lease = SimpleNamespace(trace="")

    def untimed(self) -> contextlib.AbstractContextManager[object]:
        self.waits += 1
        return contextlib.nullcontext()


@contextlib.asynccontextmanager
async def fetching(
    *servers: LocalServer, attempt: Any = None, names: dict[str, str] | None = None, **settings: Any
) -> AsyncIterator[Http]:
    allowed = GuardSettings(
        allow_networks=("127.0.0.0/8",), allow_ports=tuple(one.port for one in servers)
    )

    async def resolve(host: str, port: int) -> Sequence[str]:
        return [(names or {})[host]]

    provider = HttpProvider(HttpSettings(**settings), allowed, resolve=resolve)
    await provider.open()
    await provider.check()
    try:
        yield provider.inject(attempt or FakeAttempt())
    finally:
        await provider.close()


@contextlib.asynccontextmanager
async def site(**routes: Any) -> AsyncIterator[LocalServer]:
    async with local_server(response(404)) as server:
        server.routes = {"/" + path.replace("__", "/"): answer for path, answer in routes.items()}
        server.routes.setdefault("/robots.txt", NO_ROBOTS)
        yield server


async def test_a_page_is_fetched_under_our_own_name() -> None:
    async with site(page=PAGE) as server, fetching(server) as http:
        fetched = await http.get(server.origin + "/page")
    assert fetched.text == "<h1>Økolariet</h1>"
    assert fetched.url == server.origin + "/page"
    assert {r.headers["user-agent"] for r in server.received} == {HttpSettings().user_agent}


async def test_a_redirect_is_followed_and_the_last_url_is_told() -> None:
    hop = response(302, Location="/a%20page?q=å ø")
    async with site(start=hop, **{"a%20page": PAGE}) as server, fetching(server) as http:
        fetched = await http.get(server.origin + "/start")
    assert fetched.url == server.origin + "/a%20page?q=%C3%A5%20%C3%B8"


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:1/", "http://10.0.0.1/", "http://[::1]/", "file:///etc/passwd"]
)
async def test_a_redirect_into_our_own_networks_is_refused(location: str) -> None:
    async with site(start=response(301, Location=location)) as server, fetching(server) as http:
        with pytest.raises(Refused):
            await http.get(server.origin + "/start")


async def test_a_redirect_to_loopback_from_outside_is_refused() -> None:
    async with site(secret=PAGE) as inside:
        hop = response(302, Location=f"http://127.0.0.1:{inside.port}/secret")
        async with local_server(hop, host="127.0.0.2") as outside:
            outside.routes["/robots.txt"] = NO_ROBOTS
            allowed = GuardSettings(("127.0.0.2/32",), (outside.port, inside.port))
            provider = HttpProvider(HttpSettings(), allowed)
            await provider.open()
            with pytest.raises(Refused, match="loopback"):
                await provider.inject(FakeAttempt()).get(  # type: ignore[arg-type]
                    f"http://127.0.0.2:{outside.port}/"
                )
            await provider.close()
        assert inside.received == []


async def test_a_circle_of_redirects_ends() -> None:
    async with site(circle=response(302, Location="/circle")) as server, fetching(server) as http:
        with pytest.raises(Rejected, match="more than 5 redirects"):
            await http.get(server.origin + "/circle")


async def test_a_page_over_the_limit_is_too_large_however_it_is_packed() -> None:
    async def pour(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    bomb = response(200, gzip.compress(b"x" * 200_000), Content_Encoding="gzip")
    async with site(endless=pour, bomb=bomb) as server, fetching(server, max_bytes=100_000) as http:
        for path in ("/endless", "/bomb"):
            with pytest.raises(TooLarge):
                await http.get(server.origin + path)


async def test_a_compressed_page_is_unpacked() -> None:
    packed = response(200, gzip.compress("Blå".encode()), Content_Encoding="gzip")
    async with site(page=packed) as server, fetching(server) as http:
        assert (await http.get(server.origin + "/page")).text == "Blå"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
async def test_what_will_not_change_is_rejected(status: int) -> None:
    async with site(page=response(status)) as server, fetching(server) as http:
        with pytest.raises(Rejected, match=f"answered {status}"):
            await http.get(server.origin + "/page")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
async def test_what_may_change_is_tried_again_when_the_site_says(status: int) -> None:
    page = response(status, Retry_After="17")
    async with site(page=page) as server, fetching(server) as http:
        with pytest.raises(Retry) as caught:
            await http.get(server.origin + "/page")
    assert caught.value.after_s == 17
    assert caught.value.uses_attempt


async def test_a_timeout_and_a_closed_port_are_tried_again() -> None:
    async def hang(request: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    async with site(page=hang) as server, fetching(server, total_timeout_s=0.1) as http:
        with pytest.raises(Retry, match=r"took over 0\.1 s"):
            await http.get(server.origin + "/page")
    async with fetching(server) as http:
        with pytest.raises(Retry, match="ConnectError"):
            await http.get(server.origin + "/page")


async def test_robots_txt_is_obeyed_and_read_once() -> None:
    robots = response(
        200, b"User-agent: Roughneck\nDisallow: /private\n\nUser-agent: *\nDisallow: /"
    )
    async with site(page=PAGE, private=PAGE) as server, fetching(server) as http:
        server.routes["/robots.txt"] = robots
        await http.get(server.origin + "/page")
        with pytest.raises(Rejected, match=r"robots\.txt"):
            await http.get(server.origin + "/private")
    assert [r.path for r in server.received] == ["/robots.txt", "/page"]


async def test_a_robots_txt_that_is_away_shuts_everything_for_now() -> None:
    async with site(page=PAGE) as server, fetching(server) as http:
        server.routes["/robots.txt"] = response(503)
        with pytest.raises(Retry):
            await http.get(server.origin + "/page")


async def test_an_unchanged_page_is_not_sent_again() -> None:
    async def page(request: Received, writer: asyncio.StreamWriter) -> None:
        same = request.headers.get("if-none-match") == '"v1"'
        writer.write(response(304) if same else response(200, b"one", ETag='"v1"'))

    async with site(page=page) as server, fetching(server) as http:
        first = await http.get(server.origin + "/page")
        second = await http.get(server.origin + "/page")
    assert (first.body, second.body) == (b"one", b"one")
    assert "if-none-match" in server.received[-1].headers


async def test_a_host_gets_one_request_per_interval_and_the_wait_is_not_the_jobs() -> None:
    attempt = FakeAttempt()
    async with site(page=PAGE) as server:
        names = {"vejle.example": "127.0.0.1"}
        url = f"http://vejle.example:{server.port}/page"
        async with fetching(server, attempt=attempt, names=names, host_interval_s=0.2) as http:
            began = time.monotonic()
            for _ in range(3):
                await http.get(url)
            assert time.monotonic() - began >= 0.4
    assert attempt.waits == 2


async def test_a_long_wait_for_a_host_puts_the_job_back_without_using_an_attempt() -> None:
    async with site(page=PAGE) as server:
        names = {"vejle.example": "127.0.0.1"}
        url = f"http://vejle.example:{server.port}/page"
        async with fetching(server, names=names, host_interval_s=60.0) as http:
            await http.get(url)
            with pytest.raises(Retry) as caught:
                await http.get(url)
    assert not caught.value.uses_attempt
    assert caught.value.after_s == pytest.approx(60, abs=2)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("Økolariet".encode(), "text/html"),
        ("Økolariet".encode(), "text/html; charset=nonsense"),
        ("Økolariet".encode("cp1252"), "text/html"),
        ("Økolariet".encode("latin-1"), "text/html; charset=ISO-8859-1"),
        (b'<meta charset="windows-1252">' + "Økolariet".encode("cp1252"), "text/html"),
    ],
)
def test_a_page_is_read_in_its_charset(body: bytes, content_type: str) -> None:
    assert Fetched("https://a.example/", body, content_type, 0).text.endswith("Økolariet")


def test_a_bounded_mapping_forgets_the_longest_unused() -> None:
    bounded: Bounded[str] = Bounded(2, 10)
    bounded.put("a", "A", 4)
    bounded.put("b", "B", 4)
    assert bounded.get("a") == "A"
    bounded.put("c", "C", 4)
    assert (bounded.get("a"), bounded.get("b"), bounded.get("c")) == ("A", None, "C")
    bounded.put("d", "D", 11)
    assert [bounded.get(key) for key in "acd"] == [None, None, None]
