"""The processes of a storm: a Redis of its own, receivers, and couriers that may be killed."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis

from gateway.registrar import Registrar
from gateway.sealing import Seals
from ops.redis_binary import installed
from streams.broker import Broker
from streams.callbacks import CallbackStore
from streams.keyspace import Keyspace
from streams.model import CallbackRequest, State
from streams.settings import EngineSettings
from tests.support.build import new_job
from tests.support.redis_server import RedisServer, free_port

ROOT = Path(__file__).parents[3]
BATCH = 500
EVERY = (State.SUCCEEDED, State.DEAD, State.CANCELLED, State.EXPIRED)
# Days as seconds: the schedule, the breaker, leases, and when an endpoint is given up.
SCALED = {
    "courier.schedule_s": "0,0.3,0.6,1.0,1.5",
    "courier.total_timeout_s": "4",
    "courier.connect_timeout_s": "3",
    "courier.breaker_first_s": "0.3",
    "courier.breaker_max_s": "1.0",
    "courier.give_up_s": "5",
    "courier.lease_ms": "6000",
    "courier.renew_s": "1.0",
    "courier.grace_s": "2",
}


class Receiving:
    """The process of the receivers."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.port = port

    async def ask(self, **asked: object) -> dict[str, Any]:
        """One line there, one line back."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if asked:
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        found: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return found


class Couriers:
    """`roughneck courier` processes."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self._folder = folder
        named = {f"ROUGHNECK_{k.upper().replace('.', '__')}": v for k, v in settings.items()}
        self._environment = {**os.environ, **named, "PYTHONPATH": str(ROOT)}
        self._running: list[asyncio.subprocess.Process] = []
        self.killed = 0

    async def start(self) -> None:
        """One more."""
        with (self._folder / "courier.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "ops.cli", "courier", "--lifeline"),
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=self._environment,
            )
        self._running.append(process)

    async def kill(self) -> None:
        """SIGKILL the oldest one."""
        victim = self._running.pop(0)
        victim.kill()
        await victim.wait()
        self.killed += 1

    async def stop(self) -> None:
        """Ask all to stop, and wait."""
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        for process in self._running:
            await process.wait()


class Scene:
    """Everything together, with a hand for recording callbacks."""

    def __init__(
        self, redis: "Redis", folder: Path, receiving: Receiving, couriers: Couriers
    ) -> None:
        self.receiving = receiving
        self.couriers = couriers
        keys = Keyspace()
        self.store = CallbackStore(redis, keys, EngineSettings())
        self.registrar = Registrar(self.store, Seals(folder / "secrets.key"))
        self._broker = Broker(redis, keys)

    async def register(self, address: str) -> str:
        """An endpoint at an address of the receivers; its id."""
        url = f"http://{address}:{self.receiving.port}/"
        standing, secret = await self.registrar.create("etyde", url, EVERY)
        await self.receiving.ask(secrets={address: secret})
        return standing.endpoint.id

    async def record(self, endpoints: Sequence[tuple[str, str]]) -> None:
        """A callback of a job that ended, for each (endpoint, address), in that order."""
        port = self.receiving.port
        for start in range(0, len(endpoints), BATCH):
            jobs = [
                new_job(callback=CallbackRequest(f"http://{address}:{port}/hook", endpoint))
                for endpoint, address in endpoints[start : start + BATCH]
            ]
            await self._broker.submit(jobs)
            await asyncio.gather(*(self._broker.cancel(job.id, "over") for job in jobs))

    async def counts(self) -> dict[str, int]:
        """Recorded, waiting, delivered, dead."""
        return await self.store.counts()


@asynccontextmanager
async def opened(
    folder: Path, tempers: Mapping[str, str], seed: int, settings: Mapping[str, str]
) -> AsyncIterator[Scene]:
    """A scene without couriers; ends everything that it started."""
    async with AsyncExitStack() as stack:
        server = RedisServer(installed()[0])
        stack.callback(server.stop)
        pool = BlockingConnectionPool.from_url(server.url, max_connections=32, timeout=10)
        redis = await stack.enter_async_context(Redis.from_pool(pool))
        receiving = await stack.enter_async_context(_receiving(tempers, seed))
        key_file = folder / "secrets.key"
        Seals(key_file).ensure()
        couriers = Couriers(
            folder,
            {
                **settings,
                "redis.url": server.url,
                "network.allow_networks": "127.0.0.0/8",
                "network.allow_ports": str(receiving.port),
                "secrets.key_file": str(key_file),
                "log.level": "error",
            },
        )
        stack.push_async_callback(couriers.stop)
        yield Scene(redis, folder, receiving, couriers)


@asynccontextmanager
async def _receiving(tempers: Mapping[str, str], seed: int) -> AsyncIterator[Receiving]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.callbacks.storm.receivers"),
        json.dumps({"tempers": dict(tempers), "seed": seed, "port": port}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        limit=2**26,
    )
    try:
        receiving = Receiving(process, port)
        await receiving.ask()
        yield receiving
    finally:
        process.kill()
        await process.wait()
