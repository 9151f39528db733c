"""The measurements: each on an empty private Redis, with one worker process of its own."""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec
from redis import Redis

from ops.bench.worker import Measured
from ops.embedded import EmbeddedRedis
from ops.links import Engine, engine_over, open_redis
from ops.settings import RedisSettings, Settings
from streams.errors import Unavailable
from streams.ids import new_job_id
from streams.model import Lane, NewJob, Priority, ResourceClass

LANE = Lane(ResourceClass.IO, "bench", Priority.NORMAL, "noop")
PAYLOAD = msgspec.json.encode({"filler": "x" * 187})  # 200 bytes
BATCH = 1_000
LATENCY_PER_S = 100

Say = Callable[[str], None]


class Drained(msgspec.Struct, frozen=True):
    """Jobs that were waiting, run by one worker process. CPU is in seconds per 1,000 jobs."""

    slots: int
    jobs: int
    jobs_per_s: float
    worker_cpu_s_per_1k: float
    redis_cpu_s_per_1k: float
    worker_mb: float


class Figures(msgspec.Struct, frozen=True):
    """What one run measured. `append_only` says whether Redis wrote its log meanwhile."""

    redis_version: str
    append_only: bool
    enqueue_bulk_per_s: float
    bytes_per_waiting_job: float
    drains: Sequence[Drained]
    latency_p50_ms: float
    latency_p99_ms: float
    latency_jobs: int


def run(*, jobs: int, slots: Sequence[int], rounds: int, append_only: bool, say: Say) -> Figures:
    """Measure everything; medians of `rounds`. Takes some ten seconds a round."""
    return asyncio.run(_run(jobs, slots, rounds, append_only, say))


class _Series:
    """What the rounds measured so far."""

    def __init__(self) -> None:
        self.version = ""
        self.rates: list[float] = []
        self.sizes: list[float] = []
        self.drains: list[Drained] = []
        self.waits_ms: list[float] = []

    def figures(self, slots: Sequence[int], append_only: bool) -> Figures:
        """Medians over the rounds; the waits of all rounds together."""
        cuts = statistics.quantiles(self.waits_ms, n=100)
        return Figures(
            redis_version=self.version,
            append_only=append_only,
            enqueue_bulk_per_s=statistics.median(self.rates),
            bytes_per_waiting_job=statistics.median(self.sizes),
            drains=[_median([d for d in self.drains if d.slots == count]) for count in slots],
            latency_p50_ms=cuts[49],
            latency_p99_ms=cuts[98],
            latency_jobs=len(self.waits_ms),
        )


async def _run(
    jobs: int, slots: Sequence[int], rounds: int, append_only: bool, say: Say
) -> Figures:
    series = _Series()
    for number in range(1, rounds + 1):
        for count in slots:
            say(f"round {number} of {rounds}: {jobs:,} waiting jobs, {count} slots")
            with _redis(append_only) as settings:
                await _drain(series, settings, count, jobs)
        say(f"round {number} of {rounds}: latency at {LATENCY_PER_S} jobs/s")
        with _redis(append_only) as settings:
            series.waits_ms += (await _latency(settings, 10 * LATENCY_PER_S)).waits_ms
    return series.figures(slots, append_only)


async def _drain(series: _Series, settings: Settings, slots: int, jobs: int) -> None:
    async with _engine(settings) as engine:
        series.version = (await engine.redis.info("server"))["redis_version"]
        rate, size = await _fill(engine, jobs)
    series.rates.append(rate)
    series.sizes.append(size)
    series.drains.append(_drained(slots, jobs, await _work(settings, slots, jobs)))


@contextmanager
def _redis(append_only: bool) -> Iterator[Settings]:
    with (
        tempfile.TemporaryDirectory(prefix="rn-bench-") as folder,
        EmbeddedRedis(Path(folder)) as server,
    ):
        if not append_only:
            with Redis.from_url(server.url) as client:
                client.config_set("appendonly", "no")
        yield Settings(redis=RedisSettings(url=server.url))


@asynccontextmanager
async def _engine(settings: Settings) -> AsyncIterator[Engine]:
    engine = engine_over(open_redis(settings.redis, "bench"), settings)
    yield engine
    await engine.redis.aclose()


def job(payload: bytes = PAYLOAD) -> NewJob:
    """A no-op job."""
    return NewJob(id=new_job_id(time.time_ns() // 1_000_000), lane=LANE, payload=payload)


async def _fill(engine: Engine, jobs: int) -> tuple[float, float]:
    """Submit jobs in batches; (jobs/s, bytes of Redis per waiting job)."""
    await engine.broker.submit([])  # loads the script
    before = (await engine.redis.info("memory"))["used_memory"]
    batches = [[job() for _ in range(min(BATCH, jobs - at))] for at in range(0, jobs, BATCH)]
    began = time.monotonic()
    for batch in batches:
        await engine.broker.submit(batch)
    took_s = time.monotonic() - began
    after = (await engine.redis.info("memory"))["used_memory"]
    return jobs / took_s, (after - before) / jobs


async def _work(settings: Settings, slots: int, jobs: int) -> Measured:
    """One worker process that ends when `jobs` have succeeded."""
    arguments = ("-m", "ops.bench.worker", settings.redis.url, str(slots), str(jobs))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise Unavailable(f"the worker of the measurement ended with {process.returncode}")
    return msgspec.json.decode(out.splitlines()[-1], type=Measured)


async def _latency(settings: Settings, jobs: int) -> Measured:
    """Submit at a fixed rate while a worker runs; each job notes how long it waited."""
    async with _engine(settings) as engine, asyncio.TaskGroup() as group:
        working = group.create_task(_work(settings, 10, jobs))
        clock = engine.keyspace.key("clock_", ResourceClass.IO)
        while not working.done() and not await engine.redis.exists(clock):  # noqa: ASYNC110 - until it has asked
            await asyncio.sleep(0.05)
        began = time.monotonic()
        for number in range(jobs):
            await asyncio.sleep(max(0.0, began + number / LATENCY_PER_S - time.monotonic()))
            now = {"filler": "x" * 150, "submitted_s": time.monotonic()}
            await engine.broker.submit([job(msgspec.json.encode(now))])
    return working.result()


def _drained(slots: int, jobs: int, measured: Measured) -> Drained:
    return Drained(
        slots=slots,
        jobs=jobs,
        jobs_per_s=jobs / measured.seconds,
        worker_cpu_s_per_1k=1_000 * measured.worker_cpu_s / jobs,
        redis_cpu_s_per_1k=1_000 * measured.redis_cpu_s / jobs,
        worker_mb=measured.resident_mb,
    )


def _median(drains: Sequence[Drained]) -> Drained:
    """The run in the middle by jobs/s."""
    return sorted(drains, key=lambda drained: drained.jobs_per_s)[len(drains) // 2]
