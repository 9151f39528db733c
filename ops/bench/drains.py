"""How fast jobs that wait are run: by slots, by workers, behind a backlog, over lanes and apps."""

from collections.abc import Sequence
from functools import partial

import msgspec

from ops.bench.figures import Figure
from ops.bench.stage import LANE, Stage
from ops.bench.worker import Measured
from streams.model import Lane, Priority, ResourceClass


async def drain(stage: Stage, slots: int, jobs: int) -> list[Figure]:
    """No-op jobs that wait, run by one worker process."""
    await stage.fill(jobs)
    [did] = await stage.drain(slots, jobs)
    at, a = f"{slots} slots", f"one worker, {slots} slots"
    per_1k = 1_000 / jobs
    return [
        Figure(f"jobs/s, {at}", rate([did]), "jobs/s", f"waiting no-op jobs, {a}"),
        Figure(f"worker CPU, {at}", did.worker_cpu_s * per_1k, "s/1k", f"of the worker, {a}"),
        Figure(f"Redis CPU, {at}", did.redis_cpu_s * per_1k, "s/1k", f"of Redis, {a}"),
        Figure(
            f"commands, {at}",
            did.commands / jobs,
            "per job",
            "that Redis ran, those in scripts too",
        ),
        Figure(
            f"reads, {at}",
            did.reads / jobs,
            "per job",
            "socket reads at Redis: few is well batched",
        ),
        Figure(f"worker memory, {at}", did.resident_mb, "MB", "the most that the worker held"),
        Figure(
            f"other cores, {at}", did.other_cores, "cores", "kept busy by the rest of the machine"
        ),
    ]


async def workers(stage: Stage, jobs: int, slots: int, sleep_s: float = 0.0) -> list[Figure]:
    """The same by one and by two worker processes, of jobs that do nothing or that wait."""
    found, done = [], 0
    kind = f"jobs of {1_000 * sleep_s:g} ms" if sleep_s else "jobs"
    for count in (1, 2):
        await stage.fill(jobs, payload=msgspec.json.encode({"sleep_s": sleep_s}))
        done += jobs
        did = await stage.drain(slots, done, count)
        says = "one worker process" if count == 1 else "two worker processes on one Redis"
        says = f"{says}, {slots} slots each"
        found.append(Figure(f"{kind}/s, {count} of them", rate(did), "jobs/s", says))
    gain = found[1].value / found[0].value
    what = "2 where Redis and cores suffice"
    return [*found, Figure(f"{kind}, two against one", gain, "times", what)]


async def backlog(stage: Stage, waiting: Sequence[int], jobs: int) -> list[Figure]:
    """The same while many more wait."""
    found, there, done = [], 0, 0
    for depth in waiting:
        await stage.fill(depth + jobs - there)
        done += jobs
        did = await stage.drain(100, done)
        there = depth
        says = f"{jobs:,} jobs run while {depth:,} more wait"
        found.append(Figure(f"jobs/s, {depth:,} behind", rate(did), "jobs/s", says))
    flat = found[-1].value / found[0].value
    return [
        *found,
        Figure("longest against shortest", flat, "times", "1: the backlog costs nothing"),
    ]


async def lanes(stage: Stage, counts: Sequence[int], jobs: int, *, by_app: bool) -> list[Figure]:
    """The same jobs in few lanes and in many: of one app, or each of an app of its own."""
    found, done = [], 0
    what = "apps" if by_app else "lanes"
    for count in counts:
        await stage.fill(jobs, [_lane(number, by_app) for number in range(count)])
        done += jobs
        did = await stage.drain(100, done)
        redis_cpu = 1_000 * sum(each.redis_cpu_s for each in did) / jobs
        says = f"jobs of {count} {what}, 100 slots"
        found.append(Figure(f"jobs/s, {count} {what}", rate(did), "jobs/s", says))
        found.append(Figure(f"Redis CPU, {count} {what}", redis_cpu, "s/1k", f"of Redis, {says}"))
    flat = found[-2].value / found[0].value
    return [*found, Figure("most against fewest", flat, "times", f"1: {what} cost nothing")]


def _lane(number: int, by_app: bool) -> Lane:
    if by_app:
        return Lane(ResourceClass.IO, f"app{number}", Priority.NORMAL, LANE.processor)
    # Lanes of one app differ in priority, processor and model; `noop` takes any model.
    priority = list(Priority)[number % 3]
    return Lane(ResourceClass.IO, LANE.app, priority, LANE.processor, f"m{number // 3}")


def rate(did: Sequence[Measured]) -> float:
    """Jobs a second from the first start to the last end in any of the workers."""
    seconds = max(each.last_s for each in did) - min(each.first_s for each in did if each.count)
    return sum(each.count for each in did) / seconds


by_apps = partial(lanes, by_app=True)
by_lanes = partial(lanes, by_app=False)
