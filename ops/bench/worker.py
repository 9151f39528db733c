"""The worker process of a measurement: what `roughneck worker` runs, with one no-op processor.

`python -m ops.bench.worker SPEC` (a `Spec` as JSON) says `ready`, runs until as many jobs have
succeeded as SPEC says, and prints what it measured, a line of JSON. It ends with its standard
input.
"""

import asyncio
import contextlib
import logging
import resource
import sys
import time

import msgspec
import uvloop

from ops.bench import meter, noop
from ops.links import open_redis
from ops.settings import RedisSettings, Settings, WorkerSettings
from ops.worker_process import WorkerProcess
from processors.dependencies.ollama import OllamaProvider
from processors.sdk.declaration import processors_of
from processors.sdk.registry import Registry
from streams.inspector import Inspector
from streams.keyspace import Keyspace
from streams.model import ResourceClass
from streams.settings import EngineSettings

POLL_S = 0.05


class Spec(msgspec.Struct, frozen=True):
    """What one worker process is to do."""

    url: str
    folder: str  # for its journal
    slots: int = 10
    jobs: int = 0  # succeeded in all workers together; 0: until its standard input ends
    lease_ms: int = 30_000


class Measured(msgspec.Struct, frozen=True):
    """What one worker process did. CPU is user and system time; clocks are monotonic seconds."""

    count: int
    first_s: float
    last_s: float
    worker_cpu_s: float
    redis_cpu_s: float
    commands: int
    reads: int
    other_cores: float
    resident_mb: float
    waits_ms: list[float]
    starts_s: list[float]


class MeasuredWorker(WorkerProcess):
    """The worker with the no-op processor alone."""

    async def _registry(self, ollama: OllamaProvider) -> Registry:
        return Registry(processors_of(noop))


def settings_of(spec: Spec) -> Settings:
    """The defaults, but for what is measured and where."""
    return Settings(
        redis=RedisSettings(url=spec.url),
        engine=EngineSettings(lease_ms=spec.lease_ms, renew_ms=min(10_000, spec.lease_ms // 3)),
        worker=WorkerSettings(
            name="bench",
            classes=(ResourceClass.IO,),
            io_slots=spec.slots,
            journal_folder=spec.folder,
        ),
    )


async def measure(spec: Spec) -> Measured:
    """Run jobs that wait in Redis, or are about to come."""
    settings = settings_of(spec)
    async with open_redis(settings.redis, "bench") as redis:
        worker = MeasuredWorker(settings)
        first = await meter.read(redis)
        await worker.start()
        say({"ready": time.monotonic()})
        await _until_done(spec, Inspector(redis, Keyspace(settings.engine.tag)))
        cpu_s, used = time.process_time(), meter.between(first, await meter.read(redis))
        seen = noop.seen
        measured = Measured(
            count=seen.count,
            first_s=seen.first_s,
            last_s=seen.last_s,
            worker_cpu_s=cpu_s - seen.first_cpu_s,
            redis_cpu_s=used.redis_cpu_s,
            commands=used.commands,
            reads=used.reads,
            other_cores=used.others(cpu_s),
            resident_mb=resident_mb(),
            waits_ms=seen.waits_ms,
            starts_s=seen.starts_s,
        )
        await worker.stop()
    return measured


async def _until_done(spec: Spec, inspector: Inspector) -> None:
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    while not ended.done():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(ended), POLL_S)
        if spec.jobs and (await inspector.counts()).get("io|succeeded", 0) >= spec.jobs:
            return


def say(what: object) -> None:
    """A line of JSON for whoever started this process."""
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()


def resident_mb() -> float:
    """The most memory this process has held: ru_maxrss is in KiB, on macOS in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main() -> None:
    """Measure as the argument says."""
    logging.basicConfig(level=logging.WARNING)
    spec = msgspec.json.decode(sys.argv[1], type=Spec)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        say(runner.run(measure(spec)))


if __name__ == "__main__":
    main()
