"""Leases ahead of their slots: what short jobs gain and long ones do not lose."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from redis.asyncio import Redis

from streams.attempt import Attempt
from streams.broker import Broker
from streams.inspector import Inspector
from streams.model import NewJob, ResourceClass, State
from streams.worker import Worker
from tests.redis.scenes import KEYS, kinds
from tests.redis.stage import Stage, ended
from tests.support.build import Hand, new_job
from tests.support.plain_worker import plain_worker
from tests.support.waiting import until

IO, SLOTS = ResourceClass.IO, 2
FOR_EVER_MS = 60_000


class Mixed(Stage):
    """Short jobs, and long ones that wait to be told."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._running = 0

    async def run(self, attempt: Attempt) -> bytes:
        self._running += 1
        self.most = max(self.most, self._running)
        try:
            return await super().run(attempt) if attempt.payload == b'"long"' else b"1"
        finally:
            self._running -= 1


def patient(broker: Broker, ahead_ms: int) -> Broker:
    """A broker whose workers let leases wait for that long."""
    return Broker(broker._redis, KEYS, msgspec.structs.replace(broker.settings, ahead_ms=ahead_ms))


def long_jobs(count: int) -> list[NewJob]:
    return [new_job(b'"long"') for _ in range(count)]


@asynccontextmanager
async def warm_worker(
    broker: Broker, redis_url: str, stage: Mixed, inspector: Inspector, **fields: float
) -> AsyncIterator[Worker]:
    """A worker that has seen nothing but short jobs."""
    slots = {IO: SLOTS}
    async with plain_worker(broker, redis_url, stage.run, slots=slots, **fields) as worker:  # type: ignore[arg-type]
        for job in (jobs := [new_job() for _ in range(300)]):
            await broker.submit([job])
        await ended(inspector, jobs[-1].id)
        await until(lambda: worker.intakes[IO].ahead > SLOTS, what="leases ahead to be allowed")
        yield worker


async def test_short_jobs_end_once_and_never_more_run_than_there_are_slots(
    redis_url: str, broker: Broker, inspector: Inspector
) -> None:
    stage = Mixed()
    async with warm_worker(broker, redis_url, stage, inspector):
        jobs = [new_job() for _ in range(500)]
        await broker.submit(jobs)
        for job in jobs:
            assert (await ended(inspector, job.id)).attempt == 1
    assert stage.most <= SLOTS
    assert await inspector.audit() == []


async def test_leases_that_cannot_start_go_back_to_whoever_can_run_them(
    redis: "Redis", redis_url: str, broker: Broker, inspector: Inspector
) -> None:
    stage, jobs = Mixed(), long_jobs(12)
    async with warm_worker(broker, redis_url, stage, inspector) as worker:
        await broker.submit(jobs)
        await until(lambda: len(worker.running) == SLOTS, what="its slots to be full")
        other, taken = Hand(broker, "other"), set[str]()

        async def all_are_leased() -> bool:
            taken.update(lease.job_id for lease in await other.take(12))
            return len(taken) == len(jobs) - SLOTS

        await until(all_are_leased, what="another worker to get what waited")
        assert set(stage.started) == {job.id for job in jobs} - taken
        back = [job for job in jobs if "handed_back" in await kinds(redis, job)]
        assert back
        assert {job.id for job in back} <= taken
        for job in back:
            assert (await inspector.job(job.id)).failures == 0  # type: ignore[union-attr]
        stage.go.set()


async def test_a_cancel_reaches_a_job_that_waits_for_its_slot(
    redis_url: str, broker: Broker, inspector: Inspector
) -> None:
    stage, jobs = Mixed(), long_jobs(SLOTS + 4)
    at_leisure = patient(broker, FOR_EVER_MS)
    async with warm_worker(at_leisure, redis_url, stage, inspector, grace_s=0.0) as worker:
        await broker.submit(jobs)
        await until(lambda: worker.intakes[IO].held == 4, what="leases that wait")
        [waiting] = [job for job in jobs[-1:] if job.id not in stage.started]
        await broker.cancel(waiting.id, "not needed")
        assert (await ended(inspector, waiting.id)).state is State.CANCELLED
        assert waiting.id not in stage.started
        assert worker.intakes[IO].held == 3


async def test_a_stop_hands_back_at_once_what_waits(
    redis: "Redis", redis_url: str, broker: Broker, inspector: Inspector
) -> None:
    stage, jobs = Mixed(), long_jobs(SLOTS + 4)
    at_leisure = patient(broker, FOR_EVER_MS)
    async with warm_worker(at_leisure, redis_url, stage, inspector, grace_s=0.0) as worker:
        await broker.submit(jobs)
        await until(lambda: worker.intakes[IO].held == 4, what="leases that wait")
    leases = await redis.zrange(KEYS.key("leases_", "io"), 0, -1, withscores=True)
    assert len(leases) == len(jobs)
    assert {score for _, score in leases} == {0.0}
    assert len(await Hand(broker, "other").take(10)) == len(jobs)


async def test_where_it_is_switched_off_nothing_is_leased_before_its_slot_is_free(
    redis: "Redis", redis_url: str, broker: Broker, inspector: Inspector
) -> None:
    stage, most = Mixed(), 0
    off = patient(broker, 0)
    async with plain_worker(off, redis_url, stage.run, slots={IO: SLOTS}):
        jobs = [new_job() for _ in range(200)]
        await broker.submit(jobs)
        while not (await inspector.job(jobs[-1].id)).state.ended:  # type: ignore[union-attr]
            most = max(most, await redis.zcard(KEYS.key("leases_", "io")))
            await asyncio.sleep(0)
    assert 0 < most <= 2 * SLOTS, "settling overlaps with the next lease, no more"
