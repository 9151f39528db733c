"""What the screen says when Redis is away, a key lacks a scope, or there is no terminal."""

import httpx
import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.client.operating import OperatorClient
from ops.redis_binary import RedisBinary
from ops.tui.from_gateway import GatewaySource
from ops.tui.surroundings import Surroundings, look_around
from streams.model import State
from tests.http.edge import Edge, started_edge
from tests.ops.test_cli import Cli, cli
from tests.support.redis_server import RedisServer
from tests.tui.scene import engine_of, everything, shown, source_of

__all__ = ["cli"]  # a fixture


async def test_redis_goes_and_comes_back(redis_binary: RedisBinary) -> None:
    server = RedisServer(redis_binary, "save ''", "appendonly yes", "appendfsync always")
    try:
        async with Redis.from_url(server.url, retry=Retry(NoBackoff(), 0)) as client:
            await everything(engine_of(client))
            async with shown(source_of(engine_of(client))) as screen:
                await screen.sees("web echo")
                server.kill()
                await screen.sees("Redis does not answer")
                await screen.sees("as it was", "ago")
                assert screen.line("web echo")  # the last picture stays
                await screen.press("2")
                await screen.sees("Redis does not answer")
                server.restart()
                await screen.sees("web", "waiting")
                await screen.misses("Redis does not answer")
                assert not screen.line("as it was", "ago")
    finally:
        server.stop()


def operator(edge: Edge, role: str) -> GatewaySource:
    client = OperatorClient("http://localhost", edge.keys[role], http=edge.http)
    return GatewaySource(client, "gateway localhost")


@pytest.fixture
async def edge(redis: Redis, redis_url: str) -> "Edge":  # type: ignore[misc]
    async with started_edge(redis, redis_url) as started:
        yield started


async def test_everything_is_seen_and_done_over_a_gateway(edge: Edge, redis: Redis) -> None:
    engine = engine_of(redis)
    ids = await everything(engine)
    async with shown(operator(edge, "admin")) as screen:
        await screen.sees("! io web echo", "No live worker of class io has the processor echo")
        for key, words in {
            "2": ("web", "waiting"),
            "3": ("mac-77-abc", "llama"),
            "4": ("app.example", "it said 410"),
            "5": ("gather", "echo"),
            "6": ("nightly", "every 1m"),
            "7": ("boom", "it broke"),
            "8": ("qwen", "next"),
            "9": ("ended", "boom"),
        }.items():
            await screen.press(key)
            await screen.sees(*words)
        await screen.press("7", "R", "2", "enter")
        await screen.sees("2 of 2 jobs run again")
        await screen.press("6", "P", "1", "enter")
        await screen.sees("1 of 1 schedule paused")
        await screen.press("2", "slash", *ids.retrying[-8:], "enter")
        await screen.sees(ids.retrying[-8:], "delayed")
        await screen.press("enter")
        await screen.sees("failed", "timed_out: ran longer than 60 s")
        await screen.press("escape", "P", "1", "enter")
        await screen.sees("1 of 1 job promoted")
    job = await engine.inspector.job(ids.dead[0])
    assert job is not None
    assert job.state is State.WAITING


async def test_a_key_without_the_scope_is_told(edge: Edge, redis: Redis) -> None:
    ids = await everything(engine_of(redis))
    async with shown(operator(edge, "metrics")) as screen:
        await screen.sees("the key lacks the scope read")
    async with shown(operator(edge, "reader")) as screen:
        await screen.press("7")
        await screen.sees("boom", "it broke")
        await screen.press("R", "2", "enter")
        await screen.sees("not done:", "the key lacks the scope")
    job = await engine_of(redis).inspector.job(ids.dead[0])
    assert job is not None
    assert job.state is State.DEAD


async def test_an_app_sees_its_own_over_a_gateway(edge: Edge, redis: Redis) -> None:
    await everything(engine_of(redis))
    async with shown(operator(edge, "reader")) as screen:
        await screen.sees("etyde echo")
        assert not screen.line("web echo")
        await screen.press("2")
        await screen.sees("etyde", "dead")
        assert not screen.line("web", "waiting")


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (httpx.Response(200, json={"status": "ok", "dependencies": {}}), Surroundings("ok")),
        (
            httpx.Response(
                200,
                json={
                    "status": "spooling",
                    "dependencies": {"redis": "failing"},
                    "journal": {"rows": 7, "bytes": 70, "oldest_s": 1.5, "alarms": 0},
                },
            ),
            Surroundings("spooling", 7),
        ),
        (httpx.Response(404, text="another server"), Surroundings("?")),
        (None, Surroundings("away")),
    ],
)
async def test_a_gateway_is_asked_how_it_is(
    answer: httpx.Response | None, found: Surroundings
) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        if answer is None:
            raise httpx.ConnectError("refused", request=request)
        return answer

    async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as http:
        assert await look_around(http, "http://gateway:1/") == found


def test_without_a_terminal_top_says_what_there_is(cli: Cli) -> None:
    ran = cli("top")
    assert (ran.code, "roughneck top --once -o json" in ran.err) == (2, True)


def test_one_picture_for_scripts(cli: Cli) -> None:
    whole = cli("top", "--once", "-o", "json").json
    assert [one["name"] for one in whole["overview"]["classes"]] == ["ollama", "io", "cpu"]
    assert cli("top", "--once", "--tab", "jobs", "-o", "json").json["jobs"] == []
    lanes = cli("top", "--once").out
    assert "STREAM / LANE" in lanes
    assert "\x1b" not in lanes
    for tab in ("workers", "callbacks", "flows", "schedules", "dead", "models", "events"):
        assert cli("top", "--once", "--tab", tab).code == 0, tab


def test_redis_that_is_away_is_exit_code_3(cli: Cli) -> None:
    assert cli("--redis", "redis://127.0.0.1:1/0", "top", "--once").code == 3
