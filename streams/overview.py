"""Everything that an operator wants to see first, in one look: classes, lanes, workers, memory.

One reader is kept for as long as somebody looks, since the pace of lanes is counted from look to
look.
"""

import asyncio
import time
from collections.abc import Sequence

import msgspec

from streams.backlog import Backlog, BacklogReader
from streams.circumstances import CircumstanceReader, Circumstances
from streams.directory import Directory, WorkerCard
from streams.events import Event
from streams.inspector import ClassView, Inspector, LaneView
from streams.keyspace import Keyspace
from streams.memory import Memory, read_memory
from streams.model import Lane
from streams.pulse import LanePace, Pulse
from streams.scripts import Client, translated
from streams.together import together
from streams.windows import Recent, WindowStore

EXPLAINED_MAX = 16  # lanes whose circumstances are read, the oldest first
BACKLOG_S = 5.0  # how old what is known of delayed jobs and dead letters may be

NO_PACE = LanePace()


class LaneStanding(msgspec.Struct, frozen=True):
    """One lane with all that is known of it. `waiting` and the ages are those of `view`."""

    view: LaneView
    delayed: int
    retrying: int
    dead: int
    idle_ms: int | None  # of its most silent lease; None without one
    pace: LanePace
    history: tuple[int, ...]  # what waited over the last minutes; the last is now
    circumstances: Circumstances | None = None  # None: not looked at


class Overview(msgspec.Struct, frozen=True):
    """Redis as it stood at one moment."""

    at_ms: int  # wall time of the server
    link_ms: float  # how long one call took
    memory: Memory
    counts: dict[str, int]  # as Inspector.counts
    classes: tuple[ClassView, ...]
    lanes: tuple[
        LaneStanding, ...
    ]  # of all classes; those with only delayed, dead or just ended jobs too
    backlog: Backlog
    workers: tuple[WorkerCard, ...]
    recent: Recent | None = None  # the last minute; None: no worker counts it


class OverviewReader:
    """Takes overviews, one after another. May raise errors.Unavailable."""

    def __init__(self, redis: Client, keyspace: Keyspace) -> None:
        self._redis = redis
        self._inspector = Inspector(redis, keyspace)
        self._directory = Directory(redis, keyspace)
        self._backlog = BacklogReader(redis, keyspace)
        self._circumstances = CircumstanceReader(redis, keyspace)
        self._pulse = Pulse(redis, keyspace)
        self._windows = WindowStore(redis, keyspace)
        self._known: tuple[float, Backlog] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def look(self) -> Overview:
        """How everything stands now."""
        async with self._one_at_a_time:
            return await self._look()

    def recent(self, after: str = "") -> Sequence[Event]:
        """The newest events that a look came upon, at most 200, oldest first."""
        return list(self._pulse.recent(after))

    async def _look(self) -> Overview:
        at_ms, link_ms = await self._ping()
        async with together() as group:
            pulse = group.create_task(self._pulse.look())
            classes = group.create_task(self._inspector.classes())
            counts = group.create_task(self._inspector.counts())
            memory = group.create_task(read_memory(self._redis))
            workers = group.create_task(self._directory.workers())
            backlog = group.create_task(self._backlogged())
            recent = group.create_task(self._windows.read())
        await pulse
        lanes = await self._lanes(classes.result(), backlog.result())
        return Overview(
            at_ms=at_ms,
            link_ms=link_ms,
            memory=memory.result(),
            counts=counts.result(),
            classes=tuple(classes.result()),
            lanes=tuple(lanes),
            backlog=backlog.result(),
            workers=tuple(workers.result()),
            recent=recent.result(),
        )

    async def _ping(self) -> tuple[int, float]:
        """The server's time, and the quicker of two calls: one may have waited for ourselves."""
        took_ms = []
        for _ in range(2):
            began = time.perf_counter()
            with translated():
                seconds, micros = await self._redis.time()
            took_ms.append((time.perf_counter() - began) * 1_000)
        return int(seconds) * 1_000 + int(micros) // 1_000, min(took_ms)

    async def _backlogged(self) -> Backlog:
        """What was read a moment ago will do: it costs most of a look."""
        now_s = time.monotonic()
        if self._known is None or now_s - self._known[0] >= BACKLOG_S:
            self._known = (now_s, await self._backlog.read())
        return self._known[1]

    async def _lanes(self, classes: Sequence[ClassView], backlog: Backlog) -> list[LaneStanding]:
        views = {lane.lane.name: lane for view in classes for lane in view.lanes}
        paces = self._pulse.paces()  # a lane that was just emptied is still of interest
        for name in (*backlog.delayed, *backlog.retrying, *backlog.dead, *paces):
            views.setdefault(name, LaneView(Lane.parse(name), 0, 0, 0, 0))
        idle = await self._backlog.idle_ms([name for name, view in views.items() if view.active])
        explained = await self._explained(list(views.values()))
        return [
            LaneStanding(
                view=view,
                delayed=backlog.delayed[name],
                retrying=backlog.retrying[name],
                dead=backlog.dead[name],
                idle_ms=idle.get(name),
                pace=paces.get(name, NO_PACE),
                history=self._pulse.history(name, view.waiting),
                circumstances=explained.get(name),
            )
            for name, view in sorted(views.items())
        ]

    async def _explained(self, views: Sequence[LaneView]) -> dict[str, Circumstances]:
        waiting = [view for view in views if view.waiting]
        oldest = sorted(waiting, key=lambda view: -view.oldest_age_ms)[:EXPLAINED_MAX]
        names = [view.lane.name for view in oldest]
        found = [await self._circumstances.of_lane(view.lane) for view in oldest]
        return dict(zip(names, found, strict=True))
