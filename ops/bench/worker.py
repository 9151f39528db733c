"""The worker process of a measurement: the real host, engine and runtime, and one no-op processor.

`python -m ops.bench.worker URL SLOTS JOBS` runs until JOBS jobs have succeeded and prints a line of
JSON: seconds and CPU seconds between the first lease and the last settle, and waits in ms.
"""

import asyncio
import resource
import sys
import time

import msgspec
import uvloop
from redis.asyncio import Redis

from ops.bench import noop
from ops.links import engine_over, open_redis
from ops.settings import RedisSettings, Settings
from processors.runtime import Runtime
from processors.sdk.declaration import processors_of
from processors.sdk.host import Host
from processors.sdk.registry import Registry
from streams.model import ResourceClass
from streams.telemetry import Happening, Telemetry
from streams.worker import Worker, WorkerPlan

POLL_S = 0.01


class Measured(msgspec.Struct):
    """What one worker process did. CPU is user and system time of the process."""

    seconds: float
    worker_cpu_s: float
    redis_cpu_s: float
    resident_mb: float
    waits_ms: list[float]


class FirstLease:
    """Notes when work began; costs nothing afterwards, since it stops listening."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.at = self.cpu = 0.0
        self._telemetry = telemetry
        telemetry.listeners.append(self)

    def __call__(self, _: Happening) -> None:
        """Take the time, once."""
        self._telemetry.listeners.clear()
        self.at, self.cpu = time.monotonic(), time.process_time()


async def measure(url: str, slots: int, jobs: int) -> Measured:
    """Run `jobs` jobs that wait in the Redis at `url`, or are about to come."""
    settings = Settings(redis=RedisSettings(url=url))
    host = Host(Registry(processors_of(noop)), [])
    control, bell = open_redis(settings.redis, "bench"), open_redis(settings.redis, "bench-bell")
    engine = engine_over(control, settings)
    telemetry = Telemetry()
    plan = WorkerPlan("bench-1-worker", {ResourceClass.IO: slots}, {ResourceClass.IO: ["noop"]})
    worker = Worker(engine.broker, plan, host.run, control=control, bell=bell, telemetry=telemetry)
    runtime = Runtime(worker, [])
    first = FirstLease(telemetry)
    redis_cpu_s = await _redis_cpu_s(control)
    await host.start()
    await runtime.start()
    while (await engine.inspector.counts()).get("io|succeeded", 0) < jobs:  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)
    measured = Measured(
        seconds=time.monotonic() - first.at,
        worker_cpu_s=time.process_time() - first.cpu,
        redis_cpu_s=await _redis_cpu_s(control) - redis_cpu_s,
        resident_mb=_resident_mb(),
        waits_ms=noop.waits_ms,
    )
    await runtime.stop()
    await host.stop()
    await control.aclose()
    await bell.aclose()
    return measured


async def _redis_cpu_s(redis: "Redis") -> float:
    """CPU seconds of the server so far, user and system."""
    used = await redis.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def _resident_mb() -> float:
    """The most memory this process has held: ru_maxrss is in KiB, on macOS in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main() -> None:
    """Measure as the arguments say."""
    url, slots, jobs = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        measured = runner.run(measure(url, int(slots), int(jobs)))
    sys.stdout.buffer.write(msgspec.json.encode(measured) + b"\n")


if __name__ == "__main__":
    main()
