"""Leases: renewed, run out, taken over, forgiven, swept."""

import pytest
from redis.asyncio import Redis

from streams.broker import Broker
from streams.inspector import Inspector
from streams.keyspace import lease_member
from streams.model import Done, Lease, ResourceClass, Settled, State
from tests.redis.scenes import KEYS, leased, run_out, settle, state_of, succeed
from tests.support.build import Hand, new_job
from tests.support.redis_state import whole_state


async def deadline(redis: "Redis", lease: Lease) -> float:
    member = lease_member(lease.lane.name, lease.entry_id)
    score = await redis.zscore(KEYS.key("leases_", lease.pool), member)
    assert score is not None
    return float(score)


async def test_a_renewal_moves_the_deadline_and_nothing_else(
    redis: "Redis", broker: Broker
) -> None:
    lease = await leased(broker, new_job())
    leases = KEYS.key("leases_")
    before, first = await state_of(redis, leases), await deadline(redis, lease)
    for _ in range(3):
        told = await broker.renew("host-1-w", [(lease.job_id, lease.token)], 90_000)
        assert (told.lost, told.cancel) == (frozenset(), frozenset())
    assert await deadline(redis, lease) >= first + 59_000
    assert await state_of(redis, leases) == before


async def test_a_lease_that_ran_out_is_still_the_owners_until_somebody_takes_it(
    redis: "Redis", broker: Broker
) -> None:
    lease = await leased(broker, new_job())
    await run_out(redis, lease)
    assert not (await broker.renew("host-1-w", [(lease.job_id, lease.token)], 30_000)).lost
    assert await Hand(broker, "other").take() == []


async def test_renewing_nothing_is_allowed(broker: Broker) -> None:
    assert not (await broker.renew("host-1-w", [], 30_000)).lost


async def test_an_expired_lease_is_a_head_like_any_other(redis: "Redis", broker: Broker) -> None:
    """It does not overtake what is more urgent."""
    lost = await leased(broker, new_job(priority="low"))
    await run_out(redis, lost)
    clock = KEYS.key("clock_", "io")
    await redis.hset(clock, "open", 1_000_000)
    urgent = new_job(priority="high")
    await broker.submit([urgent])
    await redis.hset(clock, "open", 1_120_000)  # 1.0 against 0.08
    order = await Hand(broker, "other").take(2)
    assert [lease.job_id for lease in order] == [urgent.id, lost.job_id]


async def test_a_worker_may_take_back_its_own_lost_job(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    job = new_job()
    await broker.submit([job])
    hand = Hand(broker)
    [first] = await hand.take()
    await run_out(redis, first)
    [second] = await hand.take()
    assert second.token != first.token
    assert await settle(broker, first, Done(b"1")) is Settled.LOST
    assert await settle(broker, second, Done(b"2")) is Settled.SETTLED
    assert await inspector.result(job.id) == b"2"


async def test_link_loss_is_forgiven_but_three_deaths_are_not(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    job = new_job()
    lease = await leased(broker, job)
    for n in range(6):  # lost by silence each time, but the worker comes back
        await run_out(redis, lease)
        [following] = await Hand(broker, f"next{n}").take()
        assert await settle(broker, lease, Done(b"late")) is Settled.LOST
        assert await settle(broker, lease, Done(b"late")) is Settled.LOST  # forgiven once only
        lease = following
    found = await inspector.job(job.id)
    assert found is not None
    assert (found.state, found.attempt, found.crashes) == (State.ACTIVE, 7, 0)
    for n in range(3):
        await run_out(redis, lease)
        taken = await Hand(broker, f"doomed{n}").take()
        lease = taken[0] if taken else lease
    found = await inspector.job(job.id)
    assert found is not None
    assert (found.state, found.crashes) == (State.DEAD, 3)
    assert await inspector.audit() == []


async def test_a_sweep_finds_an_entry_that_lost_its_lease(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    lease = await leased(broker, new_job())
    await redis.delete(KEYS.key("leases_", "io"))
    assert await inspector.audit() != []
    assert await broker.sweep(lease.lane.name) == (1, "-")
    assert await inspector.audit() == []
    [again] = await Hand(broker, "other").take()
    assert again.job_id == lease.job_id


async def test_a_sweep_gives_back_what_somebody_read_by_hand(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    job = new_job()
    await broker.submit([job])
    await redis.xreadgroup("workers", "redis-cli", {KEYS.stream(job.lane.name): ">"})
    assert await Hand(broker).take() == []
    assert await broker.sweep(job.lane.name) == (1, "-")
    assert await inspector.audit() == []
    [lease] = await Hand(broker, "other").take()
    await succeed(broker, [lease])
    assert await inspector.audit() == []


async def test_a_sweep_drops_entries_that_are_no_jobs_place(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    lease = await leased(broker, new_job())
    stream = KEYS.stream(lease.lane.name)
    await redis.xadd(stream, {"j": lease.job_id, "t": 0})
    await redis.xadd(stream, {"j": "0-none", "t": 0})
    await redis.xreadgroup("workers", "redis-cli", {stream: ">"})
    assert await broker.sweep(lease.lane.name) == (2, "-")
    assert await inspector.audit() == []
    await succeed(broker, [lease])


async def test_a_sweep_goes_page_by_page_and_harms_nothing(redis: "Redis", broker: Broker) -> None:
    jobs = [new_job() for _ in range(25)]
    await broker.submit(jobs)
    await Hand(broker).take(20)
    before = await state_of(redis)
    pages, start = 0, "-"
    while True:
        mended, start = await broker.sweep(jobs[0].lane.name, start, 10)
        pages += 1
        assert mended == 0
        if start == "-":
            break
    assert pages == 3  # the last one is empty
    assert await state_of(redis) == before


async def test_a_sweep_of_a_lane_that_is_gone_is_nothing(broker: Broker) -> None:
    assert await broker.sweep("io:none:normal:echo:") == (0, "-")


async def test_a_paused_class_still_ends_what_is_dead_or_cancelled(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    cancelled, doomed, held = new_job(), new_job(), new_job()
    leases = [await leased(broker, job, f"w{n}") for n, job in enumerate((cancelled, doomed, held))]
    await broker.cancel(cancelled.id)
    await redis.hset(KEYS.job(doomed.id), "crashes", 2)
    await run_out(redis, *leases)
    await broker.pause(ResourceClass.IO)
    assert (await broker.sweep(held.lane.name))[0] == 2
    states = [job.state for job in await inspector.jobs_by_id([cancelled.id, doomed.id, held.id])]
    assert states == [State.CANCELLED, State.DEAD, State.ACTIVE]
    assert await inspector.audit() == []


@pytest.mark.parametrize("holds", [False, True])
async def test_a_consumer_is_dropped_only_when_nothing_is_pending_under_it(
    redis: "Redis", broker: Broker, inspector: Inspector, holds: bool
) -> None:
    job, other = new_job(), new_job()
    lease = await leased(broker, job, "gone")
    await leased(broker, other, "stays")
    if not holds:
        await succeed(broker, [lease])
    for _ in range(2):
        held = await broker.drop_consumer("host-1-gone", ResourceClass.IO, "io")
        assert held == int(holds)
    state = await whole_state(redis)
    stream = KEYS.stream(job.lane.name)
    consumers = {row["name"] for row in await redis.xinfo_consumers(stream, "workers")}
    assert (b"host-1-gone" in consumers) is holds
    assert (KEYS.key("calls_", "host-1-gone:io") in state) is holds
    assert await inspector.audit() == []
