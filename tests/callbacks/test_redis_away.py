"""The courier while Redis is away: what was posted is settled when Redis is back."""

import asyncio
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ops.redis_binary import RedisBinary
from streams.callbacks import CallbackState
from streams.errors import Unavailable
from streams.model import Settled
from tests.callbacks.office import Office
from tests.support.redis_server import RedisServer
from tests.support.waiting import until
from tests.web.local_server import Received, local_server, response


@pytest.fixture
def server(redis_binary: RedisBinary) -> Iterator[RedisServer]:
    """A server of this test's own, whose data outlives its process."""
    server = RedisServer(redis_binary, "appendonly yes", "appendfsync always")
    yield server
    server.stop()


async def delivered(office: Office) -> bool:
    """Whether the callback is known as delivered; not, while nobody can say."""
    try:
        return bool(await office.callbacks(CallbackState.DELIVERED))
    except (Unavailable, OSError):
        return False


async def test_a_callback_posted_while_redis_dies_is_settled_and_not_posted_again(
    server: RedisServer,
) -> None:
    dead = asyncio.Event()

    async def die_then_thank(request: Received, writer: asyncio.StreamWriter) -> None:
        if len(receiver.received) == 1:
            await asyncio.to_thread(server.kill)
            dead.set()
        writer.write(response(200))

    async with (
        Redis.from_url(server.url, retry=Retry(NoBackoff(), 0)) as redis,
        local_server(die_then_thank) as receiver,
    ):
        office = Office(redis)
        await office.endpoint(receiver.origin)
        async with office.courier(receiver, lease_ms=30_000):
            await office.end_job(receiver.origin)
            await until(dead.is_set, what="Redis to die")
            await asyncio.to_thread(server.restart)
            await until(lambda: delivered(office), what="the delivery", limit_s=10)
            await office.end_job(receiver.origin)
            await until(lambda: len(office.reports) == 2, what="the next one", limit_s=10)
    assert len(receiver.received) == 2
    assert {report.settled.answer for report in office.reports} == {Settled.SETTLED}
