"""Compares dispatch rules: the same day of work by each, and what an outage does to urgent work."""

import asyncio
import time
from collections.abc import Sequence

import msgspec
from msgspec import structs

from ops.bench.policies import OURS
from ops.bench.replay import LOOK_S, Replayed, Say, Stage, replay, stage, waited_s
from ops.bench.workload import EDIT, HOUR_S, Work, day, scale_for
from streams.model import Job, Priority, ResourceClass

SEED = 1_000
OUTAGE_H = 8.0
OPEN_H = 0.5  # worked before the outage
LATER_S = 300.0  # when the second urgent job comes, after the return


class Outage(msgspec.Struct, frozen=True):
    """How long urgent jobs wait, in simulated seconds, behind what an outage left."""

    hours: float
    backlog: int
    first_s: float  # one that came as the worker returned
    later_s: float  # one that came five minutes later, when another model was in memory


class Compared(msgspec.Struct, frozen=True):
    """All that was measured."""

    hours: float
    load: float
    speed: float
    policies: tuple[Replayed, ...]
    outage: Outage


def compare(
    *, policies: Sequence[str], hours: float, load: float, speed: float, at_once: bool, say: Say
) -> Compared:
    """Replay the work by each policy, then the outage by ours."""
    return asyncio.run(_compare(policies, hours, load, (speed, at_once, say)))


async def _compare(
    policies: Sequence[str], hours: float, load: float, how: tuple[float, bool, Say]
) -> Compared:
    speed, at_once, say = how
    works = day(SEED, hours, scale_for(load))
    say(
        f"{len(works):,} jobs of {hours:g} h at {speed:g} times the clock: "
        f"{hours * HOUR_S / speed / 60:.0f} min {'in all' if at_once else 'for each policy'}"
    )
    room = asyncio.Semaphore(len(policies) if at_once else 1)

    async def one(policy: str) -> Replayed:
        async with room:
            say(f"{policy}: begun")
            found = await replay(policy, works, hours, speed)
            say(f"{policy}: {found.done_per_h:.0f} jobs/h, {found.swaps_per_h:.0f} swaps/h")
            return found

    async with asyncio.TaskGroup() as group:
        replaying = [group.create_task(one(policy)) for policy in policies]
    say(f"an outage of {OUTAGE_H:g} h")
    outage = await _outage(load, speed)
    return Compared(hours, load, speed, tuple(each.result() for each in replaying), outage)


async def _outage(load: float, speed: float) -> Outage:
    """A worker works off what there is and goes; what comes then is the backlog of its return."""
    works = [
        work
        for work in day(SEED, OPEN_H + OUTAGE_H, scale_for(load))
        if work.priority is not Priority.HIGH
    ]
    opened_s = OPEN_H * HOUR_S
    before = [work for work in works if work.at_s < opened_s]
    missed = [structs.replace(w, at_s=w.at_s - opened_s) for w in works[len(before) :]]
    async with stage(OURS, speed, seed=len(works)) as played:
        broker = played.engine.broker
        async with played.worker():
            await played.ended(await played.feed(before, time.monotonic()))
        began = time.monotonic()
        ids = await played.feed(missed, began)
        await asyncio.sleep(max(0.0, began + OUTAGE_H * HOUR_S / speed - time.monotonic()))
        await broker.pause(ResourceClass.OLLAMA)  # until the worker is there: its boot is no wait
        async with played.worker():
            urgent = await _urgent(played)
            await broker.resume(ResourceClass.OLLAMA)
            first = await _ended(played, urgent)
            await asyncio.sleep(LATER_S / speed)
            later = await _ended(played, await _urgent(played))
    return Outage(OUTAGE_H, len(ids), waited_s(first, speed), waited_s(later, speed))


async def _urgent(played: Stage) -> str:
    """An urgent job that comes now; its id."""
    [job_id] = await played.feed([Work(0.0, EDIT.priority, EDIT.model, EDIT.mean_s)], 0.0)
    return job_id


async def _ended(played: Stage, job_id: str) -> Job:
    """The job, once it has ended."""
    while True:
        job = await played.engine.inspector.job(job_id)
        if job is not None and job.state.ended:
            return job
        await asyncio.sleep(LOOK_S)
