"""What takes several steps: the wait of a job, flows, callbacks."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from ops.bench import edge, meter
from ops.bench.arrivals import CONNECTIONS, gateway
from ops.bench.figures import Figure, percentile
from ops.bench.stage import Stage, job
from streams.errors import Unavailable

LIMIT_S = 300.0
LOOK_S = 0.02
STAGES = 3


async def latency(stage: Stage, rate: int, seconds: int) -> list[Figure]:
    """From the submit of a job to its start, at a steady rate, after a second to warm up."""
    worker = await stage.worker(10)
    for warm in (True, False):
        began = time.monotonic()
        for number in range(rate * (1 if warm else seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            sent_s = 0.0 if warm else time.monotonic()
            payload = {"filler": "x" * 150, "submitted_s": sent_s}
            await stage.engine.broker.submit([job(msgspec.json.encode(payload))])
    jobs = rate * (1 + seconds)
    await until(lambda: succeeded(stage, jobs))
    did = await worker.measured(end=True)
    says = f"submit to start at {rate} jobs/s, {len(did.waits_ms):,} jobs"
    busy = 100 * did.worker_cpu_s / (seconds + 1)
    return [
        Figure(f"p50 at {rate}/s", percentile(did.waits_ms, 0.5), "ms", says),
        Figure(f"p99 at {rate}/s", percentile(did.waits_ms, 0.99), "ms", says),
        Figure(f"longest at {rate}/s", max(did.waits_ms), "ms", says),
        Figure(f"worker CPU at {rate}/s", busy, "%", "of one core"),
    ]


async def idle(stage: Stage, seconds: int) -> list[Figure]:
    """What a worker, and Redis, use while there is nothing to do."""
    worker = await stage.worker(10)
    await asyncio.sleep(2.0)  # its chores run once at the start
    first, cpu_s = await stage.reading(), meter.process_cpu_s(worker.pid)
    await asyncio.sleep(seconds)
    last, used_s = await stage.reading(), meter.process_cpu_s(worker.pid) - cpu_s
    await worker.measured(end=True)
    redis_s = last.redis_cpu_s - first.redis_cpu_s
    return [
        Figure("idle worker", 100 * used_s / seconds, "%", "of one core, with nothing to do"),
        Figure("idle Redis", 100 * redis_s / seconds, "%", "of one core, with one such worker"),
    ]


async def flows(stage: Stage, count: int) -> list[Figure]:
    """Flows of three stages in a row, submitted over HTTP, run by one worker."""
    names = [f"s{number}" for number in range(STAGES)]
    stages: list[dict[str, Any]] = [{"name": name, "processor": "noop"} for name in names]
    for number in range(1, STAGES):
        stages[number]["after"] = [names[number - 1]]
    async with gateway(stage) as at:
        await at.send("/v1/flows", [{"stages": stages}] * count, CONNECTIONS)
        worker = await stage.worker(100)
        began = time.monotonic()
        await until(lambda: succeeded(stage, count * (STAGES + 1)))
        took_s = time.monotonic() - began
        did = await worker.measured(end=True)
        await at.close()
    cpu = 1_000 * did.worker_cpu_s / count
    says = f"{STAGES} stages in a row, 100 slots"
    return [
        Figure("flows/s", count / took_s, "flows/s", says),
        Figure("stages/s", did.count / took_s, "jobs/s", f"of those flows: {says}"),
        Figure("worker CPU of flows", cpu, "s/1k", "for 1,000 flows"),
    ]


async def callbacks(stage: Stage, count: int) -> list[Figure]:
    """Signed callbacks of jobs that ended, delivered to a receiver on this machine."""
    edge.Receiver.received = 0
    loop = asyncio.get_running_loop()
    with edge.free_port() as listening:
        server = await loop.create_server(edge.Receiver, sock=listening)
        port = listening.getsockname()[1]
        url = f"http://127.0.0.1:{port}/hooks"
        body = {"processor": "noop", "payload": {}, "callback": {"url": url}}
        async with gateway(stage, port) as at, server:
            await at.send("/v1/endpoints", [{"url": url}], 1)
            worker = await stage.worker(100)
            began = time.monotonic()
            await at.send("/v1/jobs:batch", [{"jobs": [body] * 100}] * (count // 100), 2)
            await until(lambda: _received(count))
            took_s = time.monotonic() - began
            await worker.measured(end=True)
            cpu_s = await at.close()
    return [
        Figure(
            "callbacks/s",
            count / took_s,
            "callbacks/s",
            "submit to delivery, one endpoint, 4 at once",
        ),
        Figure(
            "gateway CPU of callbacks", 1_000 * cpu_s / count, "s/1k", "accepting and delivering"
        ),
    ]


async def _received(count: int) -> bool:
    return edge.Receiver.received >= count


async def succeeded(stage: Stage, count: int) -> bool:
    """Whether so many jobs have."""
    return (await stage.engine.inspector.counts()).get("io|succeeded", 0) >= count


async def until(holds: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    """Look until it holds. Raises Unavailable after five minutes."""
    ends_s = time.monotonic() + LIMIT_S
    while not await holds():
        if time.monotonic() > ends_s:
            raise Unavailable("the measurement does not come to its end")
        await asyncio.sleep(LOOK_S)
