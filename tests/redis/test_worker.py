"""The worker's engine around real Redis: attempts, time, cancelling, loss, stopping."""

import asyncio
from collections import Counter

import msgspec
import pytest
from redis.asyncio import Redis

from streams.attempt import Attempt
from streams.broker import Broker
from streams.errors import Rejected, Retry
from streams.inspector import Inspector
from streams.model import ResourceClass, State
from streams.telemetry import AttemptSettled, Happening, LeaseGone, Telemetry
from tests.redis.scenes import KEYS, events, run_out
from tests.redis.stage import Stage, echo, ended, in_state
from tests.support.build import Hand, new_job
from tests.support.plain_worker import plain_worker
from tests.support.waiting import until

IO, CPU = ResourceClass.IO, ResourceClass.CPU


async def test_jobs_are_run_and_settled(
    redis_url: str, broker: Broker, inspector: Inspector
) -> None:
    jobs = [new_job(b"%d" % n) for n in range(200)]
    jobs += [new_job(b"%d" % n, resource_class="cpu") for n in range(20)]
    await broker.submit(jobs[:100])
    async with plain_worker(broker, redis_url, echo, slots={IO: 10, CPU: 2}):
        await broker.submit(jobs[100:])
        for job in jobs:
            assert (await ended(inspector, job.id)).state is State.SUCCEEDED
            assert await inspector.result(job.id) == job.payload
    assert await inspector.audit() == []


async def test_a_waiting_worker_starts_a_job_at_once(
    redis_url: str, broker: Broker, inspector: Inspector
) -> None:
    settings = msgspec.structs.replace(broker.settings, poll_ceiling_ms=30_000)
    patient = Broker(broker._redis, KEYS, settings)
    stage = Stage()
    stage.go.set()
    async with plain_worker(patient, redis_url, stage.run) as worker:
        await until(lambda: worker.intakes[IO].look_again, what="the worker to find nothing")
        job = new_job()
        await broker.submit([job])
        await ended(inspector, job.id, 2.0)  # the bell, not the poll


@pytest.mark.parametrize(
    ("error", "state", "code", "message"),
    [
        (Rejected("no"), State.DEAD, "rejected", "no"),
        (ValueError("odd"), State.DELAYED, "processor_failed", "ValueError: odd"),
        (Retry("busy", after_s=60), State.DELAYED, "retry", "busy"),
        (TimeoutError("its own"), State.DELAYED, "processor_failed", "TimeoutError: its own"),
        (
            asyncio.CancelledError("mine"),
            State.DELAYED,
            "trouble",
            "the processor cancelled itself: mine",
        ),
        (ValueError("\udc80\t\n"), State.DELAYED, "processor_failed", "ValueError: ?\t\n"),
    ],
    ids=["rejected", "error", "retry", "own timeout", "cancels itself", "not UTF-8"],
)
async def test_what_a_processor_raises_is_judged(
    redis_url: str,
    broker: Broker,
    inspector: Inspector,
    error: BaseException,
    state: State,
    code: str,
    message: str,
) -> None:
    async def run(attempt: Attempt) -> bytes:
        raise error

    job = new_job(backoff_ms=300_000_000, backoff_max_ms=300_000_000)
    await broker.submit([job])
    async with plain_worker(broker, redis_url, run):
        found = await in_state(inspector, job.id, state)
    assert found.fault is not None
    assert (found.fault.code, found.fault.message) == (code, message)


async def test_failures_end_when_the_attempts_are_used_up(
    redis_url: str, broker: Broker, inspector: Inspector
) -> None:
    tries = Counter[str]()

    async def run(attempt: Attempt) -> bytes:
        tries[attempt.lease.job_id] += 1
        raise ValueError(f"try {tries[attempt.lease.job_id]}")

    job = new_job(attempts_max=4, backoff_ms=1)
    await broker.submit([job])
    async with plain_worker(broker, redis_url, run):
        found = await ended(inspector, job.id)
    assert (found.state, found.attempt, tries[job.id]) == (State.DEAD, 4, 4)
    assert found.fault is not None
    assert found.fault.message == "ValueError: try 4"


async def test_an_attempt_that_runs_too_long_is_stopped(
    redis_url: str, broker: Broker, inspector: Inspector
) -> None:
    stage = Stage()
    job = new_job(timeout_ms=50, attempts_max=1)
    await broker.submit([job])
    async with plain_worker(broker, redis_url, stage.run):
        found = await ended(inspector, job.id)
    assert stage.stopped == [job.id]
    assert found.fault is not None
    assert (found.fault.code, found.fault.message) == ("timed_out", "ran longer than 0.05 s")


async def test_untimed_time_is_not_counted(
    redis_url: str, broker: Broker, inspector: Inspector
) -> None:
    async def run(attempt: Attempt) -> bytes:
        with attempt.untimed():
            await asyncio.sleep(0.3)
        assert attempt.deadline is not None
        if attempt.payload == b"1":
            await asyncio.sleep(30)  # the time goes on after it
        return b"2"

    long, short = new_job(b"1", timeout_ms=200, attempts_max=1), new_job(timeout_ms=200)
    await broker.submit([long, short])
    async with plain_worker(broker, redis_url, run):
        assert (await ended(inspector, short.id)).state is State.SUCCEEDED
        found = await ended(inspector, long.id)
    assert found.fault is not None
    assert found.fault.code == "timed_out"


@pytest.mark.parametrize("untimed", [False, True])
async def test_a_running_job_is_cancelled_within_a_second(
    redis_url: str, broker: Broker, inspector: Inspector, untimed: bool
) -> None:
    stage = Stage()

    async def run(attempt: Attempt) -> bytes:
        if not untimed:
            return await stage.run(attempt)
        with attempt.untimed():
            return await stage.run(attempt)

    job = new_job()
    await broker.submit([job])
    async with plain_worker(broker, redis_url, run):
        await until(lambda: stage.started, what="the attempt")
        await broker.cancel(job.id, "not needed")
        found = await ended(inspector, job.id, 1.0)
    assert stage.stopped == [job.id]
    assert found.state is State.CANCELLED
    assert found.fault is not None
    assert found.fault.message == "not needed"


async def swallow(stage: Stage, attempt: Attempt, then: str) -> bytes:
    try:
        return await stage.run(attempt)
    except asyncio.CancelledError:
        match then:
            case "returns":
                return b'"in spite"'
            case "raises":
                raise RuntimeError("wrapped") from None
            case _:
                raise


@pytest.mark.parametrize(
    ("then", "state"),
    [
        ("returns", State.SUCCEEDED),  # work done is not thrown away
        ("raises", State.CANCELLED),
        ("passes on", State.CANCELLED),
    ],
)
async def test_a_processor_may_make_what_it_wants_of_being_cancelled(
    redis_url: str, broker: Broker, inspector: Inspector, then: str, state: State
) -> None:
    stage = Stage()
    job = new_job()
    await broker.submit([job])
    async with plain_worker(broker, redis_url, lambda a: swallow(stage, a, then)):
        await until(lambda: stage.started, what="the attempt")
        await broker.cancel(job.id)
        assert (await ended(inspector, job.id)).state is state


async def test_an_error_made_of_a_timeout_is_a_timeout(
    redis_url: str, broker: Broker, inspector: Inspector
) -> None:
    stage = Stage()
    job = new_job(timeout_ms=50, attempts_max=1)
    await broker.submit([job])
    async with plain_worker(broker, redis_url, lambda a: swallow(stage, a, "raises")):
        found = await ended(inspector, job.id)
    assert found.fault is not None
    assert found.fault.code == "timed_out"


def quick(broker: Broker, **fields: int) -> Broker:
    """The same broker with short leases."""
    given = {"lease_ms": 400, "renew_ms": 100, **fields}
    return Broker(broker._redis, KEYS, msgspec.structs.replace(broker.settings, **given))


async def test_a_long_attempt_keeps_its_lease(
    redis: "Redis", redis_url: str, broker: Broker, inspector: Inspector
) -> None:
    stage = Stage()
    job = new_job()
    await broker.submit([job])
    async with plain_worker(quick(broker), redis_url, stage.run):
        await until(lambda: stage.started, what="the attempt")
        leases = KEYS.key("leases_", "io")
        [(_, first)] = await redis.zrange(leases, 0, -1, withscores=True)

        async def renewed() -> bool:
            [(_, now)] = await redis.zrange(leases, 0, -1, withscores=True)
            return bool(now > first + 500)  # longer than a lease

        await until(renewed, what="renewals")
        assert await Hand(broker, "other").take() == []
        stage.go.set()
        assert (await ended(inspector, job.id)).attempt == 1


async def test_a_lost_lease_stops_the_attempt_and_writes_nothing(
    redis: "Redis", redis_url: str, broker: Broker, inspector: Inspector
) -> None:
    stage, telemetry = Stage(), Telemetry()
    seen: list[Happening] = []
    telemetry.listen(seen.append)
    job = new_job()
    await broker.submit([job])
    async with plain_worker(quick(broker), redis_url, stage.run, telemetry=telemetry) as worker:
        await until(lambda: stage.started, what="the attempt")
        attempt = worker.running[job.id]
        taker = Hand(broker, "taker")

        async def taken_over() -> bool:
            await run_out(redis, attempt.lease)
            return bool(await taker.take())

        await until(taken_over, what="the takeover")
        await until(lambda: stage.stopped, what="the attempt to be stopped")
        await until(lambda: not worker.running, what="the slot to be free")
    assert [type(each) for each in seen if isinstance(each, (LeaseGone, AttemptSettled))] == [
        LeaseGone
    ]
    found = await inspector.job(job.id)
    assert found is not None
    assert (found.state, found.attempt, found.crashes) == (State.ACTIVE, 2, 0)


async def test_stopping_lets_attempts_end_in_their_grace(
    redis_url: str, broker: Broker, inspector: Inspector
) -> None:
    stage = Stage()
    job = new_job()
    await broker.submit([job])
    async with plain_worker(broker, redis_url, stage.run) as worker:
        await until(lambda: stage.started, what="the attempt")
        asyncio.get_running_loop().call_later(0.1, stage.go.set)
    assert not worker.running
    found = await inspector.job(job.id)
    assert found is not None
    assert found.state is State.SUCCEEDED


@pytest.mark.parametrize("then", ["passes on", "raises"])
async def test_stopping_hands_back_what_does_not_end_and_it_keeps_its_place(
    redis_url: str, broker: Broker, inspector: Inspector, then: str
) -> None:
    stage = Stage()
    first, second = new_job(), new_job()
    await broker.submit([first])
    async with plain_worker(
        broker, redis_url, lambda a: swallow(stage, a, then), slots={IO: 1}, grace_s=0.05
    ):
        await until(lambda: stage.started, what="the attempt")
        await broker.submit([second])
    found = await inspector.job(first.id)
    assert found is not None
    assert (found.state, found.failures, found.crashes) == (State.ACTIVE, 0, 0)
    leases = await Hand(broker, "next").take(2)
    assert [lease.job_id for lease in leases] == [first.id, second.id]
    found = await inspector.job(first.id)
    assert found is not None
    assert (found.attempt, found.crashes) == (2, 0)


async def test_what_is_on_its_way_when_a_worker_stops_is_handed_back(
    redis: "Redis", redis_url: str, broker: Broker
) -> None:
    """The answer to a take that arrives after the gate was shut is no lost lease."""
    stage = Stage()
    async with asyncio.timeout(20):
        for n in range(20):
            async with plain_worker(broker, redis_url, stage.run, name=f"w{n}", grace_s=0.0):
                await broker.submit([new_job()])
    leases = await redis.zrange(KEYS.key("leases_", "io"), 0, -1, withscores=True)
    assert {score for _, score in leases} <= {0.0}  # nothing waits for a lease to run out


async def test_limits_change_while_it_runs(redis_url: str, broker: Broker) -> None:
    stage = Stage()
    await broker.submit([new_job() for _ in range(40)])
    await broker.set_limit("io", 3)
    async with plain_worker(broker, redis_url, stage.run, grace_s=0.0) as worker:
        await until(lambda: len(worker.running) == 3, what="three attempts")
        await broker.set_limit("io", None)
        await until(lambda: len(worker.running) == 10, what="ten attempts")
        worker.intakes[IO].slots = 4
        stage.go.set()
        stage.go = asyncio.Event()
        await until(lambda: 0 < len(worker.running) <= 4, what="four attempts")
        worker.intakes[IO].slots = 6
        worker.intakes[IO].dirty = True
        worker.intakes[IO].wake()
        await until(lambda: len(worker.running) == 6, what="six attempts")


async def test_large_inputs_and_results_go_through(
    redis_url: str, broker: Broker, inspector: Inspector
) -> None:
    jobs = [new_job(b'"' + b"x" * size + b'"') for size in (10, 40_000, 300_000, 2_000_000)]
    await broker.submit(jobs)
    async with plain_worker(broker, redis_url, echo):
        for job in jobs:
            assert (await ended(inspector, job.id)).state is State.SUCCEEDED
            assert await inspector.result(job.id) == job.payload


async def test_progress_is_told_and_kept(
    redis: "Redis", redis_url: str, broker: Broker, inspector: Inspector
) -> None:
    stage = Stage()

    async def run(attempt: Attempt) -> bytes:
        attempt.progress(0.25, "a line\nand\tanother\u2028and \udc80")
        return await stage.run(attempt)

    job = new_job()
    await broker.submit([job])
    async with plain_worker(broker, redis_url, run):

        async def told() -> list[dict[str, str]]:
            return [event.fields for event in await events(redis) if event.kind == "progress"]

        fields = await until(told, what="progress")
        found = await inspector.job(job.id)
        stage.go.set()
    note = "a line and another and ?"
    assert fields == [{"fraction": "0.25", "note": note}]
    assert found is not None
    assert (found.progress, found.note) == (0.25, note)
