"""The Python client against the real application."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from gateway import signing
from gateway.app import build_app
from gateway.client import AsyncClient, Client, Refused, verify_callback
from gateway.client import requests as module
from gateway.client.requests import cancelling, pause_s, reading
from gateway.parts import GatewayParts
from gateway.rendering import render
from gateway.server import GatewayServer
from gateway.settings import GatewaySettings
from streams.callbacks import CallbackRecord
from streams.errors import Unavailable
from streams.model import State
from tests.http.edge import Edge, card, echo, make_keys, stores
from tests.support.waiting import until


class Flaky(httpx.AsyncBaseTransport):
    """Loses the first answers on their way back, after the gateway has acted."""

    def __init__(self, edge: Edge, lost: int) -> None:
        self.inner = httpx.ASGITransport(app=build_app(edge.parts))
        self.lost = lost
        self.requests = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        reply = await self.inner.handle_async_request(request)
        if self.requests <= self.lost:
            raise httpx.ReadError("connection reset")
        return reply


def client_of(edge: Edge, key: str = "app", lost: int = 0) -> AsyncClient:
    http = httpx.AsyncClient(transport=Flaky(edge, lost))
    return AsyncClient("http://gateway", edge.keys[key], http=http)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "FIRST_S", 0.0)
    return


async def test_submit_wait_result(edge: Edge) -> None:
    async with client_of(edge) as client:
        submitted = await client.submit("echo", {"text": "hi"}, priority="high")
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(client.wait(submitted.id, 20.0))
            await until(lambda: edge.parts.feed.followers, what="the client to wait")
            await edge.succeed(b'{"said":"hi"}')
        job = waiting.result()
        assert (job.state, bytes(job.result)) == (State.SUCCEEDED, b'{"said":"hi"}')  # type: ignore[arg-type]
        assert await client.result(submitted.id) == {"said": "hi"}
        assert [one.id for one in (await client.jobs(state="succeeded")).items] == [submitted.id]


async def test_a_submit_belongs_to_a_trace(edge: Edge) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    stages = [{"name": "one", "processor": "echo", "payload": {"text": "hi"}}]
    async with client_of(edge) as client:
        made = [
            await client.submit("echo", {"text": "hi"}, traceparent=trace),
            await client.flow(stages, traceparent=trace),
        ]
    jobs = await edge.parts.inspector.jobs_by_id([one.id for one in made])
    assert [job.trace for job in jobs] == [trace, trace]


async def test_waiting_ends_with_the_job_as_it_stands(edge: Edge) -> None:
    async with client_of(edge) as client:
        submitted = await client.submit("echo", {"text": "hi"})
        assert (await client.wait(submitted.id, 0.0)).state is State.WAITING


async def test_a_submit_whose_answer_was_lost_makes_one_job(edge: Edge) -> None:
    async with client_of(edge, lost=2) as client:
        submitted = await client.submit("echo", {"text": "hi"})
        batch = await client.batch([echo(), echo()])
    assert not submitted.created
    assert batch.accepted == 2
    assert (await edge.parts.inspector.counts())["io|submitted"] == 3


async def test_what_is_not_safe_to_repeat_is_sent_once(edge: Edge) -> None:
    job_id = await edge.submit()
    client = client_of(edge, lost=1)
    async with client:
        with pytest.raises(Unavailable):
            await client.cancel(job_id)
        assert (await client.job(job_id)).state is State.CANCELLED


async def test_a_gateway_that_never_answers(edge: Edge) -> None:
    async with client_of(edge, lost=1_000) as client:
        with pytest.raises(Unavailable, match="does not answer"):
            await client.job("0-x")


async def test_problems_are_raised_with_their_code(edge: Edge) -> None:
    async with client_of(edge) as client:
        with pytest.raises(Refused) as caught:
            await client.submit("echo", {"text": 3})
        assert caught.value.code == "invalid_input"
        assert caught.value.problem.errors[0].path == "$.payload.text"
        with pytest.raises(Refused) as caught:
            await client.job("0-x")
        assert caught.value.code == "unknown_job"


async def test_dead_letters_are_replayed(edge: Edge) -> None:
    job_id = await edge.submit()
    await edge.die()
    async with client_of(edge, "app-operator") as client:
        assert [one.id for one in (await client.dead_letters()).items] == [job_id]
        assert (await client.replay(dry_run=True)).matched == 1
        assert (await client.replay(ids=[job_id])).replayed == 1


def reply_of(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers={n.replace("_", "-"): v for n, v in headers.items()})


@pytest.mark.parametrize(
    ("tried", "reply", "check"),
    [
        (1, reply_of(200), lambda pause: pause is None),
        (1, reply_of(422), lambda pause: pause is None),
        (1, reply_of(503, retry_after="2"), lambda pause: pause == 2.0),
        (1, reply_of(503, retry_after="30"), lambda pause: pause == 30.0),
        (1, reply_of(503, retry_after="900"), lambda pause: pause is None),
        (4, reply_of(503), lambda pause: 0 <= pause <= 5.0),
        (5, reply_of(503), lambda pause: pause is None),
        (1, None, lambda pause: pause is not None),
        (5, None, lambda pause: pause is None),
    ],
)
def test_when_a_request_is_sent_again(
    tried: int, reply: httpx.Response | None, check: Callable[[Any], bool]
) -> None:
    assert check(pause_s(tried, reading("0-x"), reply))


@pytest.mark.parametrize(
    ("reply", "failure", "again"),
    [
        (None, httpx.ConnectError("refused"), True),
        (None, httpx.ConnectTimeout("slow"), True),
        (None, httpx.ReadError("cut"), False),
        (None, httpx.ReadTimeout("slow"), False),
        (reply_of(429), None, True),
        (reply_of(503), None, False),
    ],
)
def test_what_may_not_be_repeated_is_sent_again_where_nothing_was_done(
    reply: httpx.Response | None, failure: httpx.TransportError | None, again: bool
) -> None:
    assert (pause_s(1, cancelling("0-x", ""), reply, failure) is not None) == again


async def test_the_synchronous_client(redis: Redis, redis_url: str) -> None:
    """Over a real socket, from a thread, while this loop serves."""
    async with Redis.from_url(redis_url) as second:
        made = stores(redis, second)
        keys = await make_keys(made.directory)
        await made.directory.publish_processor(card())
        parts = GatewayParts(GatewaySettings(port=0), made)
        server = GatewayServer(build_app(parts), parts)
        async with server:
            edge = Edge(parts, keys)
            seen = await asyncio.to_thread(use_synchronously, server.url, keys["app"])
            assert threading.current_thread() is threading.main_thread()
            await edge.http.aclose()
    assert seen == ["waiting", "cancelled", "invalid_input", 1, 0]


def use_synchronously(url: str, key: str) -> list[Any]:
    with Client(url, key) as client:
        submitted = client.submit("echo", {"text": "hi"})
        client.cancel(submitted.id, "enough")
        job = client.wait(submitted.id, 5.0)
        try:
            client.batch([])
        except Refused as error:
            code = error.code
        listed = len(client.jobs().items)
        dead = len(client.dead_letters().items)
        return [submitted.state, job.state, code, listed, dead]


RECORD = CallbackRecord(
    id="msg_1",
    job_id="0-x",
    app="etyde",
    processor="echo",
    state=State.SUCCEEDED,
    attempt=1,
    submitted_ms=1,
    started_ms=2,
    ended_ms=3,
    fault=None,
    result=b'{"n":1}',
    result_bytes=7,
    url="https://x.example/",
    endpoint="ep_1",
    sequence=1,
)


def test_a_genuine_callback_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "time", lambda: 1_000.0)
    secret, body = signing.new_secret(), render(RECORD)
    headers = {n.title(): v for n, v in signing.sign([secret], "msg_1", 1_000, body).items()}
    callback_id, content = verify_callback([secret], headers, body)
    assert (callback_id, content["type"], content["data"]["job_id"]) == (
        "msg_1",
        "job.succeeded",
        "0-x",
    )
    with pytest.raises(signing.BadSignature):
        verify_callback([signing.new_secret()], headers, body)
    with pytest.raises(signing.BadSignature):
        verify_callback([secret], headers, body + b" ")
