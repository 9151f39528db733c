"""The gateway behind a real socket."""

import asyncio
import signal
import socket

import httpx
import msgspec
import pytest
from redis.asyncio import Redis

from gateway.app import build_app
from gateway.parts import GatewayParts
from gateway.server import GatewayServer
from streams.errors import ConfigError
from tests.http.edge import echo, stores
from tests.http.served import ANY_PORT, Served
from tests.support.waiting import until


async def test_a_job_over_the_wire(redis: Redis, redis_url: str) -> None:
    async with Redis.from_url(redis_url) as reading, Served(redis, reading) as served:
        http = served.client()
        reply = await http.post("/v1/jobs", json=echo())
        assert reply.status_code == 202
        assert (await http.get(reply.headers["location"])).json()["state"] == "waiting"
        assert "server" not in reply.headers
        await http.aclose()


async def test_a_chunked_body_over_the_limit(redis: Redis, redis_url: str) -> None:
    async with Redis.from_url(redis_url) as reading, Served(redis, reading) as served:
        head = (
            "POST /v1/jobs HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {served.key}\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
        writer.write(head.encode())
        for _ in range(11):  # and no last chunk: the answer must not wait for it
            writer.write(b"3e8\r\n" + b" " * 1_000 + b"\r\n")
        await writer.drain()
        status = await asyncio.wait_for(reader.readline(), 5.0)
        writer.close()
        assert status.startswith(b"HTTP/1.1 413 ")


async def test_a_length_that_lies(redis: Redis, redis_url: str) -> None:
    async with Redis.from_url(redis_url) as reading, Served(redis, reading) as served:
        async with served.client() as http:
            reply = await http.post(
                "/v1/jobs", content=b" " * 10_001, headers={"content-type": "application/json"}
            )
        assert reply.status_code == 413
        assert reply.json()["code"] == "too_large"


async def test_stopping_answers_those_who_wait(redis: Redis, redis_url: str) -> None:
    async with Redis.from_url(redis_url) as reading, Served(redis, reading) as served:
        async with served.client() as http, asyncio.TaskGroup() as group:
            waiting = group.create_task(
                http.post("/v1/jobs", json=echo(), headers={"prefer": "wait=60"})
            )
            await until(lambda: served.parts.watch.waiting, what="the request to wait")
            await served.server.stop()
        assert waiting.result().status_code == 202
        with pytest.raises(httpx.ConnectError):
            async with served.client() as http:
                await http.get("/healthz")


async def test_signals_are_left_alone(redis: Redis, redis_url: str) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with Redis.from_url(redis_url) as reading, Served(redis, reading):
        during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert during == before


async def test_a_port_that_is_taken_is_named(redis: Redis, redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with Redis.from_url(redis_url) as reading:
            settings = msgspec.structs.replace(ANY_PORT, port=port)
            parts = GatewayParts(settings, stores(redis, reading))
            server = GatewayServer(build_app(parts), parts)
            with pytest.raises(ConfigError, match=str(port)):
                await server.start()


async def test_fifty_connections_at_once(redis: Redis, redis_url: str) -> None:
    async with Redis.from_url(redis_url) as reading, Served(redis, reading) as served:
        async with served.client() as http, asyncio.TaskGroup() as group:
            replies = [group.create_task(http.post("/v1/jobs", json=echo())) for _ in range(50)]
        ids = {reply.result().json()["id"] for reply in replies}
        assert len(ids) == 50
        assert (await served.stores.inspector.counts())["io|submitted"] == 50
