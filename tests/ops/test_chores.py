"""What goes on in a gateway although no worker lives."""

import logging

import pytest
from redis.asyncio import Redis

from ops.chores import Minder
from ops.links import engine_over
from ops.settings import Settings
from ops.wiring import gateway_chores
from streams.errors import Unavailable
from streams.model import State
from tests.support.build import new_job
from tests.support.waiting import until


async def test_delays_and_expiry_need_no_worker(redis: "Redis") -> None:
    engine = engine_over(redis, Settings())
    seconds, _ = await redis.time()
    soon, late = new_job(delay_ms=50), new_job(expires_at_ms=(seconds - 1) * 1000)
    await engine.broker.submit([soon, late])
    minder = gateway_chores(engine)
    await minder.start()

    async def moved() -> bool:
        states = [job.state for job in await engine.inspector.jobs_by_id([soon.id, late.id])]
        return states == [State.WAITING, State.EXPIRED]

    await until(moved, what="both to move")
    await minder.stop()


class Odd:
    """A chore that fails as often as it is told to."""

    every_s = 0.01

    def __init__(self, name: str, failures: list[Exception]) -> None:
        self.name = name
        self.failures = failures
        self.ticks = 0

    async def tick(self) -> None:
        self.ticks += 1
        if self.failures:
            raise self.failures.pop()


async def test_an_outage_is_told_once_and_a_defect_stops_no_chore(
    caplog: pytest.LogCaptureFixture,
) -> None:
    away = Odd("away", [Unavailable("Redis is away")] * 5)
    broken = Odd("broken", [ValueError("a defect")])
    minder = Minder([away, broken])
    with caplog.at_level(logging.WARNING):
        await minder.start()
        await until(lambda: away.ticks > 8 and broken.ticks > 3, what="the chores to go on")
        await minder.stop()
    assert [record.message for record in caplog.records].count("chore waits for Redis") == 1
    assert [record.message for record in caplog.records].count("chore failed") == 1
