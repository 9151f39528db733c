"""Where one suite is measured: an empty private Redis, folders, and processes that end with it."""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import msgspec
from redis import Redis

from ops.bench import meter
from ops.bench.worker import Measured, Spec
from ops.embedded import EmbeddedRedis
from ops.links import Engine, engine_over, open_redis
from ops.settings import RedisSettings, Settings
from streams.errors import Unavailable
from streams.ids import new_job_id
from streams.model import Lane, NewJob, Priority, ResourceClass

LANE = Lane(ResourceClass.IO, "bench", Priority.NORMAL, "noop")
PAYLOAD = msgspec.json.encode({"filler": "x" * 187})  # 200 bytes
BATCH = 1_000
MEMORY_MB = 4_096  # a limit that no suite comes near
LINE_MAX = 64 * 1024 * 1024  # of what a process says: the waits of all its jobs
SAY_LIMIT_S = 300.0  # how long a process may be silent


class Process:
    """A worker process of a measurement."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def line(self) -> bytes:
        """The next line that it says. Raises Unavailable when it ends or is silent."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), SAY_LIMIT_S)
        if not line:
            raise Unavailable(f"a worker of the measurement ended: {await self._process.wait()}")
        return line

    async def measured(self, *, end: bool = False) -> Measured:
        """What it measured, when its jobs are done; or now, if it is to `end`."""
        assert self._process.stdin is not None
        if end:
            self._process.stdin.close()
        found = msgspec.json.decode(await self.line(), type=Measured)
        self._process.stdin.close()
        await self._process.wait()
        return found

    async def kill(self) -> None:
        """End it with no chance to say anything."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


class Stage:
    """One suite's Redis and its engine, and the workers that it starts."""

    def __init__(
        self, settings: Settings, engine: Engine, folder: Path, server: EmbeddedRedis
    ) -> None:
        self.settings = settings
        self.engine = engine
        self.folder = folder
        self.server = server
        self._processes: list[Process] = []

    async def fill(self, jobs: int, lanes: Sequence[Lane] = (LANE,), **fields: Any) -> None:
        """Let jobs wait, spread over lanes."""
        await fill(self.engine, jobs, lanes, **fields)

    async def worker(self, slots: int, jobs: int = 0, lease_ms: int = 30_000) -> Process:
        """Start a worker process, which is taking jobs when this returns."""
        spec = Spec(self.settings.redis.url, str(self.folder / "verdicts"), slots, jobs, lease_ms)
        process = Process(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "ops.bench.worker", msgspec.json.encode(spec).decode()),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=LINE_MAX,
            )
        )
        self._processes.append(process)
        await process.line()
        return process

    async def drain(self, slots: int, jobs: int, workers: int = 1) -> list[Measured]:
        """Let worker processes run jobs that wait, until as many have succeeded."""
        processes = await asyncio.gather(*(self.worker(slots, jobs) for _ in range(workers)))
        return list(await asyncio.gather(*(process.measured() for process in processes)))

    async def memory(self) -> int:
        """Bytes that Redis uses."""
        return int((await self.engine.redis.info("memory"))["used_memory"])

    async def reading(self) -> meter.Reading:
        """All clocks now."""
        return await meter.read(self.engine.redis)

    async def close(self) -> None:
        """End what still runs."""
        for process in self._processes:
            await process.kill()


@asynccontextmanager
async def staged(*, append_only: bool) -> AsyncIterator[Stage]:
    """A stage with an empty Redis on a Unix socket, with or without its log (fsync each second)."""
    with _redis(append_only) as (server, folder):
        settings = Settings(redis=RedisSettings(url=server.url))
        async with open_redis(settings.redis, "bench") as redis:
            stage = Stage(settings, engine_over(redis, settings), folder, server)
            try:
                yield stage
            finally:
                await stage.close()


@contextmanager
def _redis(append_only: bool) -> Iterator[tuple[EmbeddedRedis, Path]]:
    with tempfile.TemporaryDirectory(prefix="rn-bench-") as name:
        folder = Path(name)
        with EmbeddedRedis(folder / "redis", memory_max_mb=MEMORY_MB) as server:
            if not append_only:
                with Redis.from_url(server.url) as client:
                    client.config_set("appendonly", "no")
            yield server, folder


def job(payload: bytes = PAYLOAD, lane: Lane = LANE, **fields: Any) -> NewJob:
    """A no-op job."""
    return NewJob(id=new_job_id(time.time_ns() // 1_000_000), lane=lane, payload=payload, **fields)


async def fill(engine: Engine, jobs: int, lanes: Sequence[Lane] = (LANE,), **fields: Any) -> float:
    """Submit no-op jobs, 1,000 a call, spread over lanes; jobs/s, the making of them aside."""
    await engine.broker.submit([])  # loads the script
    around, took_s = cycle(lanes), 0.0
    for at in range(0, jobs, BATCH):
        batch = [job(lane=next(around), **fields) for _ in range(min(BATCH, jobs - at))]
        began = time.monotonic()
        await engine.broker.submit(batch)
        took_s += time.monotonic() - began
    return jobs / took_s
