"""The rules that ours is compared with, each on the real take; and a short replay."""

import time

import pytest
from redis.asyncio import Redis

from ops.bench.policies import OURS, POLICIES, sources_for
from ops.bench.replay import replay
from ops.bench.workload import HIGH, LOADS_S, LOW, NORMAL, Work, day, scale_for
from streams.broker import Broker
from streams.keyspace import Keyspace
from streams.scripts import read_sources
from tests.support.build import Hand, new_job

# What comes in, in this order; `b` is in memory.
COMES = (("low", "a"), ("normal", "b"), ("high", "c"), ("normal", "a"), ("high", "b"))
ORDER = {
    "fifo": "low a, normal b, high c, normal a, high b",
    "strict": "high c, high b, normal b, normal a, low a",
    "drain": "high b, normal b, normal a, low a, high c",
    OURS: "high b, normal b, high c, normal a, low a",
}


async def next_ms(redis: Redis) -> None:
    """Until the server's clock shows another millisecond: ages are told apart by it."""
    began = (await redis.time())[1] // 1_000
    while (await redis.time())[1] // 1_000 == began:
        pass


@pytest.mark.parametrize("policy", POLICIES)
async def test_each_rule_has_its_order(redis: Redis, policy: str) -> None:
    broker = Broker(redis, Keyspace(), sources=sources_for(policy, speed=1))
    hand = Hand(broker, "w", "ollama", pool="ollama@mac", models=["a", "b", "c"])
    await hand.take()  # opens the class
    came = []
    for priority, model in COMES:
        came.append(time.monotonic())
        await broker.submit([new_job(resource_class="ollama", priority=priority, model=model)])
        await next_ms(redis)
    while time.monotonic() - came[3] < came[3] - came[0]:  # so that `low a` is no more than thrice
        await next_ms(redis)  # as old as `normal a`, whose target is a quarter of its own
    await broker.set_limit("ollama@mac", 9)
    leases = await hand.take(9, resident="b")
    said = [f"{lease.lane.priority} {lease.lane.model}" for lease in leases]
    assert ", ".join(said) == ORDER[policy]


def test_a_rule_of_another_is_never_read_by_a_platform() -> None:
    own = set(read_sources())
    assert {name for name in own if "fifo" in name or "drain" in name} == set()
    assert sources_for(OURS, 1).keys() == own
    assert "high = 1200.000000" in sources_for(OURS, 100)["lib/rule"]
    with pytest.raises(ValueError, match="no policy"):
        sources_for("lottery", 1)


def test_a_day_is_the_same_each_time_and_as_heavy_as_asked() -> None:
    assert day(1, 12, 1.0) == day(1, 12, 1.0) != day(2, 12, 1.0)
    works = day(12_345, 240, scale_for(0.5, 240))
    assert sum(work.run_s for work in works) / (240 * 3_600) == pytest.approx(0.5, rel=0.1)
    assert {work.model for work in works} == set(LOADS_S)


async def test_a_replay_runs_every_job_and_counts_what_it_took() -> None:
    works = [
        Work(0.0, NORMAL, "small-8b", 4.0),
        Work(1.0, LOW, "mid-14b", 4.0),
        Work(2.0, HIGH, "small-8b", 4.0),
    ]
    found = await replay(OURS, works, hours=0.5, speed=400)
    assert (found.jobs, set(found.waits)) == (3, {HIGH, NORMAL, LOW})
    assert found.done_per_h == 6
    assert found.swaps_per_h == pytest.approx(4, rel=0.2)
    assert found.waits[HIGH].most_s > 0
