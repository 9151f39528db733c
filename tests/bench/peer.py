"""Roughneck among other queues: `python -m tests.bench.peer PHASE --n … --concurrency …`.

For any harness that starts one process for a phase, each over the Redis of `--port` on the
loopback, and reads the one line of JSON that it prints. Producers are `fill`, `enqueue` (one after
the other, each awaited) and `bulk` (`--chunk` jobs a call), with `latproducer` and `slowfill` for
the workers `latworker` and `slowworker`; `drain` is the worker of no-op jobs. Jobs carry 200 bytes.

The worker is what `roughneck worker` runs, its journal and its chores too, with the log at
`warning`; results, events and records of ended jobs are kept. The clock and all counters are read
when the first job starts and when the last one ends.
"""

import argparse
import asyncio
import logging
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from redis.asyncio import Redis

from ops.bench import meter
from ops.bench.figures import percentile
from ops.bench.worker import Spec, resident_mb, say, settings_of
from ops.links import Engine, opened_engine
from ops.settings import Settings
from ops.worker_process import WorkerProcess
from processors.dependencies.ollama import OllamaProvider
from processors.sdk import Manifest, ResourceClass, processor
from processors.sdk.declaration import Processor, declared
from processors.sdk.registry import Registry
from streams.ids import new_job_id
from streams.model import Lane, NewJob, Priority

Fields = Mapping[str, Any]
SETTLING_S = 1.5  # for what is still on its way when the last job has ended
FILL_CHUNK = 500
WARM_JOBS = 200


class Body(msgspec.Struct):
    """What a job carries: when it was sent (ns), or its number; the rest fills it up."""

    t: int = 0
    order: int = 123456
    email: str = "someone@example.com"
    pad: str = ""


def payload(t: int = 0) -> bytes:
    """A JSON object of 200 bytes."""
    body = Body(t)
    body.pad = "x" * max(0, 200 - len(msgspec.json.encode(body)))
    return msgspec.json.encode(body)


def job(name: str, t: int = 0) -> NewJob:
    """A job of one of the three processors."""
    lane = Lane(ResourceClass.IO, "peer", Priority.NORMAL, name)
    return NewJob(id=new_job_id(time.time_ns() // 1_000_000), lane=lane, payload=payload(t))


# ---------------------------------------------------------------- producers


async def enqueue(engine: Engine, given: argparse.Namespace) -> Fields:
    for _ in range(WARM_JOBS):
        await engine.broker.submit([job("noop")])
    first = await look(engine.redis)
    for _ in range(given.n):
        await engine.broker.submit([job("noop")])
    return since(first, await look(engine.redis), given.n)


async def bulk(engine: Engine, given: argparse.Namespace) -> Fields:
    await engine.broker.submit([job("noop") for _ in range(100)])
    first = await look(engine.redis)
    await submit_all(engine, given.n, given.chunk)
    return {"chunk": given.chunk, **since(first, await look(engine.redis), given.n)}


async def fill(engine: Engine, given: argparse.Namespace) -> Fields:
    before, began = await used_memory(engine.redis), time.monotonic()
    await submit_all(engine, given.n, FILL_CHUNK)
    took_s = time.monotonic() - began
    size = (await used_memory(engine.redis) - before) / given.n
    return {
        "jobs": given.n,
        "bytes_per_waiting_job": round(size),
        "fill_per_s": round(given.n / took_s),
    }


async def latproducer(engine: Engine, given: argparse.Namespace) -> None:
    for warm in (True, False):
        began = time.monotonic()
        for number in range(given.rate if warm else given.n):
            await asyncio.sleep(max(0.0, began + number / given.rate - time.monotonic()))
            await engine.broker.submit([job("stamp", 0 if warm else time.monotonic_ns())])


async def slowfill(engine: Engine, given: argparse.Namespace) -> None:
    await engine.broker.submit([job("slow", given.first + number) for number in range(given.n)])


async def submit_all(engine: Engine, count: int, chunk: int) -> None:
    for at in range(0, count, chunk):
        await engine.broker.submit([job("noop") for _ in range(min(chunk, count - at))])


# ---------------------------------------------------------------- the worker


class PeerWorker(WorkerProcess):
    """The worker with the processors of a harness alone."""

    def __init__(self, settings: Settings, processors: list[Processor]) -> None:
        super().__init__(settings)
        self._processors = processors

    async def _registry(self, ollama: OllamaProvider) -> Registry:
        return Registry(self._processors)


class Watch:
    """Notes what a harness asks for: the first start, the last end, waits, starts and ends."""

    def __init__(self, redis: "Redis", given: argparse.Namespace) -> None:
        self.given = given
        self.ended = asyncio.Event()
        self._redis = redis
        self._count = 0
        self._first: Looked | None = None
        self._waits_ms: list[float] = []
        self.fields: Fields = {}

    async def noop(self, given: Body) -> None:
        """Do nothing; look at the clocks at the first and at the last."""
        self._count += 1
        if self._count == 1:
            self._first = await look(self._redis)
        if self._count == self.given.n and self._first is not None:
            self.fields = since(self._first, await look(self._redis), self.given.n)
            self.ended.set()

    async def stamp(self, given: Body) -> None:
        """Note how long a job waited."""
        if not given.t:
            return
        self._waits_ms.append((time.monotonic_ns() - given.t) / 1e6)
        if len(self._waits_ms) == self.given.n:
            shares = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "max_ms": 1.0}
            found = {name: percentile(self._waits_ms, share) for name, share in shares.items()}
            self.fields = {"jobs": self.given.n, **{n: round(ms, 3) for n, ms in found.items()}}
            self.ended.set()

    async def slow(self, given: Body) -> None:
        """Run for a while; a line in the log at the start and at the end."""
        self._note("start", given)
        await asyncio.sleep(self.given.job_seconds)
        self._note("end", given)

    def _note(self, word: str, given: Body) -> None:
        with Path(self.given.log).open("a") as log:
            log.write(f"{word} {given.t} {os.getpid()} {time.monotonic():.3f}\n")


def processor_of(name: str, act: Callable[[Body], Awaitable[None]]) -> Processor:
    """A processor of that name."""

    async def run(given: Body) -> None:
        """Run it."""
        await act(given)

    manifest = Manifest(
        name=name, version="1", summary="Of a harness.", resource_class=ResourceClass.IO
    )
    found = declared(processor(manifest)(run))
    assert found is not None
    return found


async def work(engine: Engine, settings: Settings, given: argparse.Namespace) -> Fields:
    """A worker with `--concurrency` slots, until what is measured is over."""
    watch = Watch(engine.redis, given)
    acts = {"noop": watch.noop, "stamp": watch.stamp, "slow": watch.slow}
    worker = PeerWorker(settings, [processor_of(name, act) for name, act in acts.items()])
    await worker.start()
    await watch.ended.wait()
    await asyncio.sleep(SETTLING_S)
    left = {
        "rss_mb": round(resident_mb(), 1),
        "keys_left": await engine.redis.dbsize(),
        "redis_mb_left": round(await used_memory(engine.redis) / 2**20, 1),
    }
    await worker.stop()
    return {**watch.fields, **left}


# ---------------------------------------------------------------- clocks and the line


class Looked(msgspec.Struct, frozen=True):
    """All clocks at one moment."""

    reading: meter.Reading
    cpu_s: float


async def look(redis: "Redis") -> Looked:
    return Looked(await meter.read(redis), time.process_time())


def since(first: Looked, last: Looked, jobs: int) -> Fields:
    used, cpu_s = meter.between(first.reading, last.reading), last.cpu_s - first.cpu_s
    return {
        "jobs": jobs,
        "wall_s": round(used.seconds, 4),
        "per_s": round(jobs / used.seconds, 1),
        "cpu_s_per_1k": round(1_000 * cpu_s / jobs, 4),
        "redis_cpu_s_per_1k": round(1_000 * used.redis_cpu_s / jobs, 4),
        "redis_reads_per_job": round(used.reads / jobs, 3),
        "redis_cmds_per_job": round(used.commands / jobs, 2),
        "other_cores": round(used.others(cpu_s), 2),
    }


async def used_memory(redis: "Redis") -> int:
    return int((await redis.info("memory"))["used_memory"])


PRODUCERS: Mapping[str, Callable[[Engine, argparse.Namespace], Awaitable[Fields | None]]] = {
    "enqueue": enqueue,
    "bulk": bulk,
    "fill": fill,
    "latproducer": latproducer,
    "slowfill": slowfill,
}
WORKERS = ("drain", "latworker", "slowworker")


def parse() -> argparse.Namespace:
    """The command line that all peers of a harness have in common."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peer", description=__doc__)
    parser.add_argument("phase", choices=[*PRODUCERS, *WORKERS])
    parser.add_argument("--port", type=int, default=6379)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=10)
    parser.add_argument("--chunk", type=int, default=1_000)
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--lease", type=float, default=0.0, help="seconds; 0 is the default")
    parser.add_argument("--job-seconds", type=float, default=2.0)
    parser.add_argument("--first", type=int, default=1, help="number of the first slow job")
    parser.add_argument("--log", default="", help="where slow jobs write when they start and end")
    parser.add_argument("--variant", default="", help="said again in the line")
    parser.add_argument("--aof", action="store_true", help="said again in the line")
    return parser.parse_args()


async def measured(given: argparse.Namespace, folder: str) -> Fields | None:
    spec = Spec(
        url=f"redis://127.0.0.1:{given.port}",
        folder=folder,
        slots=given.concurrency,
        lease_ms=round(given.lease * 1_000) or 30_000,
    )
    settings = settings_of(spec)
    async with opened_engine(settings, "peer") as engine:
        if given.phase in WORKERS:
            return await work(engine, settings, given)
        return await PRODUCERS[given.phase](engine, given)


def main() -> None:
    """Run one phase and print its line."""
    logging.basicConfig(level=logging.WARNING)
    given = parse()
    with tempfile.TemporaryDirectory(prefix="rn-peer-") as folder:
        fields = uvloop.run(measured(given, folder))
    names = ("roughneck", "redis", "hiredis", "uvloop", "faust-streaming")
    if fields is not None:
        say(
            {
                "peer": "roughneck",
                "variant": given.variant,
                "phase": given.phase,
                "concurrency": given.concurrency,
                "version": ", ".join(f"{name} {version(name)}" for name in names),
                "aof": given.aof,
                **fields,
            }
        )


if __name__ == "__main__":
    main()
