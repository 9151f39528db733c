"""Whoever ends a stage moves its flow: endings by policies; flows that are stopped, retried."""

from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from streams.broker import Broker
from streams.flow import OnFailure, stage_job
from streams.flows import FlowStore
from streams.inspector import Inspector
from streams.keyspace import FLOW
from streams.model import (
    Again,
    Cancelled,
    Dead,
    Done,
    Fault,
    Lease,
    Parked,
    Settled,
    State,
    Stopped,
)
from tests.redis.scenes import KEYS, run_out, settle
from tests.redis.test_flows import flow, stage
from tests.support.build import PROCESSORS, Hand

BOOM = Fault("boom", "bang")
FAIL, CONTINUE, SKIP = OnFailure


class Play:
    """A flow of two stages, `odd` and `after`, played by hand."""

    def __init__(self, redis: "Redis", broker: Broker) -> None:
        self.redis = redis
        self.broker = broker
        self.inspector = Inspector(redis, KEYS)
        self.store = FlowStore(redis, broker)
        self.hand = Hand(broker, processors=(*PROCESSORS, FLOW))
        self.flow_id = ""

    async def begin(self, policy: OnFailure) -> Lease:
        """Plants the flow; the lease of `odd`."""
        job = flow(stage("odd", on_failure=policy), stage("after", "odd"))
        self.flow_id = job.id
        await self.broker.submit([job])
        [lease] = await self.hand.take()
        await self.store.plant(lease, job.payload)
        assert await settle(self.broker, lease, Parked()) is Settled.SETTLED
        [odd] = await self.hand.take(5)
        assert odd.stage == "odd"
        return odd

    async def state(self, name: str = "") -> State:
        job = await self.inspector.job(stage_job(self.flow_id, name) if name else self.flow_id)
        assert job is not None
        return job.state

    async def finish(self) -> None:
        """Lets what still runs of the flow succeed."""
        for _ in range(5):
            await self.store.tick()
            for lease in await self.hand.take(5):
                await settle(self.broker, lease, Done(b"1"))
        await self.store.tick()
        assert await self.inspector.audit() == []
        assert not (await self.inspector.counts()).get("io|blocked")


@pytest.fixture
def play(redis: "Redis", broker: Broker) -> Play:
    return Play(redis, broker)


async def settled_dead(play: Play, odd: Lease) -> None:
    await settle(play.broker, odd, Dead(BOOM))


async def out_of_tries(play: Play, odd: Lease) -> None:
    await settle(play.broker, odd, Again(0, BOOM))
    [again] = await play.hand.take()
    await settle(play.broker, again, Dead(BOOM))


async def third_crash(play: Play, odd: Lease) -> None:
    for _ in range(2):
        await run_out(play.redis, odd)
        [odd] = await play.hand.take()
    await run_out(play.redis, odd)
    await play.hand.take()


async def third_crash_swept(play: Play, odd: Lease) -> None:
    await play.redis.hset(KEYS.job(odd.job_id), "crashes", 2)
    await run_out(play.redis, odd)
    await play.broker.sweep(odd.lane.name)


async def cancelled_running(play: Play, odd: Lease) -> None:
    assert await play.broker.cancel(odd.job_id) is Cancelled.REQUESTED
    await settle(play.broker, odd, Stopped("cancelled"))


async def cancelled_waiting(play: Play, odd: Lease) -> None:
    await settle(play.broker, odd, Again(60_000, BOOM))
    assert await play.broker.cancel(odd.job_id) is Cancelled.CANCELLED


async def cancelled_then_lost(play: Play, odd: Lease) -> None:
    await play.broker.cancel(odd.job_id)
    await run_out(play.redis, odd)
    await play.hand.take()


ENDINGS: list[Callable[[Play, Lease], Awaitable[None]]] = [
    settled_dead,
    out_of_tries,
    third_crash,
    third_crash_swept,
    cancelled_running,
    cancelled_waiting,
    cancelled_then_lost,
]
MEANS = {
    FAIL: (State.DEAD, State.CANCELLED),
    CONTINUE: (State.SUCCEEDED, State.SUCCEEDED),
    SKIP: (State.SUCCEEDED, State.CANCELLED),
}


@pytest.mark.parametrize("policy", OnFailure)
@pytest.mark.parametrize("ending", ENDINGS, ids=lambda each: each.__name__)
async def test_every_ending_moves_the_flow(
    play: Play, policy: OnFailure, ending: Callable[[Play, Lease], Awaitable[None]]
) -> None:
    await ending(play, await play.begin(policy))
    await play.finish()
    assert (await play.state(), await play.state("after")) == MEANS[policy]
    assert await play.state("odd") in (State.DEAD, State.CANCELLED)


async def test_success_moves_it_too_and_only_once(play: Play) -> None:
    odd = await play.begin(FAIL)
    for _ in range(3):
        await settle(play.broker, odd, Done(b"1"))
    assert await play.state("after") is State.WAITING
    await play.finish()
    assert await play.state() is State.SUCCEEDED


async def test_a_flow_is_cancelled_whole(play: Play) -> None:
    odd = await play.begin(FAIL)
    assert await play.broker.cancel(play.flow_id, "enough") is Cancelled.REQUESTED
    assert await play.state("after") is State.CANCELLED
    assert await play.state() is State.BLOCKED  # odd still runs
    told = await play.broker.renew(play.hand.id, [(odd.job_id, odd.token)], 30_000)
    assert odd.job_id in told.cancel
    await settle(play.broker, odd, Stopped())
    await play.finish()
    job = await play.inspector.job(play.flow_id)
    assert job is not None
    assert (job.state, job.fault) == (State.CANCELLED, Fault("cancelled", "enough"))


async def test_a_flow_that_does_not_end_in_time_is_stopped(redis: "Redis", play: Play) -> None:
    odd = await play.begin(FAIL)
    await redis.zadd(KEYS.key("expiring"), {play.flow_id: 1})
    assert await play.broker.expire() == 1
    await settle(play.broker, odd, Stopped())
    await play.finish()
    job = await play.inspector.job(play.flow_id)
    assert job is not None
    assert (job.state, job.fault and job.fault.code) == (State.DEAD, "deadline")


async def test_a_retry_keeps_what_succeeded(play: Play) -> None:
    odd = await play.begin(FAIL)
    await settle(play.broker, odd, Done(b'"kept"'))
    [after] = await play.hand.take()
    await settle(play.broker, after, Dead(BOOM))
    await play.finish()
    assert await play.state() is State.DEAD
    assert await play.broker.replay([after.job_id]) == ["in_flow"]
    assert await play.broker.replay([play.flow_id]) == ["replayed"]
    [own] = await play.hand.take(5)
    assert own.lane.processor == FLOW
    await play.store.plant(own, own.payload or b"")
    await settle(play.broker, own, Parked())
    [again] = await play.hand.take(5)
    assert (again.stage, again.job_id) == ("after", after.job_id)
    await settle(play.broker, again, Done(b"2"))
    await play.finish()
    assert await play.state() is State.SUCCEEDED
    assert await play.inspector.result(odd.job_id) == b'"kept"'


async def test_planting_may_be_repeated_and_is_fenced(redis: "Redis", play: Play) -> None:
    job = flow(stage("one"), stage("two", "one"))
    await play.broker.submit([job])
    [lease] = await play.hand.take()
    await play.store.plant(lease, job.payload)
    await run_out(redis, lease)
    other = Hand(play.broker, "other", processors=(FLOW,))
    [again] = await other.take()
    await play.store.plant(again, job.payload)
    with pytest.raises(Exception, match="lost"):
        await play.store.plant(lease, job.payload)
    assert await settle(play.broker, lease, Parked()) is Settled.LOST
    assert await settle(play.broker, again, Parked()) is Settled.SETTLED
    play.flow_id = job.id
    await play.finish()
    assert await play.state() is State.SUCCEEDED
    assert await redis.llen(KEYS.key("flow_jobs_", job.id)) == 2


async def test_stages_may_end_before_the_flows_own_job_is_parked(play: Play) -> None:
    job = flow(stage("one"))
    await play.broker.submit([job])
    [lease] = await play.hand.take()
    await play.store.plant(lease, job.payload)
    [one] = await play.hand.take()
    await settle(play.broker, one, Done(b"1"))
    play.flow_id = job.id
    assert await play.state() is State.ACTIVE
    await settle(play.broker, lease, Parked())
    assert await play.state() is State.SUCCEEDED
    await play.finish()


async def test_a_flow_whose_own_job_dies_takes_its_stages_along(redis: "Redis", play: Play) -> None:
    job = flow(stage("one"), stage("two", "one"))
    play.flow_id = job.id
    await play.broker.submit([job])
    [lease] = await play.hand.take()
    await play.store.plant(lease, job.payload)
    await settle(play.broker, lease, Dead(BOOM))
    await play.finish()
    assert [await play.state(name) for name in ("one", "two", "")] == [
        State.CANCELLED,
        State.CANCELLED,
        State.DEAD,
    ]
