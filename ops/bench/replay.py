"""A day of work played through the real platform against a simulated Ollama, on a fast clock.

Redis, the scripts, the worker, its runtime and its adapter are the real ones; only the GPU is
simulated. What they cost counts as time of the GPU, `speed` times as much: too fast a clock makes
every policy look worse.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec

from ops.bench.replay_worker import PROCESSOR, PROMPT, Told
from ops.bench.workload import HOUR_S, LOADS_S, Work
from ops.embedded import EmbeddedRedis
from ops.links import Engine, engine_over, open_redis
from ops.settings import RedisSettings, Settings
from ops.sim_ollama import ModelSpec, SimConfig, SimServer
from ops.sim_ollama.text import fixture_key
from streams.ids import new_job_id
from streams.model import Job, Lane, NewJob, Priority, ResourceClass

TOKEN_S = 2.0  # of the simulated clock: how finely run times are told apart
WORDS = "ord " * 80  # more than any answer has tokens
LATE_MAX_S = 900.0  # real seconds that a backlog may take beyond the played time
LOOK_S = 0.25

Say = Callable[[str], None]


class Waits(msgspec.Struct, frozen=True):
    """Seconds of the simulated clock from a job's submit to the start of its answer."""

    jobs: int
    p50_s: float
    p99_s: float
    most_s: float


class Replayed(msgspec.Struct, frozen=True):
    """What one policy made of the same work. `beside_s`: what a job cost beside run and load."""

    policy: str
    jobs: int
    done_per_h: float  # within the hours in which work came in
    swaps_per_h: float
    swap_share: float  # of all time
    waits: Mapping[Priority, Waits]
    beside_s: float


class Stage:
    """A Redis, a simulated Ollama, and a way to work on them by one policy."""

    def __init__(self, engine: Engine, told: Told) -> None:
        self.engine = engine
        self.told = told
        self._workers = 0

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[None]:
        """A worker process, until the block ends."""
        self._workers += 1
        told = msgspec.structs.replace(self.told, number=self._workers)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ops.bench.replay_worker"), stdin=asyncio.subprocess.PIPE
        )
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(told) + b"\n")
        clock = self.engine.keyspace.key("clock_", ResourceClass.OLLAMA)
        before = await self.engine.redis.hget(clock, "seen")
        while await self.engine.redis.hget(clock, "seen") == before:  # noqa: ASYNC110 - it has asked
            await asyncio.sleep(0.02)
        try:
            yield
        finally:
            process.stdin.close()
            await process.wait()

    async def feed(self, works: Sequence[Work], began: float) -> list[str]:
        """Submit each job when it is due; `began` is the monotonic time of its 0. The ids."""
        ids: list[str] = []
        for due in _together(works, self.told.speed):
            await asyncio.sleep(max(0.0, began + due[0].at_s / self.told.speed - time.monotonic()))
            jobs = [_job(work) for work in due]
            await self.engine.broker.submit(jobs)
            ids += [job.id for job in jobs]
        return ids

    async def ended(self, ids: Sequence[str]) -> list[Job]:
        """The jobs once all have ended. Raises TimeoutError after LATE_MAX_S."""
        async with asyncio.timeout(LATE_MAX_S):
            while not await self._idle():  # noqa: ASYNC110 - another process works
                await asyncio.sleep(LOOK_S)
        found: list[Job] = []
        for start in range(0, len(ids), 500):
            found += await self.engine.inspector.jobs_by_id(ids[start : start + 500])
        return found

    async def _idle(self) -> bool:
        counts = await self.engine.inspector.counts()
        states = ("waiting", "active", "delayed")
        return not any(counts.get(f"ollama|{state}", 0) for state in states)


@asynccontextmanager
async def stage(policy: str, speed: float, seed: int) -> AsyncIterator[Stage]:
    """An empty Redis and an idle Ollama."""
    with _servers(speed, seed) as (redis, ollama, folder):
        settings = Settings(redis=RedisSettings(url=redis))
        engine = engine_over(open_redis(settings.redis, "bench"), settings)
        yield Stage(engine, Told(redis, ollama, str(folder), policy, speed, 0))
        await engine.redis.aclose()


async def replay(policy: str, works: Sequence[Work], hours: float, speed: float) -> Replayed:
    """Play the work by one policy."""
    async with stage(policy, speed, seed=len(works)) as played, played.worker():
        began_ms = int((await played.engine.redis.time())[0]) * 1_000
        ids = await played.feed(works, time.monotonic())
        jobs = await played.ended(ids)
    return summary(policy, list(zip(works, jobs, strict=True)), (began_ms, hours, speed))


def summary(
    policy: str, played: Sequence[tuple[Work, Job]], over: tuple[int, float, float]
) -> Replayed:
    """The figures of jobs that have all ended; `over`: start in wall ms, hours, speed."""
    began_ms, hours, speed = over
    scale = speed / 1_000  # from real ms to simulated seconds
    end_ms = began_ms + hours * HOUR_S * 1_000 / speed
    last_ms = max(job.ended_ms for _, job in played)
    span_s = max(end_ms, last_ms) * scale - began_ms * scale
    loads_s = [job.usage.load_s * speed for _, job in played if job.usage and job.usage.swaps]
    waits: dict[Priority, list[float]] = {}
    beside = []
    for work, job in played:
        load_s = job.usage.load_s * speed if job.usage else 0.0
        waits.setdefault(work.priority, []).append(waited_s(job, speed))
        beside.append((job.ended_ms - job.started_ms) * scale - load_s - _tokens(work) * TOKEN_S)
    return Replayed(
        policy=policy,
        jobs=len(played),
        done_per_h=sum(job.ended_ms <= end_ms for _, job in played) / hours,
        swaps_per_h=len(loads_s) / (span_s / HOUR_S),
        swap_share=sum(loads_s) / span_s,
        waits={priority: _waits(waits[priority]) for priority in Priority if priority in waits},
        beside_s=statistics.mean(beside),
    )


def waited_s(job: Job, speed: float) -> float:
    """Simulated seconds from the submit to the answer's start, the load included."""
    load_s = job.usage.load_s if job.usage else 0.0
    return ((job.started_ms - job.submitted_ms) / 1_000 + load_s) * speed


def _waits(seconds: Sequence[float]) -> Waits:
    ordered = sorted(seconds)
    at = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99)]
    return Waits(len(ordered), at[0], at[1], ordered[-1])


@contextmanager
def _servers(speed: float, seed: int) -> Iterator[tuple[str, str, Path]]:
    tags = {name: f"{name}:latest" for name in LOADS_S}
    models = {
        tags[name]: ModelSpec(
            20_000_000_000, name, "", load_s=s, tokens_per_s=1 / TOKEN_S, prompt_tokens_per_s=1e6
        )
        for name, s in LOADS_S.items()
    }
    fixtures = {fixture_key(tag, [("user", PROMPT)]): WORDS for tag in tags.values()}
    config = SimConfig(models, speed=speed, seed=seed, unload_s=0.0, fixtures=fixtures)
    with tempfile.TemporaryDirectory(prefix="rn-bench-") as name:
        folder = Path(name)
        with EmbeddedRedis(folder) as redis, SimServer(config=config).in_thread() as ollama:
            yield redis.url, ollama, folder


def _together(works: Sequence[Work], speed: float) -> Iterator[list[Work]]:
    """Jobs that come within two real milliseconds of each other go in one call."""
    due: list[Work] = []
    for work in works:
        if due and (work.at_s - due[0].at_s) / speed > 0.002:
            yield due
            due = []
        due.append(work)
    if due:
        yield due


def _job(work: Work) -> NewJob:
    lane = Lane(ResourceClass.OLLAMA, "bench", work.priority, PROCESSOR, work.model)
    payload = msgspec.json.encode({"tokens": _tokens(work)})
    return NewJob(new_job_id(time.time_ns() // 1_000_000), lane, payload, timeout_ms=600_000)


def _tokens(work: Work) -> int:
    return max(1, round(work.run_s / TOKEN_S))
