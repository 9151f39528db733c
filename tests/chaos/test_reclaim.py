"""One lease of a dead worker behind two thousand live ones runs within its lease and a second."""

import time

from redis.asyncio import Redis

from streams.attempt import Attempt
from streams.broker import Broker
from streams.inspector import Inspector
from streams.keyspace import Keyspace
from streams.model import ResourceClass
from streams.settings import EngineSettings
from tests.support.build import Hand, new_job
from tests.support.plain_worker import plain_worker
from tests.support.waiting import until

LIVE, PER_CALL = 2_000, 1_000
LEASE_S, PATIENCE_S = 1.5, 1.0
LIVE_LEASE_MS = 60_000


async def test_a_dead_lease_behind_two_thousand_live_ones(redis: Redis, redis_url: str) -> None:
    broker = Broker(redis, Keyspace(), EngineSettings(lease_ms=round(LEASE_S * 1000)))
    alive = Hand(broker, "alive")
    for _ in range(LIVE // PER_CALL):
        await broker.submit([new_job() for _ in range(PER_CALL)])
        assert len(await alive.take(PER_CALL, lease_ms=LIVE_LEASE_MS)) == PER_CALL
    doomed = new_job()
    await broker.submit([doomed])
    [lease] = await Hand(broker, "dead").take(1, lease_ms=round(LEASE_S * 1000))
    silent_since = time.monotonic()
    assert lease.job_id == doomed.id
    ran: list[Attempt] = []

    async def run(attempt: Attempt) -> bytes:
        ran.append(attempt)
        return b"{}"

    async with plain_worker(broker, redis_url, run, slots={ResourceClass.IO: 2}):
        await until(lambda: ran, what="the job to run again", limit_s=LEASE_S + 5)
        took_s = time.monotonic() - silent_since
        [attempt] = ran
        assert (attempt.lease.job_id, attempt.lease.attempt) == (doomed.id, 2)
    assert LEASE_S - 0.1 < took_s < LEASE_S + PATIENCE_S
    print(f"reclaimed after {took_s:.2f} s with a lease of {LEASE_S} s")
    assert (await Inspector(redis, Keyspace()).job(doomed.id)).state == "succeeded"
