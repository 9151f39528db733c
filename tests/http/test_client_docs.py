"""The examples of docs/client.md, on a gateway with a worker."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from gateway import signing
from gateway.blob_link import GatewayBlobs
from gateway.rendering import render
from processors.builtin.echo import echo
from processors.sdk.registry import Registry
from streams.attempt import Attempt
from streams.broker import Broker
from streams.clock import SystemClock
from streams.model import ResourceClass
from tests.http.edge import KEYS
from tests.http.test_blobs import Scene
from tests.http.test_client import RECORD
from tests.processors.support import processor_of
from tests.support.plain_worker import plain_worker

PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SECRET = signing.new_secret()


@pytest.fixture
async def scene(redis: Redis, redis_url: str, tmp_path: Path) -> AsyncIterator[Scene]:
    async with Redis.from_url(redis_url) as reading:
        async with Scene(redis, reading, tmp_path) as scene:
            yield scene
        scene.store.close()


async def answer(attempt: Attempt) -> bytes:
    """Echo, or a model's words."""
    if attempt.lease.lane.processor == "echo":
        return attempt.payload
    for word in ("En ", "fjord ", "er…"):
        attempt.emit(word)
    return b'"the whole answer"'


async def test_every_example_runs(
    scene: Scene, redis: Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    [card] = Registry([processor_of(echo)]).cards({}, 1)
    for one in (card, replace(card, name="ask", input_schema=msgspec.Raw(b"{}"))):
        await scene.stores.directory.publish_processor(one)
    await scene.parts.processors.look_again()
    await scene.minder.tick()
    broker, slots = Broker(redis, KEYS), {ResourceClass.CPU: 10}
    async with (
        GatewayBlobs(scene.parts.directory.blob_places, SystemClock()) as blobs,
        plain_worker(broker, redis_url, answer, slots=slots, blobs=blobs),
    ):
        await asyncio.to_thread(run_all, scene)
    said = capsys.readouterr().out
    assert said.startswith("succeeded {'message': 'hej'")
    for line in ("1500 0", "En fjord er…\nsucceeded", "invalid_input $.payload.message"):
        assert line in said
    assert said.endswith("msg_1 job.succeeded 0-x\n")


def run_all(scene: Scene) -> None:
    """One after the other, in one namespace, as somebody would type them."""
    names: dict[str, Any] = {"URL": scene.server.url, "KEY": scene.key, "SECRET": SECRET}
    for example in EXAMPLES:
        exec(compile(example, "docs/client.md", "exec"), names)
    body = render(RECORD)
    now_s = SystemClock().now_ms() // 1_000
    names["receive"](signing.sign([SECRET], "msg_1", now_s, body), body)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 6
