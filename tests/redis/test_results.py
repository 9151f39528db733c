"""Results that are kept for those who ask the same again: bounded in number, size and time."""

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from streams.broker import Broker
from streams.errors import OutOfMemory
from streams.results import RESULT_MAX_BYTES, KeptResults
from streams.settings import EngineSettings
from tests.redis.scenes import KEYS


async def test_a_result_is_kept_for_its_time(redis: "Redis", broker: Broker) -> None:
    kept = KeptResults(redis, KEYS, broker.scripts)
    assert await kept.find("a") is None
    await kept.keep("a", b'"1"', 60_000)
    await kept.keep("a", b'"2"', 60_000)
    await kept.keep("b", b"x" * (RESULT_MAX_BYTES + 1), 60_000)
    assert (await kept.find("a"), await kept.find("b")) == (b'"2"', None)
    assert 0 < await redis.pttl(KEYS.key("cached_", "a")) <= 60_000
    assert await redis.zrange(KEYS.key("cached_results"), 0, -1) == [b"a"]


async def test_what_would_go_next_makes_room(redis: "Redis") -> None:
    few = Broker(redis, KEYS, EngineSettings(cache_entries_max=3))
    kept = KeptResults(redis, KEYS, few.scripts)
    for number in range(6):
        await kept.keep(str(number), b"1", 60_000 + number)
    assert [await kept.find(str(n)) is not None for n in range(6)] == [False] * 3 + [True] * 3
    assert await redis.zcard(KEYS.key("cached_results")) == 3


async def test_at_the_memory_limit_nothing_is_kept(redis: "Redis", broker: Broker) -> None:
    await redis.config_set("maxmemory", 1)
    try:
        with pytest.raises((OutOfMemory, ResponseError)):
            await KeptResults(redis, KEYS, broker.scripts).keep("a", b"1", 1_000)
    finally:
        await redis.config_set("maxmemory", 0)
    assert await redis.dbsize() == 0
