"""Cancelling, expiring and replaying: what is allowed when, and that repeating is harmless."""

import pytest
from redis.asyncio import Redis

from streams.broker import Broker
from streams.inspector import Inspector
from streams.model import Again, Cancelled, Dead, Done, ResourceClass, State, Stopped
from tests.redis.scenes import (
    FAULT,
    KEYS,
    kinds,
    leased,
    run_out,
    settle,
    state_of,
    store,
    succeed,
    told,
)
from tests.support.build import Hand, new_job
from tests.support.redis_state import lifetimes, whole_state


@pytest.mark.parametrize("delay_ms", [0, 60_000])
async def test_cancelling_twice_is_cancelling_once(
    redis: "Redis", broker: Broker, delay_ms: int
) -> None:
    job = told(delay_ms=delay_ms)
    await broker.submit([job])
    assert await broker.cancel(job.id) is Cancelled.CANCELLED
    before = await whole_state(redis)
    assert await broker.cancel(job.id, "again") is Cancelled.ENDED
    assert await whole_state(redis) == before


async def test_a_running_job_is_asked_once_and_told_at_each_renewal(
    redis: "Redis", broker: Broker
) -> None:
    job = new_job()
    lease = await leased(broker, job)
    assert await broker.cancel(job.id, "first") is Cancelled.REQUESTED
    bell = await redis.xrevrange(KEYS.key("doorbell_", "io"), count=1)
    assert bell[0][1] == {b"cancel": job.id.encode()}
    assert await broker.cancel(job.id, "second") is Cancelled.REQUESTED
    assert await redis.xrevrange(KEYS.key("doorbell_", "io"), count=1) == bell
    for _ in range(2):
        assert (await broker.renew("w", [(job.id, lease.token)], 30_000)).cancel == {job.id}
    assert await kinds(redis, job) == ["submitted", "active", "cancelling"]


async def test_a_job_that_ended_first_has_won(broker: Broker, inspector: Inspector) -> None:
    job = new_job()
    lease = await leased(broker, job)
    await broker.cancel(job.id)
    await settle(broker, lease, Done(b"1"))
    found = await inspector.job(job.id)
    assert found is not None
    assert found.state is State.SUCCEEDED
    assert await broker.cancel(job.id) is Cancelled.ENDED


async def test_cancelling_the_unknown(redis: "Redis", broker: Broker) -> None:
    assert await broker.cancel("0-none") is Cancelled.UNKNOWN
    assert await whole_state(redis) == {}


async def test_cancelling_one_of_many_leaves_the_others_in_order(
    broker: Broker, inspector: Inspector
) -> None:
    jobs = [new_job() for _ in range(5)]
    await broker.submit(jobs)
    for index in (0, 2, 4):
        assert await broker.cancel(jobs[index].id) is Cancelled.CANCELLED
    assert await inspector.audit() == []
    leases = await Hand(broker).take(5)
    assert [lease.job_id for lease in leases] == [jobs[1].id, jobs[3].id]
    assert await inspector.audit() == []


async def test_expiry_ends_what_has_not_started_and_nothing_else(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    late = [new_job(expires_at_ms=10**13), new_job(expires_at_ms=10**13, delay_ms=60_000)]
    started = new_job(expires_at_ms=10**13)
    in_time = new_job(expires_at_ms=10**13)
    lease = await leased(broker, started)
    await broker.submit([*late, in_time])
    await redis.zadd(KEYS.key("expiring"), {job.id: 1 for job in late})
    assert await broker.expire(1) == 1
    assert await broker.expire() == 1
    before = await whole_state(redis)
    assert await broker.expire() == 0
    assert await whole_state(redis) == before
    found = await inspector.jobs_by_id([job.id for job in (*late, started, in_time)])
    expected = [State.EXPIRED, State.EXPIRED, State.ACTIVE, State.WAITING]
    assert [job.state for job in found] == expected
    assert await inspector.audit() == []
    await succeed(broker, [lease])


async def test_a_job_that_expires_in_the_middle_of_a_take_costs_no_other_its_turn(
    broker: Broker, inspector: Inspector
) -> None:
    jobs = [new_job(expires_at_ms=1 if n % 2 else 0) for n in range(6)]
    await broker.submit(jobs)
    hand = Hand(broker)
    answer = await hand.ask(4)
    assert answer.look_again_ms == 0  # there were fewer than it looked like
    taken = [*answer.leases, *await hand.take(4)]
    assert [lease.job_id for lease in taken] == [job.id for job in jobs[::2]]
    assert await inspector.audit() == []


async def test_a_job_that_started_in_time_may_be_tried_again_later(
    redis: "Redis", broker: Broker
) -> None:
    job = new_job(expires_at_ms=10**13)
    await settle(broker, await leased(broker, job), Again(0, FAULT))
    await redis.hset(KEYS.job(job.id), "expires", 1)
    assert await broker.expire() == 0
    [lease] = await Hand(broker, "next").take()
    assert (lease.job_id, lease.attempt) == (job.id, 2)


async def end(redis: "Redis", broker: Broker, state: State) -> str:
    """A job that ended so."""
    job = told(expires_at_ms=1 if state is State.EXPIRED else 0)
    if state is State.EXPIRED:
        await broker.submit([job])
        await broker.expire()
        return job.id
    lease = await leased(broker, job)
    if state is State.CANCELLED:
        await broker.cancel(job.id)
        await settle(broker, lease, Stopped())
    else:
        await settle(broker, lease, Dead(FAULT))
    return job.id


@pytest.mark.parametrize("state", [State.DEAD, State.CANCELLED, State.EXPIRED])
async def test_a_replayed_job_begins_anew(
    redis: "Redis", broker: Broker, inspector: Inspector, state: State
) -> None:
    job_id = await end(redis, broker, state)
    assert await broker.replay([job_id]) == ["replayed"]
    found = await inspector.job(job_id)
    assert found is not None
    assert (found.state, found.failures, found.crashes, found.fault) == (State.WAITING, 0, 0, None)
    assert (found.ended_ms, found.expires_at_ms, found.cancel_requested) == (0, 0, False)
    left = await lifetimes(redis)
    assert left[KEYS.job(job_id)] is left[KEYS.payload(job_id)] is None
    assert KEYS.key("dead_", "etyde") not in left
    assert KEYS.key("ended_", "etyde") not in left
    before = await whole_state(redis)
    assert await broker.replay([job_id]) == ["waiting"]
    assert await whole_state(redis) == before
    assert await inspector.audit() == []
    [lease] = await Hand(broker, "again").take()
    assert lease.job_id == job_id
    assert await settle(broker, lease, Done(b"1")) == "settled"
    assert await inspector.audit() == []
    page = await store(redis, broker).page()
    assert sorted(view.record.sequence for view in page.items) == [1, 2]  # both endings are told
    assert len({view.record.id for view in page.items}) == 2


async def test_a_zombie_of_the_time_before_a_replay_changes_nothing(
    redis: "Redis", broker: Broker
) -> None:
    job = new_job()
    zombie = await leased(broker, job)
    await run_out(redis, zombie)
    [second] = await Hand(broker, "second").take()
    await settle(broker, second, Dead(FAULT))
    await broker.replay([job.id])
    before = await state_of(redis)
    for lease in (zombie, second):
        assert await settle(broker, lease, Done(b"0")) == "lost"
    assert await state_of(redis) == before


async def test_only_what_ended_badly_and_is_still_there_is_replayed(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    good, running = new_job(), new_job()
    await succeed(broker, [await leased(broker, good, "a")])
    await leased(broker, running, "b")
    dead = await end(redis, broker, State.DEAD)
    await redis.delete(KEYS.payload(dead))
    answers = await broker.replay([good.id, running.id, dead, "0-none"])
    assert answers == ["succeeded", "active", "gone", "gone"]
    assert await inspector.audit() == []


async def test_pausing_changes_no_job(redis: "Redis", broker: Broker) -> None:
    await leased(broker, new_job())
    await broker.submit([new_job(), new_job(delay_ms=60_000)])
    before = await state_of(redis)
    await broker.pause(ResourceClass.IO)
    await broker.resume(ResourceClass.IO)
    assert await state_of(redis) == before
