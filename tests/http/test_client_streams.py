"""The client over real sockets: words as they are said, ends as they come, what is large."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from redis.asyncio import Redis

from gateway.blob_link import GatewayBlobs
from gateway.client import AsyncClient, Begun, Client, Cut, Ended, Refused, Said, Text
from gateway.client.following import Following, Frame, Parser, said_of
from gateway.client.requests import INLINE_MAX_BYTES, batches
from gateway.problems import Problem
from gateway.wire import JobAccepted
from streams.broker import Broker
from streams.errors import Unavailable
from streams.model import State
from tests.http.edge import CLOCK, KEYS, echo
from tests.http.test_blobs import Scene
from tests.http.test_stream import Talker
from tests.support.plain_worker import plain_worker
from tests.support.waiting import until


@pytest.fixture
async def scene(redis: Redis, redis_url: str, tmp_path: Path) -> AsyncIterator[Scene]:
    async with Redis.from_url(redis_url) as reading:
        async with Scene(redis, reading, tmp_path) as scene:
            yield scene
        scene.store.close()


@pytest.fixture
async def talker(redis: Redis, redis_url: str) -> AsyncIterator[Talker]:
    talker = Talker()
    async with plain_worker(Broker(redis, KEYS), redis_url, talker.run):
        yield talker
        talker.go.set()


class Cutting:
    """A way to the gateway that is cut again and again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server
        self.connections = 0

    async def __aenter__(self) -> "Cutting":
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        ahead, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers |= {writer, back}

        async def copy(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65_536):
                    to.write(data)
                    await to.drain()
            except OSError:
                return

        await asyncio.gather(copy(reader, back), copy(ahead, writer))


async def test_words_are_read_on_over_cut_connections(scene: Scene, talker: Talker) -> None:
    async with (
        Cutting(scene.server.port) as way,
        AsyncClient(way.url, scene.key) as client,
    ):
        submitted = await client.submit("echo", {"text": "hi"})
        attempt = await talker.attempt()
        heard: list[Said] = []

        async def listen() -> None:
            async for said in client.stream(submitted.id):
                heard.append(said)

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(listen())
            for number in range(4):
                attempt.emit(f"{number} ")
                await until(lambda: said_texts(heard)[-2:] == f"{number} ", what="the word")  # noqa: B023  # looked at at once
                way.cut()
            talker.go.set()
    assert said_texts(heard) == "0 1 2 3 "
    assert heard[0] == Begun(1)
    assert isinstance(heard[-1], Ended)
    assert heard[-1].job.state is State.SUCCEEDED
    assert way.connections >= 4


def said_texts(heard: list[Said]) -> str:
    return "".join(said.text for said in heard if isinstance(said, Text))


async def test_the_synchronous_client_reads_words_and_waits(scene: Scene, talker: Talker) -> None:
    def use() -> tuple[str, str]:
        with Client(scene.server.url, scene.key) as client:
            submitted = client.submit("echo", {"text": "hi"})
            texts = said_texts(list(client.stream(submitted.id)))
            return texts, client.wait(submitted.id, 5.0).state

    using = asyncio.create_task(asyncio.to_thread(use))
    attempt = await talker.attempt()
    attempt.emit("Hej ")
    attempt.emit("dig")
    talker.go.set()
    assert await using == ("Hej dig", "succeeded")


async def test_an_end_is_learnt_from_the_stream_at_once(scene: Scene, talker: Talker) -> None:
    async with AsyncClient(scene.server.url, scene.key) as client:
        submitted = await client.submit("echo", {"text": "hi"})
        await talker.attempt()
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(client.wait(submitted.id, 30.0))
            await until(lambda: scene.parts.feed.followers, what="the client to follow")
            talker.go.set()
        job = waiting.result()
    assert (job.state, bytes(job.result)) == (State.SUCCEEDED, b'"done"')  # type: ignore[arg-type]
    await until(lambda: not scene.parts.viewers.open, what="the stream to be closed")


async def test_where_there_are_no_streams_it_asks_again(
    scene: Scene, talker: Talker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene.parts.viewers, "_most", 0)
    async with AsyncClient(scene.server.url, scene.key) as client:
        submitted = await client.submit("echo", {"text": "hi"})
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(client.wait(submitted.id, 30.0))
            await until(lambda: scene.parts.watch.waiting, what="the client to ask")
            talker.go.set()
        assert waiting.result().state is State.SUCCEEDED
        with pytest.raises(Refused) as caught:
            await anext(client.stream("0-unknown"))
        assert caught.value.code == "unknown_job"


async def test_a_wait_that_is_over_tells_how_it_stands(scene: Scene) -> None:
    async with AsyncClient(scene.server.url, scene.key) as client:
        submitted = await client.submit("echo", {"text": "hi"})
        assert (await client.wait(submitted.id, 1.0)).state is State.WAITING
    assert scene.parts.feed.followers == 0


async def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.client.requests.FIRST_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    async with AsyncClient(url, "rn_x_y") as client:
        with pytest.raises(Unavailable):
            await anext(client.stream("0-x"))


async def test_a_large_input_and_a_large_result(scene: Scene, redis: Redis, redis_url: str) -> None:
    text = "lang tekst " * (INLINE_MAX_BYTES // 10)

    async def double(attempt: Any) -> bytes:
        return msgspec.json.encode(msgspec.json.decode(attempt.payload)["text"] * 2)

    await scene.minder.tick()
    async with (
        GatewayBlobs(scene.parts.directory.blob_places, CLOCK) as blobs,
        plain_worker(Broker(redis, KEYS), redis_url, double, blobs=blobs),
        AsyncClient(scene.server.url, scene.key) as client,
    ):
        submitted = await client.submit("echo", {"text": text})
        assert (await client.wait(submitted.id, 20.0)).state is State.SUCCEEDED
        assert await client.result(submitted.id) == text * 2
    assert len(scene.files()) == 1, "the input went as a blob"


async def test_many_jobs_go_in_as_many_batches_as_they_need(scene: Scene) -> None:
    jobs = [echo() for _ in range(1_200)]
    jobs[7] = echo(payload={"text": 5})
    async with AsyncClient(scene.server.url, scene.key) as client:
        answers = await client.submit_many(jobs)
    assert len(answers) == 1_200
    refused = answers[7]
    assert isinstance(refused, Problem)
    assert refused.code == "invalid_input"
    ids = {answer.id for answer in answers if isinstance(answer, JobAccepted)}
    assert len(ids) == 1_199


def test_a_batch_is_bounded_in_jobs_and_bytes() -> None:
    assert [len(batch) for batch in batches({"n": 1} for _ in range(2_500))] == [1_000, 1_000, 500]
    large = [{"text": "x" * 3_000_000} for _ in range(3)]
    assert [len(batch) for batch in batches(large)] == [1, 1, 1]
    assert list(batches([])) == []


def test_events_are_parsed_line_by_line() -> None:
    parser = Parser()
    lines = [": still here", "", "id: 1-0", "event: cut", 'data: {"attempt":2}', "", "retry: 5", ""]
    frames = [frame for line in lines if (frame := parser.feed(line)) is not None]
    assert frames == [Frame("cut", "1-0", b'{"attempt":2}')]
    assert said_of(frames[0]) == Cut(2)
    assert said_of(Frame("reconnect", "", b'{"reason":"stopping"}')) is None


def test_a_stream_goes_on_after_what_it_has() -> None:
    stream = Following("/x", 30.0)
    assert "last-event-id" not in stream.request()["headers"]
    for line in ("id: 7-1", "event: text", "data: {}", ""):
        list(stream.take(line))
    assert stream.request()["headers"]["last-event-id"] == "7-1"
    assert stream.request()["headers"]["prefer"] == "wait=30"
    assert stream.pause_s(httpx.Response(200), None) == 0.0
    assert stream.pause_s(httpx.Response(204), None) is None
