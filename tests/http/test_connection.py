"""What arrives on a socket: limits of URL, headers, time and number, each with its problem."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import msgspec
import pytest
from redis.asyncio import Redis
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway.connection import GuardedConnection
from gateway.settings import GatewaySettings
from tests.http.served import Served
from tests.support.waiting import until

SMALL = GatewaySettings(
    port=0,
    url_max_bytes=500,
    headers_max=20,
    headers_max_bytes=2_000,
    body_max_bytes=10_000,
    connections_max=5,
    stop_s=5.0,
)
HASTY = msgspec.structs.replace(
    SMALL, head_read_s=0.2, body_read_s=0.2, idle_s=0.2, answer_stall_s=0.2
)
OPEN: list[asyncio.StreamWriter] = []  # closed after each test
HOST = b"host: localhost\r\n"


class Heard(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        assert self.headers["content-type"] == "application/problem+json"
        problem = json.loads(self.body)
        assert problem["status"] == self.status
        return str(problem["code"])


class Wire:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *pieces: bytes) -> None:
        self.writer.write(b"".join(pieces))

    async def answer(self) -> Heard:
        async with asyncio.timeout(5.0):
            head = await self.reader.readuntil(b"\r\n\r\n")
            line, *rows = head.decode().strip().split("\r\n")
            headers = dict(row.lower().split(": ", 1) for row in rows)
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Heard(int(line.split()[1]), headers, body)

    async def closed(self, limit_s: float = 5.0) -> bytes:
        """What still came, once the other side has closed."""
        async with asyncio.timeout(limit_s):
            return await self.reader.read()


@pytest.fixture
async def served(redis: Redis, redis_url: str, request: Any) -> AsyncIterator[Served]:
    settings = getattr(request, "param", SMALL)
    async with Redis.from_url(redis_url) as reading, Served(redis, reading, settings) as one:
        yield one
    while OPEN:
        writer = OPEN.pop()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def wire(served: Served) -> Wire:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
    OPEN.append(writer)
    return Wire(reader, writer)


async def ask(served: Served, *pieces: bytes) -> Heard:
    """The answer to a request after which the connection must be closed or of use."""
    one = await wire(served)
    one.send(*pieces)
    heard = await one.answer()
    one.writer.close()
    return heard


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (b"GET /" + b"a" * 600 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, "uri_too_long"),
        (b"GET /?" + b"a" * 5_000, 414, "uri_too_long"),
        (b"G" * 3_000, 400, "malformed_request"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 25 + b"\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\na: " + b"b" * 2_100 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\na: " + b"b" * 9_000, 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"b" * 9_000, 431, "headers_too_large"),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400, "malformed_request"),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400, "malformed_request"),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"x : y\r\n\r\n", 400, "malformed_request"),
        (
            b"GET /healthz HTTP/1.1\r\n" + HOST + b"x: y\r\n folded\r\n\r\n",
            400,
            "malformed_request",
        ),
        (b"GET /healthz HTTP/3.7\r\n" + HOST + b"\r\n", 400, "malformed_request"),
        (b"BREW /pot HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed_request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed_request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400, "malformed_request"),
        (b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed_request"),
        (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 404, "not_found"),
        (b"TRACE /healthz HTTP/1.1\r\n" + HOST + b"\r\n", 405, "method_not_allowed"),
        (
            b"GET /healthz HTTP/1.1\r\n" + HOST + b"expect: 200-ok\r\n\r\n",
            417,
            "expectation_failed",
        ),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"accept: text/*\r\n\r\n", 406, "not_acceptable"),
    ],
)
async def test_each_refusal_has_its_problem(
    served: Served, request_: bytes, status: int, code: str
) -> None:
    heard = await ask(served, request_)
    assert (heard.status, heard.code) == (status, code)


@pytest.mark.parametrize(
    "lengths",
    [
        b"content-length: 2\r\ncontent-length: 3\r\n",
        b"content-length: 2\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 2\r\n",
        b"content-length: -2\r\n",
        b"content-length: 0x2\r\n",
        b"content-length: 99999999999999999999999999\r\n",
        b"transfer-encoding: chunked, identity\r\n",
    ],
)
async def test_lengths_that_contradict_are_refused_before_anything_runs(
    served: Served, lengths: bytes
) -> None:
    heard = await ask(served, post(served), lengths, b"\r\n{}")
    assert (heard.status, heard.code) == (400, "malformed_request")


@pytest.mark.parametrize("chunk", [b"zz\r\n", b"5\r\nab", b"-1\r\n", b"FFFFFFFFFFFFFFFFF\r\n"])
async def test_bad_chunks_end_the_request(served: Served, chunk: bytes) -> None:
    one = await wire(served)
    one.send(post(served), b"transfer-encoding: chunked\r\n\r\n", chunk, b"\r\n" * 10)
    assert (await one.answer()).status in (400, 413)


async def test_a_refusal_is_the_last_that_is_written(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """Also to one who waits to be told to go on, and sends nonsense meanwhile."""
    one = await wire(served)
    one.send(post(served), b"expect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
    assert (await one.answer()).status == 400
    assert await one.closed() == b""
    assert "request failed" not in caplog.text


async def test_a_body_that_is_needed_and_not_declared(served: Served) -> None:
    heard = await ask(served, post(served), b"\r\n")
    assert (heard.status, heard.code) == (411, "length_required")
    heard = await ask(served, post(served), b"content-length: 0\r\n\r\n")
    assert (heard.status, heard.code) == (400, "malformed_json")


async def test_what_follows_a_body_is_no_header(served: Served) -> None:
    """A key in a trailer is nobody's."""
    head = b"POST /v1/jobs HTTP/1.1\r\ncontent-type: application/json\r\n" + HOST
    body = b"2\r\n{}\r\n0\r\nauthorization: Bearer " + served.key.encode() + b"\r\n\r\n"
    heard = await ask(served, head, b"transfer-encoding: chunked\r\n\r\n", body)
    assert heard.status == 401


@pytest.mark.parametrize("served", [HASTY], indirect=True)
@pytest.mark.parametrize(
    ("piece", "status"),
    [(b"", 0), (b"\r\n\r\n", 0), (b"GET /heal", 408), (b"GET /healthz HTTP/1.1\r\nhost", 408)],
)
async def test_slow_heads_and_silence_are_cut_off(
    served: Served, piece: bytes, status: int
) -> None:
    one = await wire(served)
    one.send(piece)
    if status:
        heard = await one.answer()
        assert (heard.status, heard.code) == (status, "request_timeout")
    assert await one.closed() == b""


@pytest.mark.parametrize("served", [HASTY], indirect=True)
async def test_a_head_that_trickles_is_cut_off_all_the_same(served: Served) -> None:
    one = await wire(served)

    async def trickle() -> None:
        for letter in b"GET /healthz HTTP/1.1\r\n" + b"a: b\r\n" * 100:
            one.send(bytes([letter]))
            await asyncio.sleep(0.02)

    trickling = asyncio.ensure_future(trickle())
    assert (await one.answer()).code == "request_timeout"
    trickling.cancel()


@pytest.mark.parametrize("served", [HASTY], indirect=True)
async def test_a_slow_body_is_cut_off(served: Served) -> None:
    one = await wire(served)
    one.send(post(served), b"content-length: 100\r\n\r\n{")
    heard = await one.answer()
    assert (heard.status, heard.code) == (408, "request_timeout")
    assert await one.closed() == b""


@pytest.mark.parametrize("served", [HASTY], indirect=True)
async def test_a_body_that_nobody_reads_does_not_keep_the_connection(served: Served) -> None:
    one = await wire(served)
    one.send(b"GET /healthz HTTP/1.1\r\ncontent-length: 100000\r\n", HOST, b"\r\n", b"x" * 1_000)
    assert (await one.answer()).status == 200
    assert await one.closed() == b""


@pytest.mark.parametrize("served", [HASTY], indirect=True)
async def test_nor_does_one_that_trickles(served: Served) -> None:
    one = await wire(served)
    one.send(b"GET /healthz HTTP/1.1\r\ncontent-length: 100000\r\n", HOST, b"\r\n")
    assert (await one.answer()).status == 200

    async def trickle() -> None:
        while True:
            one.send(b"x")
            await asyncio.sleep(0.02)

    trickling = asyncio.ensure_future(trickle())
    assert await one.closed(limit_s=2.0) == b""
    trickling.cancel()


@pytest.mark.parametrize("served", [HASTY], indirect=True)
async def test_one_who_does_not_read_the_answer_is_cut_off(served: Served) -> None:
    one = await wire(served)
    one.writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a socket's transport
    one.send((b"GET /docs HTTP/1.1\r\n" + HOST + b"\r\n") * 3_000)
    await until(lambda: not connections(served), what="the connection to be cut", limit_s=10.0)
    one.writer.transport.abort()


async def test_a_connection_serves_many_requests(served: Served) -> None:
    one = await wire(served)
    for _ in range(3):
        one.send(b"GET /healthz HTTP/1.1\r\n", HOST, b"\r\n")
        assert (await one.answer()).status == 200
    one.send(b"POST /healthz HTTP/1.1\r\ncontent-length: 2\r\n", HOST, b"\r\n{}")
    assert (await one.answer()).status == 405
    one.send(b"GET /healthz HTTP/1.1\r\n" * 1, HOST, b"\r\n")
    assert (await one.answer()).status == 200
    one.writer.close()


async def test_requests_in_one_piece_are_answered_in_order(served: Served) -> None:
    one = await wire(served)
    paths = [b"/healthz", b"/nothing", b"/readyz"]
    one.send(b"".join(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n" for path in paths))
    assert [(await one.answer()).status for _ in paths] == [200, 404, 200]
    one.writer.close()


@pytest.mark.parametrize(
    ("line", "more"),
    [
        (b"GET /v1/jobs HTTP/1.1", b""),
        (b"GET /v1/jobs HTTP/1.1", b"connection: close\r\n"),
        (b"GET /v1/jobs HTTP/1.0", b""),
        (b"HEAD /v1/jobs HTTP/1.1", b"connection: close\r\n"),
        (b"GET /v1/jobs?limit=0 HTTP/1.1", b""),
    ],
    ids=["kept", "closed", "old", "head", "refused"],
)
async def test_an_answer_in_one_write_is_the_one_in_two(
    served: Served, line: bytes, more: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = b"authorization: Bearer " + served.key.encode() + b"\r\n"

    async def heard() -> list[bytes]:
        one = await wire(served)
        one.send(line, b"\r\n", HOST, key, more, b"\r\n")
        if b"close" not in more and b"1.1" in line:
            one.send(b"GET /healthz HTTP/1.1\r\nconnection: close\r\n", HOST, b"\r\n")
        rows = (await one.closed()).splitlines()
        return [row for row in rows if not row.startswith(b"date: ")]

    at_once = await heard()
    monkeypatch.setattr(GuardedConnection, "_answer_at_once", lambda *_: False)
    assert at_once == await heard()


async def test_a_submit_is_answered_in_one_write(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> None:
        raise AssertionError("the usual way")

    monkeypatch.setattr(RequestResponseCycle, "send", nothing)
    body = b'{"processor": "echo", "payload": {"text": "hi"}}'
    head = post(served) + b"content-length: %d\r\n\r\n" % len(body)
    one = await wire(served)
    for pieces in ((head + body,), (head, body)):  # the body with its head, or a while after it
        for piece in pieces:
            one.send(piece)
            await until(lambda: one.writer.transport.get_write_buffer_size() == 0, what="sending")
        assert (await one.answer()).status == 202
    one.writer.close()


@pytest.mark.parametrize("upgrade", [b"websocket", b"h2c"])
async def test_an_upgrade_is_not_made(served: Served, upgrade: bytes) -> None:
    one = await wire(served)
    one.send(b"GET /healthz HTTP/1.1\r\nconnection: upgrade\r\nupgrade: ", upgrade, b"\r\n")
    one.send(HOST, b"\r\n")
    heard = await one.answer()
    assert (heard.status, heard.headers["connection"]) == (200, "close")
    assert await one.closed() == b""


async def test_connections_beyond_the_limit_are_told_so(served: Served) -> None:
    held = [await wire(served) for _ in range(SMALL.connections_max)]
    await until(lambda: len(connections(served)) == len(held), what="the connections")
    heard = await ask(served, b"")
    assert (heard.status, heard.code) == (503, "unavailable")
    assert heard.headers["retry-after"] == "5"
    for one in held:
        one.writer.close()
    await until(lambda: not connections(served), what="them to be gone")
    assert (await ask(served, b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")).status == 200


async def test_refusals_are_counted(served: Served) -> None:
    await ask(served, b"nonsense\r\n\r\n")
    text = (await served.parts.metrics.render(served.parts.inspector)).decode()
    counted = 'roughneck_gateway_requests_total{code="400",method="unknown",route="unknown"} 1.0'
    assert counted in text


def connections(served: Served) -> Any:
    server = served.server._server
    assert server is not None
    return server.server_state.connections


def post(served: Served) -> bytes:
    return (
        b"POST /v1/jobs HTTP/1.1\r\ncontent-type: application/json\r\n"
        b"authorization: Bearer " + served.key.encode() + b"\r\n" + HOST
    )
