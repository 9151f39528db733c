"""Rates of a class and of its apps: how many attempts start in a time, over all workers."""

import pytest
from redis.asyncio import Redis

from streams.broker import Broker
from streams.control import Control
from streams.inspector import Inspector
from streams.limits import parse_rate, rate_text
from streams.model import Again, Done, Rate, ResourceClass, Settlement
from tests.redis.scenes import FAULT, KEYS, run_out, settle, state_of
from tests.support.build import Hand, new_job

DAY_MS = 86_400_000
PACE = KEYS.key("pace_", "io")


@pytest.fixture
def control(redis: "Redis", broker: Broker) -> Control:
    return Control(redis, KEYS, broker.scripts)


async def at(redis: "Redis", ms: int) -> int:
    seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000 + ms


async def test_a_class_starts_as_many_as_its_rate_lets(broker: Broker, control: Control) -> None:
    await broker.submit([new_job(app=f"app{n % 3}") for n in range(9)])
    await control.set_rate(ResourceClass.IO, Rate(1, DAY_MS, 5))
    first, second = Hand(broker, "first"), Hand(broker, "second")
    assert len(await first.take(3)) == 3
    assert len(await second.take(9)) == 2
    assert await first.take(9) == []
    await control.set_rate(ResourceClass.IO, None)
    assert len(await first.take(9)) == 4


async def test_one_app_is_slowed_and_others_are_not(broker: Broker, control: Control) -> None:
    await broker.submit([new_job(app="slow") for _ in range(4)])
    await broker.submit([new_job(app="free") for _ in range(4)])
    await control.set_rate(ResourceClass.IO, Rate(1, DAY_MS, 2), "slow")
    taken = await Hand(broker).take(9)
    assert sorted(lease.lane.app for lease in taken) == ["free"] * 4 + ["slow"] * 2


async def test_the_only_lane_obeys_too(broker: Broker, control: Control) -> None:
    await broker.submit([new_job() for _ in range(4)])
    await control.set_rate(ResourceClass.IO, Rate(1, DAY_MS, 2), "etyde")
    assert len(await Hand(broker).take(9)) == 2


async def test_starts_come_back_evenly_and_the_worker_is_told_when(
    redis: "Redis", broker: Broker, control: Control
) -> None:
    await broker.submit([new_job() for _ in range(9)])
    await control.set_rate(ResourceClass.IO, Rate(60, 60_000, 2))
    hand = Hand(broker)
    assert len(await hand.take(9)) == 2
    taken = await hand.ask(9)
    assert taken.leases == []
    assert 0 < taken.look_again_ms <= 1_000
    full_at = float(await redis.hget(PACE, ""))
    assert 1_000 < full_at - await at(redis, 0) <= 2_000
    await redis.hset(PACE, "", await at(redis, 1_000))  # as after a second
    assert len(await hand.take(9)) == 1
    await redis.hset(PACE, "", await at(redis, -5_000))  # as after a rest: the burst and no more
    assert len(await hand.take(9)) == 2


async def test_a_clock_that_went_back_does_not_stop_the_class(
    redis: "Redis", broker: Broker, control: Control
) -> None:
    await broker.submit([new_job()])
    await control.set_rate(ResourceClass.IO, Rate(60, 60_000, 2))
    await redis.hset(PACE, "", await at(redis, DAY_MS))
    hand = Hand(broker)
    taken = await hand.ask()
    assert taken.leases == []
    assert 0 < taken.look_again_ms <= 1_000


async def test_a_rate_of_nothing_starts_nothing(broker: Broker, control: Control) -> None:
    await broker.submit([new_job(), new_job(app="other")])
    await control.set_rate(ResourceClass.IO, Rate(0), "etyde")
    hand = Hand(broker)
    assert [lease.lane.app for lease in await hand.take(9)] == ["other"]
    taken = await hand.ask(9)
    assert (taken.leases, taken.look_again_ms) == ([], 1_000)


async def test_every_attempt_counts_those_of_dead_workers_too(
    redis: "Redis", broker: Broker, control: Control, inspector: Inspector
) -> None:
    await broker.submit([new_job()])
    await control.set_rate(ResourceClass.IO, Rate(1, DAY_MS, 3))
    (lease,) = await Hand(broker, "first").take()
    await settle(broker, lease, Again(0, FAULT))
    (lease,) = await Hand(broker, "second").take()
    await run_out(redis, lease)
    (lease,) = await Hand(broker, "third").take()
    await run_out(redis, lease)
    assert await Hand(broker, "fourth").take() == []
    await control.set_rate(ResourceClass.IO, None)
    (lease,) = await Hand(broker, "fifth").take()
    await broker.settle("fifth", [Settlement(lease.job_id, lease.token, Done(b"1"))])
    assert await inspector.audit() == []


async def test_a_repeated_call_uses_up_nothing(
    redis: "Redis", broker: Broker, control: Control
) -> None:
    await broker.submit([new_job(), new_job()])
    await control.set_rate(ResourceClass.IO, Rate(1, DAY_MS, 2))
    hand = Hand(broker)
    await hand.ask()
    before = await state_of(redis)
    await broker.take(hand.call(1))
    assert await state_of(redis) == before
    assert len(await hand.take(2)) == 1


async def test_a_class_without_rates_writes_none(redis: "Redis", broker: Broker) -> None:
    await broker.submit([new_job()])
    await Hand(broker).take()
    assert not await redis.exists(PACE)


def test_a_rate_is_stored_as_text() -> None:
    assert parse_rate(rate_text(Rate(30, 60_000, 5))) == Rate(30, 60_000, 5)
