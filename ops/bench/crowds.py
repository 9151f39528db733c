"""What costs nothing although there are many of it: schedules, dead letters."""

import asyncio
import time

from ops.bench.drains import rate
from ops.bench.figures import Figure
from ops.bench.stage import BATCH, LANE, Stage, job
from streams.listing import JobFilter
from streams.loops.scheduler import Scheduler
from streams.model import (
    Dead,
    Fault,
    Lane,
    Priority,
    ResourceClass,
    Settlement,
    State,
    Take,
)
from streams.schedule import Schedule, Timing

DAY_MS = 86_400_000
DUE_IN_MS = 4_000  # time to store them
PAGES = 20
APPS = 10  # that the schedules are of: one app may have 1,000
DEAD = Dead(Fault("bench", "it always fails"))
ELSEWHERE = Lane(ResourceClass.IO, LANE.app, Priority.NORMAL, "fails")


async def schedules(stage: Stage, count: int, jobs: int) -> list[Figure]:
    """Ticks of many schedules that are due at once; jobs run while as many wait for their time."""
    store = stage.engine.schedules
    starts_ms = await store.now_ms() + DUE_IN_MS
    for number in range(count):
        app = f"app{number % APPS}"
        lane = Lane(ResourceClass.IO, app, Priority.NORMAL, LANE.processor)
        timing = Timing(every_ms=DAY_MS, starts_ms=starts_ms)
        await store.create(Schedule(app, f"s{number}", timing, job(lane=lane)))
    while await store.now_ms() < starts_ms:  # noqa: ASYNC110 - the server's time, which tells nobody
        await asyncio.sleep(0.1)
    scheduler = Scheduler(store)
    began = time.monotonic()
    while await store.due(await store.now_ms(), 0, 1):
        await scheduler.tick()
    ticks = count / (time.monotonic() - began)
    await stage.fill(jobs)
    did = await stage.drain(100, jobs + count)
    return [
        Figure("ticks/s", ticks, "jobs/s", f"jobs made by {count:,} schedules due at once"),
        Figure("jobs/s beside them", rate(did), "jobs/s", f"while {count:,} schedules wait"),
    ]


async def dead_letters(stage: Stage, count: int, jobs: int) -> list[Figure]:
    """Jobs run, and a page of dead letters read, while many dead letters are kept."""
    await _die(stage, count)
    began = time.monotonic()
    for _ in range(PAGES):
        found = await stage.engine.inspector.jobs(JobFilter(state=State.DEAD), limit=50)
    page_ms = 1_000 * (time.monotonic() - began) / PAGES
    await stage.fill(jobs)
    did = await stage.drain(100, jobs)
    began = time.monotonic()
    await stage.engine.broker.replay([one.id for one in found.items])
    replay_ms = 1_000 * (time.monotonic() - began)
    return [
        Figure("jobs/s beside them", rate(did), "jobs/s", f"while {count:,} dead letters are kept"),
        Figure("page of dead letters", page_ms, "ms", f"the newest 50 of {count:,}"),
        Figure("replay", replay_ms, "ms", f"of {len(found.items)} dead letters in one call"),
    ]


async def _die(stage: Stage, count: int) -> None:
    """Leave so many dead letters."""
    broker = stage.engine.broker
    await stage.fill(count, [ELSEWHERE])
    for sequence in range(1, 1 + -(-count // BATCH)):
        call = Take("bench-dead", sequence, ResourceClass.IO, "io", BATCH, [ELSEWHERE.processor])
        leases = (await broker.take(call)).leases
        await broker.settle(call.worker, [Settlement(o.job_id, o.token, DEAD) for o in leases])
