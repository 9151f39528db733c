"""A job that has not started gets another priority or time; what has started is left alone."""

import pytest
from redis.asyncio import Redis

from streams.broker import Broker
from streams.control import Changed, Control
from streams.inspector import Inspector
from streams.model import Again, Cancelled, Done, NewJob, Priority, State
from tests.redis.scenes import FAULT, KEYS, kinds, leased, settle, state_of, succeed
from tests.redis.test_dispatch import set_open
from tests.support.build import Hand, new_job

HIGH, NORMAL, LOW = Priority.HIGH, Priority.NORMAL, Priority.LOW


@pytest.fixture
def control(redis: "Redis", broker: Broker) -> Control:
    return Control(redis, KEYS, broker.scripts)


async def test_a_waiting_job_moves_to_another_lane(
    redis: "Redis", broker: Broker, inspector: Inspector, control: Control
) -> None:
    jobs = [new_job() for _ in range(3)]
    await broker.submit(jobs)
    assert await control.change(jobs[2].id, HIGH) is Changed.CHANGED
    found = await inspector.job(jobs[2].id)
    assert found is not None
    assert found.lane.priority is HIGH
    assert await inspector.audit() == []
    assert "changed" in await kinds(redis, jobs[2])


async def test_it_keeps_its_age(redis: "Redis", broker: Broker, control: Control) -> None:
    old, young, other = new_job(), new_job(priority="low"), new_job(priority="high")
    await set_open(redis, old.lane.resource_class, 1_000)
    await broker.submit([old])
    await set_open(redis, old.lane.resource_class, 500_000)
    await broker.submit([other])
    await control.change(old.id, HIGH)
    await broker.submit([young])
    stream = await redis.xrange(KEYS.stream("io:etyde:high:echo:"))
    assert [(row[b"j"].decode(), row[b"t"]) for _, row in stream] == [
        (other.id, b"500000"),
        (old.id, b"1000"),
    ]
    await control.change(old.id, LOW)
    lanes = await redis.zrange(KEYS.key("lanes_", "io:low"), 0, -1, withscores=True)
    assert lanes == [(b"io:etyde:low:echo:", 500_000.0)]
    await control.change(young.id, NORMAL)
    assert await redis.zrange(KEYS.key("lanes_", "io:low"), 0, -1, withscores=True) == [
        (b"io:etyde:low:echo:", 1_000.0)
    ]


async def test_an_emptied_lane_is_dropped(
    redis: "Redis", broker: Broker, control: Control, inspector: Inspector
) -> None:
    job = new_job()
    await broker.submit([job])
    await control.change(job.id, LOW)
    assert not await redis.exists(KEYS.stream("io:etyde:normal:echo:"))
    assert await inspector.lane_names() == ["io:etyde:low:echo:"]
    await succeed(broker, await Hand(broker).take())
    assert await inspector.lane_names() == []


async def test_an_urgent_one_is_leased_first(broker: Broker, control: Control) -> None:
    jobs = [new_job() for _ in range(3)]
    await broker.submit(jobs)
    await control.change(jobs[2].id, HIGH)
    assert [each.job_id for each in await Hand(broker).take(1)] == [jobs[2].id]


async def test_a_retried_job_moves_with_its_attempts(
    broker: Broker, control: Control, inspector: Inspector
) -> None:
    job = new_job()
    lease = await leased(broker, job)
    await settle(broker, lease, Again(60_000, FAULT))
    assert await control.change(job.id, HIGH, 0) is Changed.CHANGED
    (lease,) = await Hand(broker, "second").take()
    assert (lease.attempt, lease.lane.priority) == (2, HIGH)
    await settle(broker, lease, Done(b"1"))
    assert await inspector.audit() == []


async def test_a_delayed_job_gets_another_time(
    redis: "Redis", broker: Broker, control: Control, inspector: Inspector
) -> None:
    job, other = new_job(delay_ms=60_000), new_job(delay_ms=30_000)
    await broker.submit([job, other])
    later = 4_102_444_800_000
    assert await control.change(job.id, None, later) is Changed.CHANGED
    assert (await inspector.jobs_by_id([job.id]))[0].due_ms == later
    assert await redis.zscore(KEYS.key("due_", "io"), job.id) == later
    rung = await redis.xlen(KEYS.key("doorbell_", "io"))
    assert await control.change(job.id, None, 0) is Changed.CHANGED
    assert [each.job_id for each in await Hand(broker).take(5)] == [job.id]
    assert await redis.xlen(KEYS.key("doorbell_", "io")) > rung
    assert await inspector.audit() == []


async def test_changing_twice_is_changing_once(
    redis: "Redis", broker: Broker, control: Control
) -> None:
    waiting, delayed = new_job(), new_job(delay_ms=60_000)
    await broker.submit([waiting, delayed])
    await control.change(waiting.id, HIGH)
    await control.change(delayed.id, HIGH)
    before = await state_of(redis)
    await control.change(waiting.id, HIGH)
    await control.change(delayed.id, HIGH)
    assert await state_of(redis) == before


async def in_state(broker: Broker, state: State) -> NewJob:
    job = new_job()
    if state is State.WAITING:
        await broker.submit([job])
        return job
    lease = await leased(broker, job)
    if state is State.SUCCEEDED:
        await settle(broker, lease, Done(b"1"))
    return job


@pytest.mark.parametrize(
    ("state", "priority", "due_ms"),
    [
        (State.ACTIVE, HIGH, None),
        (State.ACTIVE, None, 0),
        (State.SUCCEEDED, HIGH, None),
        (State.WAITING, None, 0),
        (State.WAITING, HIGH, 4_102_444_800_000),
    ],
)
async def test_what_cannot_be_changed_stays(
    redis: "Redis",
    broker: Broker,
    control: Control,
    state: State,
    priority: Priority | None,
    due_ms: int | None,
) -> None:
    job = await in_state(broker, state)
    before = await state_of(redis)
    assert await control.change(job.id, priority, due_ms) is state
    assert await state_of(redis) == before


async def test_an_entry_that_somebody_read_is_not_touched(
    redis: "Redis", broker: Broker, control: Control
) -> None:
    job = new_job()
    await broker.submit([job])
    stream = KEYS.stream(job.lane.name)
    await redis.xreadgroup("workers", "somebody", {stream: ">"})
    before = await state_of(redis)
    assert await control.change(job.id, HIGH) is Changed.MISPLACED
    assert await state_of(redis) == before
    await broker.sweep(job.lane.name)
    assert await control.change(job.id, HIGH) is Changed.CHANGED


async def test_a_job_that_never_was(control: Control) -> None:
    assert await control.change("0-none", HIGH) is Changed.UNKNOWN


async def test_a_changed_job_is_cancelled_and_expires_as_any(
    broker: Broker, control: Control, inspector: Inspector
) -> None:
    job, other = new_job(), new_job(expires_at_ms=1)
    await broker.submit([job, other])
    for each in (job, other):
        await control.change(each.id, LOW)
    assert await broker.cancel(job.id) is Cancelled.CANCELLED
    assert await broker.expire() == 1
    assert await inspector.lane_names() == []
    assert await inspector.audit() == []
