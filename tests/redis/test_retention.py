"""An app's ended jobs are kept within a number and a size; the oldest go first, counters stay."""

from typing import Any

import pytest
from redis.asyncio import Redis

from streams.broker import Broker
from streams.control import Control
from streams.inspector import Inspector
from streams.loops import discarder
from streams.loops.discarder import Discarder
from streams.model import Dead, Done, State
from streams.retention import RECORD_BYTES, KeptJobs
from streams.settings import EngineSettings
from tests.redis.scenes import FAULT, KEYS, leased, settle
from tests.support.build import Hand, new_job

ENDED = KEYS.key("ended_", "etyde")


@pytest.fixture
def control(redis: "Redis", broker: Broker) -> Control:
    return Control(redis, KEYS, broker.scripts)


def chore(redis: "Redis", control: Control, **limits: int) -> Discarder:
    settings = EngineSettings(**{"retention_jobs_max": 0, "retention_bytes_max": 0, **limits})
    return Discarder(KeptJobs(redis, KEYS), control, settings)


async def ended(
    redis: "Redis", broker: Broker, count: int, size: int = 0, **fields: Any
) -> list[str]:
    """Jobs that succeeded with results of that size, the oldest first, a second apart."""
    jobs = [new_job(**fields) for _ in range(count)]
    await broker.submit(jobs)
    result = b'"' + b"r" * size + b'"'
    for number, lease in enumerate(await Hand(broker, jobs[0].id).take(count)):
        await settle(broker, lease, Done(result))
        await redis.zadd(KEYS.key("ended_", jobs[0].lane.app), {lease.job_id: 1_000 * number})
    return [job.id for job in jobs]


async def left(redis: "Redis", key: str = ENDED) -> list[str]:
    return [raw.decode() for raw in await redis.zrange(key, 0, -1)]


async def test_the_oldest_beyond_the_number_are_forgotten(
    redis: "Redis", broker: Broker, control: Control, inspector: Inspector
) -> None:
    ids = await ended(redis, broker, 8)
    others = await ended(redis, broker, 3, app="other")
    counts = await inspector.counts()
    await chore(redis, control, retention_jobs_max=5).tick()
    assert await left(redis) == ids[3:]
    assert await left(redis, KEYS.key("ended_", "other")) == others
    for job_id in ids[:3]:
        assert await redis.exists(KEYS.job(job_id), KEYS.payload(job_id), KEYS.result(job_id)) == 0
    assert await inspector.counts() == counts
    assert await inspector.audit() == []


async def test_dead_letters_are_counted_apart(
    redis: "Redis", broker: Broker, control: Control
) -> None:
    ids = await ended(redis, broker, 3)
    for _ in range(3):
        job = new_job()
        await settle(broker, await leased(broker, job, job.id), Dead(FAULT))
    await chore(redis, control, retention_jobs_max=3).tick()
    assert await left(redis) == ids
    await chore(redis, control, retention_jobs_max=2).tick()
    assert (len(await left(redis)), await redis.zcard(KEYS.key("dead_", "etyde"))) == (2, 2)


@pytest.mark.parametrize("walk", [10_000, 3])
async def test_the_oldest_beyond_the_size_are_forgotten(
    redis: "Redis",
    broker: Broker,
    control: Control,
    monkeypatch: pytest.MonkeyPatch,
    walk: int,
) -> None:
    monkeypatch.setattr(discarder, "WALK_MAX", walk)
    monkeypatch.setattr("streams.retention.CHUNK", walk)
    ids = await ended(redis, broker, 10, size=5_000)
    each = RECORD_BYTES + 2 + 5_002
    looking = chore(redis, control, retention_bytes_max=4 * each)
    for _ in range(10):
        await looking.tick()
    assert await left(redis) == ids[6:]
    assert looking.discarded == 6


async def test_what_fits_stays(redis: "Redis", broker: Broker, control: Control) -> None:
    ids = await ended(redis, broker, 10, size=5_000)
    looking = chore(redis, control, retention_jobs_max=10, retention_bytes_max=10**6)
    for _ in range(3):
        await looking.tick()
    assert await left(redis) == ids


async def test_the_newest_stays_however_large(
    redis: "Redis", broker: Broker, control: Control
) -> None:
    ids = await ended(redis, broker, 3, size=5_000)
    await chore(redis, control, retention_bytes_max=100).tick()
    assert await left(redis) == ids[2:]


async def test_no_limit_forgets_nothing(redis: "Redis", broker: Broker, control: Control) -> None:
    ids = await ended(redis, broker, 5)
    await chore(redis, control).tick()
    assert await left(redis) == ids


async def test_what_a_flow_holds_stays_and_is_passed_over(
    redis: "Redis", broker: Broker, control: Control
) -> None:
    ids = await ended(redis, broker, 6)
    await redis.persist(KEYS.job(ids[0]))  # as a stage's job, which its flow may read
    assert await control.purge(ids[:1]) == ["in_flow"]
    await chore(redis, control, retention_jobs_max=3).tick()
    assert await left(redis) == [ids[0], *ids[3:]]
    await redis.pexpire(KEYS.job(ids[0]), 10**6)


async def test_a_tick_is_bounded(
    redis: "Redis", broker: Broker, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discarder, "PURGE_MAX", 4)
    monkeypatch.setattr(discarder, "PURGE_CALL", 2)
    ids = await ended(redis, broker, 9)
    looking = chore(redis, control, retention_jobs_max=3)
    await looking.tick()
    assert await left(redis) == ids[4:]
    await looking.tick()
    assert await left(redis) == ids[6:]


async def test_purge_tells_what_it_left(
    redis: "Redis", broker: Broker, control: Control, inspector: Inspector
) -> None:
    (done,) = await ended(redis, broker, 1)
    waiting = new_job()
    await broker.submit([waiting])
    said = await control.purge([waiting.id, done, done, "0-none"], State.DEAD)
    assert said == ["waiting", "succeeded", "succeeded", "gone"]
    assert await control.purge([waiting.id, done, done]) == ["waiting", "purged", "gone"]
    assert await inspector.audit() == []


async def test_a_full_redis_is_made_room_in(
    redis: "Redis", broker: Broker, control: Control
) -> None:
    ids = await ended(redis, broker, 3)
    await redis.config_set("maxmemory", 1)
    try:
        assert await control.purge(ids) == ["purged"] * 3
    finally:
        await redis.config_set("maxmemory", 0)
