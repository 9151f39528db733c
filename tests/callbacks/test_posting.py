"""Posting over loopback to receivers that behave badly."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator

import pytest

from gateway.delivery import Answered, CourierSettings, Ending, Unanswered, Undeliverable
from gateway.posting import Poster, excerpt
from processors.dependencies.guard import Guard, GuardSettings
from tests.web.local_server import Answer, LocalServer, Received, local_server, response

SETTINGS = CourierSettings(
    connect_timeout_s=0.5, total_timeout_s=0.5, response_timeout_s=0.1, response_max_bytes=16_384
)
BODY = b'{"type":"job.succeeded"}'


@contextlib.asynccontextmanager
async def poster_for(server: LocalServer) -> AsyncIterator[Poster]:
    allowed = GuardSettings(allow_networks=("127.0.0.0/8",), allow_ports=(server.port,))
    poster = Poster(Guard(allowed), SETTINGS)
    try:
        yield poster
    finally:
        await poster.close()


async def posted(answer: Answer) -> tuple[Ending, LocalServer]:
    async with local_server(answer) as server, poster_for(server) as poster:
        ending = await poster.post(server.origin + "/hook", {"webhook-id": "msg_1"}, BODY)
    return ending, server


async def test_a_post_carries_body_and_headers_and_no_more_than_it_should() -> None:
    ending, server = await posted(response(200, b"thanks"))
    assert ending == Answered(200, "", "thanks")
    (request,) = server.received
    assert (request.method, request.target, request.body) == ("POST", "/hook", BODY)
    assert request.headers == {
        "host": f"127.0.0.1:{server.port}",
        "accept": "*/*",
        "connection": "keep-alive",
        "accept-encoding": "identity",
        "user-agent": "Roughneck-Courier/1",
        "content-type": "application/json",
        "webhook-id": "msg_1",
        "content-length": str(len(BODY)),
    }


@pytest.mark.parametrize(
    "status", [200, 201, 204, 400, 401, 404, 410, 418, 429, 500, 502, 503, 599]
)
async def test_any_status_is_an_answer(status: int) -> None:
    ending, _ = await posted(response(status, Retry_After="7"))
    assert ending == Answered(status, "7")


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async with local_server() as inside:
        ending, _ = await posted(response(301, Location=inside.origin))
        assert inside.received == []
    assert ending == Answered(301)


async def test_a_204_with_a_body_is_an_answer() -> None:
    ending, _ = await posted(b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc")
    assert isinstance(ending, Answered)
    assert ending.status == 204


async def test_an_infinite_body_is_left_after_the_limit() -> None:
    sent = 0

    async def pour(request: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 1_024)
            sent += 1_024
            await writer.drain()

    ending, _ = await posted(pour)
    assert ending == Answered(200, "", "x" * 256)
    assert sent < 16 * 1_024 * 1_024


async def test_a_dripping_body_does_not_hold_the_answer_back() -> None:
    async def drip(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    began = time.monotonic()
    ending, _ = await posted(drip)
    assert isinstance(ending, Answered)
    assert time.monotonic() - began < 0.4


async def test_dripping_headers_end_at_the_total_timeout() -> None:
    async def drip(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"x: y\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    ending, _ = await posted(drip)
    assert ending == Unanswered("no answer within 0.5 s", "timeout")


async def test_a_flood_of_1xx_ends_at_the_total_timeout() -> None:
    async def flood(request: Received, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0)

    ending, _ = await posted(flood)
    assert isinstance(ending, Unanswered)


async def test_silence_ends_at_the_total_timeout() -> None:
    async def hang(request: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2)

    ending, _ = await posted(hang)
    assert isinstance(ending, Unanswered)


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-"])
async def test_a_reset_is_no_answer(start: bytes) -> None:
    async def reset(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        await writer.drain()
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    ending, _ = await posted(reset)
    assert isinstance(ending, Unanswered)


@pytest.mark.parametrize(
    "junk",
    [
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"\x16\x03\x01",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_no_answer(junk: bytes) -> None:
    ending, _ = await posted(junk)
    assert isinstance(ending, Unanswered)


async def test_a_compressed_bomb_is_not_unpacked() -> None:
    ending, _ = await posted(response(200, b"\x1f\x8b" + b"\x00" * 100, Content_Encoding="gzip"))
    assert isinstance(ending, Answered)


async def test_a_closed_port_is_no_answer() -> None:
    async with local_server() as server:
        pass
    async with poster_for(server) as poster:
        ending = await poster.post(server.origin, {}, BODY)
    assert isinstance(ending, Unanswered)
    assert ending.error.startswith("ConnectError")


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/", "http://127.0.0.1:1/", "ftp://a.example/", "http://127.1/", "x"]
)
async def test_a_refused_url_is_undeliverable(url: str) -> None:
    async with local_server() as server, poster_for(server) as poster:
        assert isinstance(await poster.post(url, {}, BODY), Undeliverable)


def test_an_excerpt_is_one_printable_line() -> None:
    assert excerpt(b"a\r\n\x1b[31mb\xff" + b"c" * 999) == "a [31mb\ufffd" + "c" * 246
