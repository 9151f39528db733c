"""A link that is cut under calls: every call is answered or says that the link is away."""

import asyncio
from collections import Counter

from redis.asyncio import Redis

from streams.errors import Unavailable
from streams.keyspace import Keyspace
from streams.scripts import Scripts
from streams.settings import EngineSettings
from streams.wire import Wire
from tests.support.plain_worker import client

CUTS, CALLERS = 150, 8


async def test_a_call_on_a_link_that_is_cut_is_answered_or_unavailable(
    redis: Redis, redis_url: str
) -> None:
    keys = Keyspace()
    wired = client(redis_url, client_name="wire", socket_timeout=5)
    wire = Wire(wired, keys, Scripts(wired, keys, EngineSettings()))
    endings: Counter[str] = Counter()
    cut = asyncio.Event()

    async def call_always() -> None:
        while not cut.is_set():
            try:
                await wire.call([("promote", ["io", 1])])
                endings["answered"] += 1
            except Unavailable:
                endings["unavailable"] += 1
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as callers:
        for _ in range(CALLERS):
            callers.create_task(call_always())
        for number in range(CUTS):
            await redis.execute_command("CLIENT KILL TYPE normal SKIPME yes")
            await asyncio.sleep(number % 5 / 1000)  # at another moment of the calls each time
        cut.set()
    assert endings["answered"] > 0
    assert endings["unavailable"] > 0
    await wire.close()
    await wired.aclose()
