"""The Faust app around the engine: agents are the actors, timers run the chores. No Kafka.

Faust is the runtime of the processors, not the client of a broker: a `Channel` subclass, Faust's
own seam for other means of communication, pulls leases from the engine. This is the only module
that imports it; the engine is tested and measured without it. tests/processors/test_runtime.py
stands over every private name that is touched.
"""

import asyncio
import logging
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import faust
from faust.app.base import BootStrategy
from mode import Service

from streams.errors import Unavailable
from streams.intake import Closed
from streams.loops import Chore
from streams.model import Lease, ResourceClass
from streams.telemetry import ChoreFailed
from streams.worker import Worker

Pull = Callable[[], Awaitable[Lease]]

log = logging.getLogger(__name__)


class PullChannel(faust.Channel[Any]):
    """A channel whose next value is a lease: an actor that waits here is a free slot."""

    def __init__(self, app: faust.App, *, pull: Pull, **fields: Any) -> None:
        super().__init__(app, **fields)
        self._pull = pull

    def _clone_args(self) -> Mapping[str, Any]:
        return {**super()._clone_args(), "pull": self._pull}

    async def __anext__(self) -> Any:
        try:
            return await self._pull()
        except Closed:
            await asyncio.Event().wait()  # the drain goes on; then Faust cancels its actors


class NoBroker(BootStrategy):
    """Boots agents and timers only."""

    enable_kafka = False
    enable_web = False


class RedisApp(faust.App):
    """A Faust app without topics, transport and Kafka."""

    BootStrategy = NoBroker


class Runtime(Service):
    """One worker's agents, one a resource class, with as many actors as it has slots."""

    def __init__(
        self,
        worker: Worker,
        chores: Sequence[Chore],
        *,
        name: str = "roughneck",
        slots_max: Mapping[ResourceClass, int] | None = None,
    ) -> None:
        """Actors are fixed at start: `slots_max` leaves room to raise the slots while it runs."""
        super().__init__()
        self.worker = worker
        self._chores = chores
        self._folder = tempfile.TemporaryDirectory(prefix="roughneck-")
        self.app = RedisApp(name, datadir=self._folder.name, web_enabled=False, autodiscover=False)
        actors = {**worker.plan.slots, **(slots_max or {})}
        for resource_class, count in actors.items():
            self._add_agent(resource_class, count)
        for chore in chores:
            self._add_timer(chore)
        self.app.on_before_shutdown.connect(self._drain)

    def _add_agent(self, resource_class: ResourceClass, count: int) -> None:
        worker = self.worker

        async def pull() -> Lease:
            return await worker.pull(resource_class)

        async def act(leases: Any) -> None:
            async for lease in leases:
                await worker.execute(lease)

        channel = PullChannel(self.app, pull=pull)
        self.app.agent(channel, name=f"processors.{resource_class}", concurrency=count)(act)

    def _add_timer(self, chore: Chore) -> None:
        async def tick() -> None:
            await self.run_chore(chore)

        self.app.timer(interval=chore.every_s, name=chore.name)(tick)

    async def run_chore(self, chore: Chore) -> None:
        """One tick; what goes wrong is told and tried again at the next."""
        try:
            await chore.tick()
        except Unavailable as error:
            self.worker.telemetry.emit(ChoreFailed(chore.name, str(error)))
        except Exception as error:
            log.exception("chore failed", extra={"chore": chore.name})
            self.worker.telemetry.emit(ChoreFailed(chore.name, repr(error)))

    async def _drain(self, *_: Any, **__: Any) -> None:
        await self.worker.drain()

    async def on_start(self) -> None:
        """Start the engine, then the agents."""
        await self.worker.start()
        for chore in self._chores:
            await self.run_chore(chore)
        await self.app.start()
        self.app.flow_control.resume()

    async def on_stop(self) -> None:
        """Drain (Faust calls it before it stops the agents), then stop agents and engine."""
        await self.app.stop()
        await self.worker.stop()
        self._folder.cleanup()
