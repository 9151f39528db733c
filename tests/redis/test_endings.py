"""Every way in which a job can end writes the same things, each exactly once (I4)."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest
from redis.asyncio import Redis

from streams.broker import Broker
from streams.inspector import Inspector
from streams.model import Again, Cancelled, Dead, Done, NewJob, Settled, State, Stopped
from tests.redis.scenes import FAULT, HOOK, KEYS, leased, run_out, settle, store, told
from tests.redis.scenes import events as all_events
from tests.support.build import Hand, new_job
from tests.support.redis_state import lifetimes, whole_state

Ending = Callable[["Redis", Broker], Awaitable[NewJob]]


async def by_success(redis: "Redis", broker: Broker) -> NewJob:
    job = told()
    assert await settle(broker, await leased(broker, job), Done(b'{"n":1}')) is Settled.SETTLED
    return job


async def by_large_result(redis: "Redis", broker: Broker) -> NewJob:
    job = told()
    lease = await leased(broker, job)
    result = b'"' + b"r" * 40_000 + b'"'
    await broker.stage(job.id, lease.token, result)
    assert await settle(broker, lease, Done(result)) is Settled.SETTLED
    return job


async def by_failure(redis: "Redis", broker: Broker) -> NewJob:
    job = told()
    assert await settle(broker, await leased(broker, job), Dead(FAULT)) is Settled.SETTLED
    return job


async def by_third_crash(redis: "Redis", broker: Broker) -> NewJob:
    job = told()
    lease = await leased(broker, job)
    for name in ("second", "third"):
        await run_out(redis, lease)
        [lease] = await Hand(broker, name).take()
    await run_out(redis, lease)
    assert await Hand(broker, "fourth").take() == []
    return job


async def by_third_crash_in_a_sweep(redis: "Redis", broker: Broker) -> NewJob:
    job = told()
    lease = await leased(broker, job)
    for name in ("second", "third"):
        await run_out(redis, lease)
        [lease] = await Hand(broker, name).take()
    await run_out(redis, lease)
    assert await broker.sweep(job.lane.name) == (1, "-")
    return job


async def by_cancel_while_waiting(redis: "Redis", broker: Broker) -> NewJob:
    job = told()
    await broker.submit([job])
    assert await broker.cancel(job.id, "no more") is Cancelled.CANCELLED
    return job


async def by_cancel_while_delayed(redis: "Redis", broker: Broker) -> NewJob:
    job = told(delay_ms=60_000)
    await broker.submit([job])
    assert await broker.cancel(job.id, "no more") is Cancelled.CANCELLED
    return job


async def by_cancel_while_active(redis: "Redis", broker: Broker) -> NewJob:
    job = told()
    lease = await leased(broker, job)
    assert await broker.cancel(job.id, "no more") is Cancelled.REQUESTED
    assert await settle(broker, lease, Stopped("cancelled")) is Settled.SETTLED
    return job


async def by_cancel_of_what_fails(redis: "Redis", broker: Broker) -> NewJob:
    job = told()
    lease = await leased(broker, job)
    await broker.cancel(job.id, "no more")
    assert await settle(broker, lease, Again(0, FAULT)) is Settled.SETTLED
    return job


async def by_cancel_of_a_dead_workers_job(redis: "Redis", broker: Broker) -> NewJob:
    job = told()
    lease = await leased(broker, job)
    await broker.cancel(job.id, "no more")
    await run_out(redis, lease)
    assert await Hand(broker, "second").take() == []
    return job


async def by_cancel_in_a_sweep(redis: "Redis", broker: Broker) -> NewJob:
    job = told()
    lease = await leased(broker, job)
    await broker.cancel(job.id, "no more")
    await run_out(redis, lease)
    assert await broker.sweep(job.lane.name) == (1, "-")
    return job


async def by_expiry_while_waiting(redis: "Redis", broker: Broker) -> NewJob:
    job = told(expires_at_ms=1)
    await broker.submit([job])
    assert await broker.expire() == 1
    return job


async def by_expiry_while_delayed(redis: "Redis", broker: Broker) -> NewJob:
    job = told(expires_at_ms=1, delay_ms=60_000)
    await broker.submit([job])
    assert await broker.expire() == 1
    return job


async def by_expiry_at_the_last_moment(redis: "Redis", broker: Broker) -> NewJob:
    """Nobody ran the chore yet, and a worker comes for the job."""
    job = told(expires_at_ms=1)
    await broker.submit([job])
    assert await Hand(broker).take() == []
    return job


CANCELLED = (State.CANCELLED, "cancelled", "no more", None)
EXPIRED = (State.EXPIRED, "expired", "not started in time", None)
CRASHED = (State.DEAD, "crashed", "the worker died 3 times while it ran this job", None)
LARGE = b'"' + b"r" * 40_000 + b'"'

# how it ends → state, fault, result, attempts
ENDINGS: list[tuple[Ending, tuple[State, str, str, bytes | None], int]] = [
    (by_success, (State.SUCCEEDED, "", "", b'{"n":1}'), 1),
    (by_large_result, (State.SUCCEEDED, "", "", LARGE), 1),
    (by_failure, (State.DEAD, "boom", "it broke", None), 1),
    (by_third_crash, CRASHED, 3),
    (by_third_crash_in_a_sweep, CRASHED, 3),
    (by_cancel_while_waiting, CANCELLED, 0),
    (by_cancel_while_delayed, CANCELLED, 0),
    (by_cancel_while_active, CANCELLED, 1),
    (by_cancel_of_what_fails, CANCELLED, 1),
    (by_cancel_of_a_dead_workers_job, CANCELLED, 1),
    (by_cancel_in_a_sweep, CANCELLED, 1),
    (by_expiry_while_waiting, EXPIRED, 0),
    (by_expiry_while_delayed, EXPIRED, 0),
    (by_expiry_at_the_last_moment, EXPIRED, 0),
]


@pytest.mark.parametrize(
    ("end", "expected", "attempts"), ENDINGS, ids=[row[0].__name__[3:] for row in ENDINGS]
)
async def test_an_ending_writes_all_that_an_ending_must(
    redis: "Redis",
    broker: Broker,
    inspector: Inspector,
    end: Ending,
    expected: tuple[State, str, str, bytes | None],
    attempts: int,
) -> None:
    state, code, message, result = expected
    job = await end(redis, broker)
    found = await inspector.job(job.id)
    assert found is not None
    fault = (found.fault.code, found.fault.message) if found.fault else ("", "")
    assert (found.state, *fault) == (state, code, message)
    assert found.ended_ms > 0
    assert await inspector.result(job.id) == result
    await _counted_and_told_once(redis, inspector, job, state)
    await _recorded_for_the_app(redis, broker, job, expected, attempts)
    await _left_nothing_behind(redis, job, state)


async def _counted_and_told_once(
    redis: "Redis", inspector: Inspector, job: NewJob, state: State
) -> None:
    counts = {name: count for name, count in (await inspector.counts()).items() if count}
    assert counts == {"io|submitted": 1, f"io|{state}": 1}
    assert await inspector.audit() == []
    endings = [event for event in await all_events(redis) if event.kind == "ended"]
    assert [(event.job_id, event.state) for event in endings] == [(job.id, state)]


async def _recorded_for_the_app(
    redis: "Redis",
    broker: Broker,
    job: NewJob,
    expected: tuple[State, str, str, bytes | None],
    attempts: int,
) -> None:
    state, code, message, result = expected
    callbacks = store(redis, broker)
    assert await callbacks.counts() == {"recorded": 1, "waiting": 1}
    [view] = (await callbacks.page()).items
    record = view.record
    fault = (record.fault.code, record.fault.message) if record.fault else ("", "")
    assert (record.job_id, record.state, *fault) == (job.id, state, code, message)
    assert (record.attempt, record.sequence, record.url) == (
        attempts,
        1,
        "https://app.example/hook",
    )
    assert record.result_bytes == len(result or b"")
    assert record.result == (result if record.result_bytes <= 16_384 else None)


async def _left_nothing_behind(redis: "Redis", job: NewJob, state: State) -> None:
    """No place is left; all that is the job's has the lifetime of its ending."""
    left = await lifetimes(redis)
    day_ms = 86_400_000
    kept_ms = 30 * day_ms if state is State.DEAD else 7 * day_ms
    for key in (KEYS.job(job.id), KEYS.payload(job.id)):
        assert kept_ms - 10_000 < (left[key] or 0) <= kept_ms
    result_ms = left.get(KEYS.result(job.id), kept_ms)
    assert kept_ms - 10_000 < (result_ms or 0) <= kept_ms
    whole = await whole_state(redis)
    listing = KEYS.key("dead_" if state is State.DEAD else "ended_", job.lane.app)
    assert list(whole[listing]) == [job.id]
    for name in ("leases_", "due_", "running_"):
        assert KEYS.key(name, "io") not in whole
    for key in (KEYS.key("streams_", "io"), KEYS.key("expiring"), KEYS.stream(job.lane.name)):
        assert key not in whole
    assert KEYS.key("lanes_", "io:normal") not in whole


@pytest.mark.parametrize(
    ("wanted", "recorded"),
    [((State.SUCCEEDED, State.DEAD), 0), ((State.CANCELLED,), 1), ((), 0)],
)
async def test_an_app_is_told_only_what_it_asked_for(
    redis: "Redis", broker: Broker, wanted: tuple[State, ...], recorded: int
) -> None:
    job = new_job(callback=msgspec.structs.replace(HOOK, events=wanted))
    await broker.submit([job])
    await broker.cancel(job.id)
    assert (await store(redis, broker).counts()).get("recorded", 0) == recorded
