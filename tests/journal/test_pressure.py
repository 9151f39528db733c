"""What is accepted while Redis fills up, and when those who are refused shall ask again."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.pressure import Drain, Pressure
from gateway.settings import GatewaySettings
from streams.errors import ClassFull, OutOfMemory
from streams.memory import Memory, read_memory
from streams.model import State
from tests.journal.scene import Scene
from tests.support.build import lane, new_job
from tests.support.waiting import until

MEBIBYTE = 1024 * 1024


def pressure(memory: Memory, counts: Mapping[str, int], **settings: int) -> Pressure:
    """A pressure that reads these values."""

    async def read() -> Memory:
        return memory

    async def count() -> Mapping[str, int]:
        return counts

    return Pressure(read, count, GatewaySettings(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("used", "limit", "refused", "full"),
    [
        (50, 0, (), False),  # no limit
        (79, 100, (), False),
        (80, 100, ("low",), False),
        (89, 100, ("low",), False),
        (90, 100, ("low",), True),
        (120, 100, ("low",), True),
    ],
)
async def test_low_priority_is_refused_first(
    used: int, limit: int, refused: tuple[str, ...], full: bool
) -> None:
    found = pressure(Memory(used, limit), {})
    await found.look(0.0)
    for priority in ("high", "normal", "low"):
        if priority in refused:
            with pytest.raises(OutOfMemory):
                found.check(lane(priority=priority))
        else:
            found.check(lane(priority=priority))
    assert found.full is full


async def test_a_class_with_too_much_waiting_takes_no_more() -> None:
    counts = {"io|waiting": 6, "io|delayed": 4, "io|active": 50, "cpu|waiting": 9}
    found = pressure(Memory(1, 0), counts, class_waiting_max=10)
    await found.look(0.0)
    with pytest.raises(ClassFull):
        found.check(lane("io"))
    found.check(lane("cpu"))


def test_nothing_is_known_of_a_redis_that_is_away() -> None:
    found = pressure(Memory(1, 1), {})
    found.check(lane(priority="low"))
    assert not found.full


def test_a_drain_reckons_how_long_it_takes() -> None:
    drain = Drain()
    drain.look(0.0)
    for second in range(1, 40):
        drain.passed(50)
        drain.look(float(second))
    assert drain.per_s == pytest.approx(50, rel=0.01)
    waits = [drain.after_s(1_000) for _ in range(200)]
    assert 17 < min(waits) < 19 < 25 < max(waits) < 27  # 22 s, a fifth to either side
    assert drain.after_s(1) == 1
    assert drain.after_s(10**9) == 300


def test_a_drain_that_stands_still_knows_no_better() -> None:
    assert 24 <= Drain().after_s(5) <= 36


async def test_redis_tells_its_memory(redis: "Redis") -> None:
    try:
        await redis.config_set("maxmemory", 50 * MEBIBYTE)
        found = await read_memory(redis)
        assert found.limit == 50 * MEBIBYTE
        assert 0 < found.share < 0.5
    finally:
        await redis.config_set("maxmemory", 0)


@pytest.mark.may_leak
async def test_above_the_limit_jobs_stay_in_the_journal_until_there_is_room(
    redis: "Redis", folder: Path
) -> None:
    used = (await read_memory(redis)).used
    settings = GatewaySettings(memory_low_share=0.3, memory_spool_share=0.4)
    try:
        async with Scene(redis, folder, settings) as scene:
            await redis.config_set("maxmemory", 2 * used)  # it would take them
            await until(lambda: scene.pressure.full, what="the gateway to notice")
            jobs = [new_job() for _ in range(30)]
            answers = await scene.acceptor.accept(jobs)
            assert {answer.state for answer in answers} == {State.SPOOLED}
            with pytest.raises(OutOfMemory):
                scene.acceptor.check(lane(priority="low"))
            before = scene.looked_at
            await until(lambda: scene.looked_at > before, what="one more look")
            assert await scene.jobs() == 0
            await redis.config_set("maxmemory", 0)
            await until(lambda: scene.spooled == 0, what="the spool to empty")
            assert await scene.jobs() == 30
    finally:
        await redis.config_set("maxmemory", 0)


@pytest.mark.may_leak
async def test_what_redis_refuses_for_lack_of_memory_is_spooled(
    redis: "Redis", folder: Path
) -> None:
    """Between two looks Redis may get full: its refusal costs nothing but time."""
    try:
        async with Scene(redis, folder, GatewaySettings(memory_spool_share=1.0)) as scene:
            await scene.acceptor.accept([new_job()])
            scene.pressure.memory = None
            await redis.config_set("maxmemory", 1)
            answers = await scene.acceptor.accept([new_job() for _ in range(10)])
            assert {answer.state for answer in answers} == {State.SPOOLED}
            await redis.config_set("maxmemory", 0)
            await until(lambda: scene.spooled == 0, what="the spool to empty")
            assert await scene.jobs() == 11
    finally:
        await redis.config_set("maxmemory", 0)
