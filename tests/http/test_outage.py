"""Redis away or full: 503 with Retry-After, and nothing about Redis in the answer."""

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ops.redis_binary import RedisBinary
from tests.http.edge import Edge, echo, started_edge
from tests.support.redis_server import RedisServer
from tests.support.waiting import until


@pytest.fixture
def own_server(redis_binary: RedisBinary) -> Iterator[RedisServer]:
    server = RedisServer(redis_binary, "maxmemory 20mb", "maxmemory-policy noeviction")
    yield server
    server.stop()


@pytest.fixture
async def lonely(own_server: RedisServer) -> AsyncIterator[Edge]:
    """A gateway over a server of its own."""
    url = own_server.url
    once = Retry(NoBackoff(), 0)
    async with Redis.from_url(url, retry=once) as redis, started_edge(redis, url) as edge:
        yield edge


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/jobs"),
        ("GET", "/v1/jobs"),
        ("GET", "/v1/jobs/0-x/result"),
        ("GET", "/v1/classes"),
        ("GET", "/v1/callbacks"),
        ("GET", "/v1/endpoints"),
        ("GET", "/v1/workers"),
    ],
)
async def test_redis_unreachable(
    lonely: Edge, own_server: RedisServer, method: str, path: str
) -> None:
    own_server.kill()
    reply = await lonely.call(method, path, echo() if method == "POST" else None)
    assert (reply.status_code, reply.json()["code"]) == (503, "unavailable")
    assert int(reply.headers["retry-after"]) >= 1
    assert str(own_server.port) not in reply.text
    assert "redis" not in reply.text.lower()


async def test_a_wait_during_the_outage_is_told(lonely: Edge, own_server: RedisServer) -> None:
    job_id = await lonely.submit()
    own_server.kill()
    reply = await lonely.get(f"/v1/jobs/{job_id}", headers={"prefer": "wait=5"})
    assert reply.status_code == 503


async def test_alive_but_not_ready(lonely: Edge, own_server: RedisServer) -> None:
    own_server.kill()
    assert (await lonely.get("/healthz", key="")).status_code == 200
    ready = await lonely.get("/readyz", key="")
    assert (ready.status_code, ready.json()["dependencies"]["redis"]) == (503, "failing")
    metrics = await lonely.get("/metrics", key="")
    assert metrics.status_code == 200
    assert "roughneck_redis_up 0.0" in metrics.text


async def test_it_works_again_when_redis_is_back(lonely: Edge, own_server: RedisServer) -> None:
    own_server.kill()
    assert (await lonely.post("/v1/jobs", echo())).status_code == 503
    own_server.restart()  # empty: the key and the manifest are in the gateway's copies

    async def accepted() -> bool:
        return (await lonely.post("/v1/jobs", echo())).status_code == 202

    await until(accepted, what="the gateway to accept again")


async def test_redis_full(lonely: Edge) -> None:
    async def refused() -> bool:
        batch = {"jobs": [echo(payload={"text": "x" * 3_000})] * 1_000}
        reply = await lonely.post("/v1/jobs:batch", batch)
        if reply.status_code == 200:
            return False
        assert (reply.status_code, reply.json()["code"]) == (503, "out_of_memory")
        assert reply.headers["retry-after"] == "5"
        return True

    await until(refused, what="Redis to be full", limit_s=20.0)
    counts = await lonely.parts.inspector.counts()
    assert counts["io|submitted"] % 1_000 == 0
    assert (await lonely.get("/v1/classes")).status_code == 200
