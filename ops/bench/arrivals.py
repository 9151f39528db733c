"""How fast jobs are accepted, by the engine and by a gateway with its journal; what they take."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import msgspec

from gateway.auth import mint_key
from ops.bench import edge, noop
from ops.bench.figures import Figure
from ops.bench.meter import Reading, between, process_cpu_s
from ops.bench.stage import BATCH, LANE, Stage, fill, job
from processors.sdk.declaration import processors_of
from processors.sdk.registry import Registry
from streams.clock import SystemClock
from streams.errors import Unavailable

CONNECTIONS = 50
CALLERS = 50


class Edge:
    """A running gateway, with a key for the app `bench`."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, key: str) -> None:
        self.process = process
        self.url = url
        self.key = key
        at = urlsplit(url)
        self.host, self.port = str(at.hostname), int(at.port or 0)

    async def send(self, path: str, bodies: list[object], connections: int) -> float:
        """POST bodies over so many connections; how many a second were accepted."""
        requests = [edge.request("POST", path, self.key, body) for body in bodies]
        began = time.monotonic()
        counts = await edge.ask_all(self.host, self.port, requests, connections)
        took_s = time.monotonic() - began
        if set(counts) - {200, 201, 202}:
            raise Unavailable(f"the gateway of the measurement answered {counts}")
        return len(bodies) / took_s

    async def close(self) -> float:
        """End it; the CPU seconds that it used."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        said = msgspec.json.decode(await self.process.stdout.readline())
        await self.process.wait()
        return float(said["cpu_s"])


@asynccontextmanager
async def gateway(stage: Stage, port: int = 9) -> AsyncIterator[Edge]:
    """A gateway process over the stage's Redis; callbacks may go to `port`."""
    now_ms = SystemClock().now_ms()
    record, key = mint_key("bench", ("submit", "read", "operate"), now_ms=now_ms)
    await stage.engine.directory.put_key(record)
    for card in Registry(processors_of(noop)).cards({}, now_ms):
        await stage.engine.directory.publish_processor(card)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops.bench.edge"),
        *(str(stage.folder), stage.settings.redis.url, str(port)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        said = msgspec.json.decode(await process.stdout.readline())
        yield Edge(process, said["url"], key)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def enqueue(stage: Stage, jobs: int) -> list[Figure]:
    """Jobs submitted by the engine itself, as a gateway or a flow does."""
    broker = stage.engine.broker
    await broker.submit([])
    began = time.monotonic()
    for _ in range(jobs // 10):
        await broker.submit([job()])
    single = jobs // 10 / (time.monotonic() - began)
    waiting = iter(range(jobs))

    async def caller() -> None:
        for _ in waiting:
            await broker.submit([job()])

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(caller())
    concurrent = jobs / (time.monotonic() - began)
    first, cpu_s = await stage.reading(), time.process_time()
    bulk = await fill(stage.engine, 5 * jobs)
    used, cpu_s = between(first, await stage.reading()), time.process_time() - cpu_s
    per_1k = 1_000 / (5 * jobs)
    return [
        Figure("one at a time", single, "jobs/s", "each submit awaited before the next"),
        Figure(f"{CALLERS} callers", concurrent, "jobs/s", "each with one submit under way"),
        Figure("in bulk", bulk, "jobs/s", f"{BATCH:,} jobs a call"),
        Figure("Redis CPU, in bulk", used.redis_cpu_s * per_1k, "s/1k", "of Redis, for 1,000 jobs"),
        Figure(
            "CPU, in bulk", cpu_s * per_1k, "s/1k", "of whoever submits, making the jobs included"
        ),
    ]


async def http(stage: Stage, jobs: int) -> list[Figure]:
    """Jobs submitted over HTTP to a gateway that writes each to its journal before it answers."""
    body = {"processor": "noop", "payload": {"filler": "x" * 187}}
    async with gateway(stage) as at:
        await at.send("/v1/jobs", [body] * 200, CONNECTIONS)
        single = await _sent(stage, at, "/v1/jobs", [body] * jobs, CONNECTIONS, 1)
        batches: list[object] = [{"jobs": [body] * 500}] * max(2, jobs // 100)
        batch = await _sent(stage, at, "/v1/jobs:batch", batches, 4, 500)
        await at.close()
    over = f"over {CONNECTIONS} connections, fsync before each 202"
    return [
        Figure("single requests", single.per_s, "jobs/s", over),
        Figure("batches", batch.per_s, "jobs/s", "500 jobs a request, 4 connections"),
        *_costs("single", single),
        *_costs("batches", batch),
    ]


class Sent(msgspec.Struct, frozen=True):
    """How fast jobs were accepted, and the CPU seconds of each process for 1,000 of them."""

    per_s: float
    gateway_s: float
    redis_s: float
    asker_s: float


async def _sent(
    stage: Stage, at: Edge, path: str, bodies: list[object], connections: int, jobs_each: int
) -> Sent:
    first, own_s, gateway_s = await _clocks(stage, at)
    per_s = jobs_each * await at.send(path, bodies, connections)
    last, own_later_s, gateway_later_s = await _clocks(stage, at)
    per_1k = 1_000 / (jobs_each * len(bodies))
    return Sent(
        per_s,
        gateway_s=(gateway_later_s - gateway_s) * per_1k,
        redis_s=between(first, last).redis_cpu_s * per_1k,
        asker_s=(own_later_s - own_s) * per_1k,
    )


async def _clocks(stage: Stage, at: Edge) -> tuple[Reading, float, float]:
    return await stage.reading(), time.process_time(), process_cpu_s(at.process.pid)


def _costs(name: str, sent: Sent) -> list[Figure]:
    says = "for 1,000 jobs"
    return [
        Figure(f"gateway CPU, {name}", sent.gateway_s, "s/1k", f"of the gateway, {says}"),
        Figure(f"Redis CPU, {name}", sent.redis_s, "s/1k", f"of Redis, {says}"),
        Figure(f"asker CPU, {name}", sent.asker_s, "s/1k", f"of this process, {says}"),
    ]


async def memory(stage: Stage, jobs: int) -> list[Figure]:
    """What a job takes of Redis' memory: while it waits, and when it has ended."""
    await stage.engine.broker.submit([])
    empty = await stage.memory()
    await stage.fill(jobs)
    waiting = await stage.memory()
    await stage.drain(100, jobs)
    ended = await stage.memory()
    says = f"{jobs:,} jobs of {LANE.app}, a payload of 200 bytes"
    return [
        Figure(
            "a waiting job", (waiting - empty) / jobs, "bytes", f"record, payload, entry: {says}"
        ),
        Figure(
            "an ended job",
            (ended - empty) / jobs,
            "bytes",
            "record, payload, result, events, listing",
        ),
    ]
