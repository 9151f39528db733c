"""The worker through every loss of Redis: flushed, killed, gone while it stops."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis

from ops.redis_binary import RedisBinary
from streams.attempt import Attempt
from streams.broker import Broker
from streams.inspector import Inspector
from streams.model import ResourceClass, Settlement, State
from streams.settings import EngineSettings
from streams.telemetry import AttemptSettled, Happening, LinkChanged, Telemetry
from tests.redis.scenes import KEYS
from tests.redis.stage import Stage, echo, ended
from tests.support.build import new_job
from tests.support.plain_worker import client, plain_worker
from tests.support.redis_server import RedisServer
from tests.support.waiting import until

IO, CPU = ResourceClass.IO, ResourceClass.CPU


async def test_work_goes_on_after_every_kind_of_flush(
    redis: "Redis", redis_url: str, broker: Broker, inspector: Inspector
) -> None:
    async with plain_worker(broker, redis_url, echo):
        for flush in (redis.script_flush, redis.flushall):
            await flush()
            job = new_job()
            await broker.submit([job])
            assert (await ended(inspector, job.id)).state is State.SUCCEEDED
        busy = new_job()
        await broker.submit([busy])
        await ended(inspector, busy.id)
    assert await inspector.audit() == []


@pytest.fixture
def lasting(redis_server: RedisServer) -> Iterator[RedisServer]:
    """A server that keeps what it was told, to be killed and started again."""
    server = RedisServer(redis_server.binary, "appendonly yes", "appendfsync always")
    yield server
    server.stop()


async def test_redis_killed_amid_work_costs_a_pause_and_no_job(lasting: RedisServer) -> None:
    telemetry, links = Telemetry(), []
    telemetry.listen(lambda each: links.append(each.up) if isinstance(each, LinkChanged) else None)
    settled = Counter[tuple[str, str]]()

    def count(each: Happening) -> None:
        if isinstance(each, AttemptSettled):
            settled[each.job_id, each.answer] += 1

    telemetry.listen(count)
    ran = Counter[str]()

    async def run(attempt: Attempt) -> bytes:
        ran[attempt.lease.job_id] += 1
        await asyncio.sleep(0.005)
        return b"1"

    async with client(lasting.url) as redis:
        broker, inspector = Broker(redis, KEYS), Inspector(redis, KEYS)
        jobs = [new_job() for _ in range(400)]
        await broker.submit(jobs)
        async with plain_worker(broker, lasting.url, run, telemetry=telemetry):
            await until(lambda: len(settled) > 50, what="some work")
            await asyncio.to_thread(lasting.kill)
            await until(lambda: False in links, what="the loss to be noticed")
            await asyncio.to_thread(lasting.restart)
            before = len(settled)
            await until(lambda: len(settled) > before + 10, what="work again", limit_s=5.0)
            await until(lambda: len(settled) >= 400, what="all work", limit_s=10.0)
        assert {ran[job.id] for job in jobs} == {1}
        assert await inspector.audit() == []
        counts = await inspector.counts()
        assert (counts["io|succeeded"], counts["io|active"], counts["io|waiting"]) == (400, 0, 0)


async def test_a_stopping_worker_does_not_wait_for_ever_for_a_dead_redis(
    redis_binary: RedisBinary,
) -> None:
    server = RedisServer(redis_binary)
    stage = Stage()
    async with client(server.url) as redis:
        broker = Broker(redis, KEYS)
        await broker.submit([new_job()])
        async with asyncio.timeout(20):
            async with plain_worker(broker, server.url, stage.run, grace_s=0.0):
                await until(lambda: stage.started, what="the attempt")
                await asyncio.to_thread(server.stop)
    assert len(stage.stopped) == 1


async def test_a_result_whose_staging_ran_out_is_staged_again(
    redis: "Redis", redis_url: str, broker: Broker, inspector: Inspector
) -> None:
    body = b'"' + b"x" * 40_000 + b'"'
    stage = Stage()

    async def run(attempt: Attempt) -> bytes:
        await stage.run(attempt)
        return body

    job = new_job()
    await broker.submit([job])
    async with plain_worker(broker, redis_url, run) as worker:
        await until(lambda: stage.started, what="the attempt")
        put = worker._committer.put
        held: list[Settlement] = []
        worker._committer.put = held.append  # type: ignore[method-assign]
        stage.go.set()
        await until(lambda: held, what="the verdict")
        await redis.delete(KEYS.staged(job.id, held[0].token))
        worker._committer.put = put  # type: ignore[method-assign]
        put(held[0])
        assert (await ended(inspector, job.id)).state is State.SUCCEEDED
    assert await inspector.result(job.id) == body


def test_a_renewal_comes_well_before_a_lease_ends() -> None:
    settings = EngineSettings()
    assert settings.renew_ms * 2 < settings.lease_ms
    assert settings.renew_ms * 1.5 <= settings.open_gap_ms
