"""A journal over a real Redis, and a Redis that can be taken away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.journal.acceptor import JournalAcceptor, Spool
from gateway.journal.shipper import Destination
from gateway.pressure import Pressure
from gateway.settings import GatewaySettings
from streams.broker import Broker
from streams.clock import Clock, SystemClock
from streams.durability import Durability
from streams.inspector import Inspector
from streams.keyspace import Keyspace
from streams.memory import read_memory

KEYS = Keyspace()


def client(url: str) -> "Redis":
    """A client that fails fast and repeats nothing."""
    return Redis.from_url(
        url, retry=Retry(NoBackoff(), 0), socket_timeout=2.0, socket_connect_timeout=1.0
    )


class Scene:
    """One gateway's journal in `folder`, over one Redis."""

    def __init__(
        self,
        redis: "Redis",
        folder: Path,
        settings: GatewaySettings | None = None,
        clock: Clock | None = None,
        broker: Callable[["Redis", Keyspace], Broker] = Broker,
    ) -> None:
        self.redis = redis
        self.folder = folder
        self.settings = settings or GatewaySettings()
        self.broker = broker(redis, KEYS)
        self.inspector = Inspector(redis, KEYS)
        self.pressure = Pressure(lambda: read_memory(redis), self.inspector.counts, self.settings)
        self.to = Destination(self.broker, Durability(redis), self.pressure, clock or SystemClock())
        self.acceptor = JournalAcceptor(folder, self.to, self.inspector, self.settings)

    def spool(self) -> Spool:
        """How the journals of this gateway stand."""
        spool = self.acceptor.spool()
        assert spool is not None
        return spool

    @property
    def spooled(self) -> int:
        return self.spool().rows

    @property
    def looked_at(self) -> float:
        """When the shipper will compare the watermark the next time: changes with every look."""
        return self.acceptor._shipper._tend_at

    async def jobs(self) -> int:
        """How many jobs Redis was ever given."""
        counts = await self.inspector.counts()
        return sum(count for field, count in counts.items() if field.endswith("|submitted"))

    async def __aenter__(self) -> "Scene":
        await self.acceptor.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.acceptor.stop()


@contextlib.asynccontextmanager
async def scene(redis: "Redis", folder: Path, **given: object) -> AsyncIterator[Scene]:
    async with Scene(redis, folder, **given) as made:  # type: ignore[arg-type]
        yield made


async def together(*calls: object) -> list[object]:
    """What each call answers, or the error that it raised."""
    return list(await asyncio.gather(*calls, return_exceptions=True))  # type: ignore[call-overload]
