"""Three workers fire, are killed and started again; Redis' clock steps: every tick is one job."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.redis_binary import RedisBinary
from streams.ids import job_id_for_tick
from streams.schedule import Misfire
from streams.schedules import ScheduleStore, Standing
from tests.e2e.platform import DURABLE, Platform, platform
from tests.support.build import new_job
from tests.support.schedules import COPENHAGEN, between, schedule
from tests.support.shifted_clock import SteppedServer
from tests.support.waiting import until

LINES = {"interval": {"every_ms": 1_000}, "line": {"cron": "*/2 * * * * *", "zone": COPENHAGEN}}


@pytest.fixture
def stepped_server(redis_binary: RedisBinary) -> Iterator[SteppedServer]:
    server = SteppedServer(redis_binary, *DURABLE)
    yield server
    server.stop()


async def standings(store: ScheduleStore) -> dict[str, Standing]:
    found = {name: await store.find(f"etyde|{name}") for name in LINES}
    return {name: standing for name, standing in found.items() if standing}


async def later(store: ScheduleStore, than_ms: int) -> bool:
    return await store.now_ms() > than_ms


async def fires(store: ScheduleStore) -> None:
    """Wait until every schedule has dealt with instants beyond now."""
    wanted_ms = await store.now_ms() + 1_500

    async def beyond() -> bool:
        return all(one.until_ms > wanted_ms for one in (await standings(store)).values())

    await until(beyond, what="the schedules to be fired", limit_s=30)


async def test_workers_die_and_the_clock_steps(
    stepped_server: SteppedServer, tmp_path: Path
) -> None:
    async with platform(stepped_server, tmp_path) as stage:
        store = ScheduleStore(stage.redis, stage.broker.keyspace, stage.broker.scripts)
        job = new_job(b'{"message": "tick"}', id="")
        first: dict[str, Standing] = {}
        for name, timing in LINES.items():
            given = schedule(name, job=job, misfire=Misfire.ALL, misfire_max=1_000, **timing)
            first[name] = await store.create(given)
        starting = (stage.worker(f"w{number}") for number in range(3))
        workers = list(await asyncio.gather(*starting))
        await fires(store)

        workers[0].kill()
        stepped_server.step_to(45_000)
        await fires(store)
        workers.append(await stage.worker("w3"))

        stepped_server.step_to(0)  # back: the last three quarters of a minute come again
        workers[1].kill()
        workers.append(await stage.worker("w4"))
        before = await standings(store)
        now_ms = await store.now_ms()
        await until(lambda: later(store, now_ms + 2_500), what="two rounds of chores")
        assert await standings(store) == before
        stepped_server.step_to(200_000)  # ahead, with many ticks missed on the way
        workers[2].kill()
        await fires(store)

        for worker in workers[3:]:
            worker.kill()
        await check_jobs(stage, store, first)


async def check_jobs(stage: Platform, store: ScheduleStore, first: dict[str, Standing]) -> None:
    """Exactly the instants that were dealt with have a job each, and none had two."""
    expected: list[str] = []
    for name, standing in (await standings(store)).items():
        ticks = between(standing.schedule.timing, first[name].next_ms - 1, standing.until_ms)
        assert (standing.fired, standing.missed, standing.skipped) == (len(ticks), 0, 0)
        expected += [job_id_for_tick(standing.schedule.key, tick) for tick in ticks]
    events = Counter(event.job_id for event in await stage.events() if event.kind == "submitted")
    assert events == Counter(expected)
    counts = await stage.inspector.counts()
    assert counts["io|submitted"] == len(expected) > 200
    assert {job.id for job in (await stage.jobs(expected)).values()} == set(expected)
    print(f"ticks {len(expected)}")
