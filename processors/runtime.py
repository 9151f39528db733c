"""The Faust app around the engine: agents are the actors, timers run the chores. No Kafka.

Faust is the runtime of the processors, not the client of a broker: a `Channel` subclass, Faust's
own seam for other means of communication, pulls leases from the engine. This is the only module
that imports it; the engine is tested and measured without it. Agents that watch the events of jobs
run beside the processors, with Faust's windowed tables in memory for what they count.
tests/processors/test_runtime.py stands over every private name that is touched.
"""

import asyncio
import logging
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import faust
from faust.app.base import BootStrategy
from faust.events import Event as Arrival
from faust.types.tuples import Message
from mode import Service

from processors.sdk.agents import Agent, AgentContext, Window
from processors.sdk.event_feed import EventFeed
from streams.errors import Unavailable
from streams.event_record import Event
from streams.intake import Closed
from streams.loops import Chore
from streams.model import Lease, ResourceClass
from streams.telemetry import AgentTold, ChoreFailed
from streams.worker import Worker

Pull = Callable[[], Awaitable[Lease]]
Feeds = Callable[[Agent], EventFeed]
AGAIN_FIRST_S, AGAIN_MOST_S = 1.0, 60.0  # before an agent that raised is begun again

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


class EventChannel(faust.Channel[Any]):
    """A channel of the events of all jobs, each at the time at which it happened."""

    def __init__(self, app: faust.App, *, feed: EventFeed, context: AgentContext, **fields: Any):
        super().__init__(app, **fields)
        self._feed = feed
        self._context = context

    def _clone_args(self) -> Mapping[str, Any]:
        return {**super()._clone_args(), "feed": self._feed, "context": self._context}

    async def __anext__(self) -> Any:
        await self.app.flow_control.acquire()  # before it is open, Faust throws events away
        await asyncio.sleep(0)  # a long replay lets the others in
        event, replaying = await self._feed.next()
        self._context.saw(event, replaying=replaying)
        at_s, generation = event.at_ms / 1_000, self.app.consumer_generation_id
        message = Message("events", 0, 0, at_s, 1, None, None, b"", None, generation_id=generation)
        return Arrival(self.app, None, event, None, message)


class LocalTable(faust.Table[Any, Any]):
    """A table in memory alone: no changelog, no partitions."""

    def on_key_set(self, key: Any, value: Any) -> None:
        """Remember when the window of this key ends."""
        self._maybe_set_key_ttl(key, 0)

    def on_key_del(self, key: Any) -> None:
        """Forget it."""
        self._maybe_del_key_ttl(key, 0)

    def partition_for_key(self, key: Any) -> int:
        """The only one."""
        return 0

    async def on_start(self) -> None:
        """Open the store; there is no changelog to declare."""
        await self.add_runtime_dependency(self.data)


class WindowedCounts:
    """Counts of an agent in a windowed table; `sdk.agents.Counts` says what it offers."""

    def __init__(self, table: faust.Table[Any, Any], window: Window) -> None:
        self._window = window
        self._values = table.tumbling(window.size_s, expires=window.size_s * (window.kept + 1))

    def add(self, key: str, count: int = 1) -> int:
        """Add to the window of the event that is read now; how many it has then."""
        self._values[key] += count
        return int(self._values[key].current())

    def before(self, key: str) -> list[int]:
        """What the windows before that one have, the oldest first."""
        counts, size_s = self._values[key], self._window.size_s
        return [int(counts.delta(size_s * back)) for back in range(self._window.kept - 1, 0, -1)]


class WindowTable:
    """Counts by key in panes of time; see `streams.windows.Panes`."""

    def __init__(self, name: str, pane_s: float, kept_s: float) -> None:
        self._name, self._pane_s, self._kept_s = name, pane_s, kept_s
        self._table: Any
        self._panes: Any

    def table_in(self, app: faust.App) -> Any:
        """Make the table in `app`, which lets panes go that are too old."""
        self._table = app.Table(self._name, default=int)
        self._panes = self._table.tumbling(self._pane_s, expires=self._kept_s)
        return self._table

    def add(self, key: Any, at_s: float, count: int) -> None:
        """Count into the pane of that time."""
        self._panes.relative_to(at_s)[key] += count

    def between(self, from_s: float, until_s: float) -> Counter[Any]:
        """Sums over the panes that begin in that time."""
        sums: Counter[Any] = Counter()
        for (key, (start, _)), count in self._table.data.items():
            if from_s <= start < until_s:
                sums[key] += count
        return sums

    def clear(self) -> None:
        """Forget everything."""
        for key in list(self._table.data):
            del self._table[key]


class Arrivals:
    """The events of an agent's stream; one that raised goes on behind the one it was at."""

    def __init__(self, stream: Any) -> None:
        self._iterator = stream.__aiter__()

    def __aiter__(self) -> "Arrivals":
        return self

    async def __anext__(self) -> Event:
        event: Event = await anext(self._iterator)
        return event


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
        agents: tuple[Sequence[Agent], Feeds] | None = None,
        windows: WindowTable | None = None,
    ) -> None:
        """Actors are fixed at start: `slots_max` leaves room to raise the slots while it runs.

        `agents` watch the events of jobs, each fed by a feed of its own.
        """
        super().__init__()
        self.worker = worker
        self._chores = chores
        self._folder = tempfile.TemporaryDirectory(prefix="roughneck-")
        self.app = RedisApp(
            name,
            datadir=self._folder.name,
            web_enabled=False,
            autodiscover=False,
            Table=LocalTable,
        )
        self.contexts: dict[str, AgentContext] = {}  # of the agents, by name
        self._tables = [windows.table_in(self.app)] if windows is not None else []
        actors = {**worker.plan.slots, **(slots_max or {})}
        for resource_class, count in actors.items():
            self._add_agent(resource_class, count)
        for chore in chores:
            self._add_timer(chore)
        watching, feeds = agents or ((), None)
        for one in watching:
            assert feeds is not None
            self._add_watch(one, feeds(one))
        self.app.on_before_shutdown.connect(self._drain)

    def _add_watch(self, one: Agent, feed: EventFeed) -> None:
        def told(level: str, message: str, fields: dict[str, object]) -> None:
            self.worker.telemetry.emit(AgentTold(one.name, level, message, fields))

        counts = {
            name: self._counts(f"{one.name}.{name}", window)
            for name, window in one.watch.counts.items()
        }
        context = AgentContext(one.watch, counts, told)
        self.contexts[one.name] = context

        async def act(stream: Any) -> None:
            await watch(one, Arrivals(stream), context)

        channel = EventChannel(self.app, feed=feed, context=context)
        self.app.agent(channel, name=f"agents.{one.name}", concurrency=1)(act)

    def _counts(self, name: str, window: Window) -> WindowedCounts:
        table = self.app.Table(name, default=int)
        assert isinstance(table, LocalTable)
        self._tables.append(table)
        return WindowedCounts(table, window)

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
        for table in self._tables:
            await self.app.add_runtime_dependency(table)
        await self.app.start()
        self.app.flow_control.resume()
        for name in self.contexts:
            self.worker.telemetry.emit(AgentTold(name, "debug", "the agent watches", {}))

    async def on_stop(self) -> None:
        """Drain (Faust calls it before it stops the agents), then stop agents and engine."""
        await self.app.stop()
        await self.worker.stop()
        self._folder.cleanup()


async def watch(one: Agent, events: Arrivals, context: AgentContext) -> None:
    """Run an agent; what it raises reaches nobody else, and it is begun again a little later."""
    while True:
        try:
            await one.function(events, context)
            await asyncio.Event().wait()  # it is done; Faust would begin it again
        except Exception as error:
            log.exception("an agent failed", extra={"agent": one.name})
            context.failures += 1
            context.log.error("the agent failed and is begun again", error=repr(error))
        pause_s = AGAIN_FIRST_S * 2 ** min(context.failures - 1, 10)
        await asyncio.sleep(min(pause_s, AGAIN_MOST_S))
