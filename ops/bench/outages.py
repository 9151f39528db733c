"""What comes back how fast: jobs of a killed worker, Redis with its log, a started worker."""

import asyncio
import os
import signal
import time

import msgspec

from ops.bench.figures import Figure
from ops.bench.journeys import succeeded, until
from ops.bench.stage import Stage, job

HELD = 10
SLEEP_S = 2.0
LEASE_MS = 5_000


async def recovery(stage: Stage) -> list[Figure]:
    """Ten jobs run in a worker that is killed; another starts at once."""
    payload = msgspec.json.encode({"sleep_s": SLEEP_S})
    await stage.engine.broker.submit([job(payload) for _ in range(HELD)])
    first = await stage.worker(HELD, lease_ms=LEASE_MS)
    await until(lambda: _active(stage, HELD))
    await asyncio.sleep(0.5)
    killed_s = time.monotonic()
    await first.kill()
    second = await stage.worker(HELD, lease_ms=LEASE_MS)
    await until(lambda: succeeded(stage, HELD))
    did = await second.measured(end=True)
    says = f"of {HELD} jobs of a killed worker, lease {LEASE_MS // 1_000} s"
    return [
        Figure("first running again", min(did.starts_s) - killed_s, "s", f"the first {says}"),
        Figure("all running again", max(did.starts_s) - killed_s, "s", f"the last {says}"),
        Figure("run again", len(did.starts_s), "jobs", f"{says}: none is lost"),
    ]


async def restart(stage: Stage, jobs: int) -> list[Figure]:
    """A worker starts; Redis is killed with many jobs waiting, and started again from its log."""
    await stage.fill(jobs)
    began = time.monotonic()
    worker = await stage.worker(10)
    ready_s = time.monotonic() - began
    await until(lambda: succeeded(stage, 1))
    job_s = time.monotonic() - began
    await worker.kill()
    await asyncio.sleep(1.5)  # the log is on disk after a second
    os.kill(stage.server.pid, signal.SIGKILL)
    began = time.monotonic()
    stage.server.stop()
    stage.server.start()  # returns when it answers
    back_s = time.monotonic() - began
    return [
        Figure(
            "worker takes jobs", ready_s, "s", "from its start, Python and all imports included"
        ),
        Figure("first job ended", job_s, "s", "from the start of the worker"),
        Figure("Redis back", back_s, "s", f"from kill -9 to its answer, {jobs:,} jobs in its log"),
    ]


async def _active(stage: Stage, count: int) -> bool:
    return (await stage.engine.inspector.counts()).get("io|active", 0) >= count
