"""Looking again and again: the overview always, and what the tab that is shown needs beside it."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from ops.story import Story
from ops.tui.source import Deed, Outcome, Source
from ops.tui.state import OF_OVERVIEW, Came, Failed, Happening, Saw, State, Tab
from ops.tui.trees import Flows
from streams.clock import Clock
from streams.errors import NotAllowed, Trouble
from streams.together import together

EVERY_S = 2.0
LOOK_MAX_S = 15.0  # then it counts as failed
FLOWS_OPEN_MAX = 12  # whose stages are read in one look

log = logging.getLogger(__name__)

T = TypeVar("T")
Tell = Callable[[Happening], None]


class Poller:
    """Looks, and tells what it saw. It never raises for what a source does."""

    def __init__(self, source: Source, clock: Clock, tell: Tell) -> None:
        self.source = source
        self._clock = clock
        self._tell = tell
        self._under_way: set[asyncio.Future[Any]] = set()

    async def look(self, state: State) -> None:
        """One look at everything that is shown now."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look("", self._overview))
            if state.tab not in OF_OVERVIEW:
                group.create_task(self._look(state.tab, lambda: self._data(state.tab)))

    async def story(self, job_id: str) -> Story | str:
        """A job's story, or why it is not to be had."""
        try:
            return await self._apart(self.source.story(job_id))
        except Exception as error:
            return said_of(error)

    async def do(self, deed: Deed) -> Outcome | str:
        """What became of a deed, or why it was not done."""
        try:
            return await self._apart(self.source.do(deed))
        except Exception as error:
            return f"not done: {said_of(error)}"

    async def close(self) -> None:
        """Wait for what is under way, so that nobody closes the source below it."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=LOOK_MAX_S)

    async def _apart(self, call: Coroutine[Any, Any, T]) -> T:
        """What a call of the source answers. A cancellation reaches us and not the call: redis-py
        may lose one on Python 3.11, and whoever cancelled would wait for ever."""
        running = asyncio.ensure_future(call)
        self._under_way.add(running)
        running.add_done_callback(self._ended)
        async with asyncio.timeout(LOOK_MAX_S):
            return await asyncio.shield(running)

    def _ended(self, running: "asyncio.Future[Any]") -> None:
        self._under_way.discard(running)
        if not running.cancelled():
            running.exception()  # whoever waited has it, unless they went away

    async def _look(self, what: str, look: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await self._apart(look())
        except Exception as error:  # the screen says so, and the next look may succeed
            self._tell(Failed(what, said_of(error), self._clock.now_ms()))

    async def _overview(self) -> None:
        overview = await self.source.overview()
        self._tell(Saw(overview, self._clock.now_ms()))

    async def _data(self, tab: Tab) -> None:
        source = self.source
        found: Any
        match tab:
            case Tab.JOBS:
                found = await source.jobs()
            case Tab.WORKERS:
                found = await source.workers()
            case Tab.CALLBACKS:
                found = await source.callbacks()
            case Tab.SCHEDULES:
                found = await source.schedules()
            case Tab.DEAD:
                found = await source.dead_letters()
            case Tab.MODELS:
                found = await source.usage()
            case _:
                found = await self._flows()
        self._tell(Came(tab, found, self._clock.now_ms()))

    async def _flows(self) -> Flows:
        """The listing, and the newest of them with their stages, those that live first."""
        rows: Sequence[Any] = await self.source.flows()
        newest = sorted(rows, key=lambda row: row.ended_at is not None)[:FLOWS_OPEN_MAX]
        async with together() as group:
            views = {row.id: group.create_task(self.source.flow(row.id)) for row in newest}
        return Flows(tuple(rows), {flow_id: view.result() for flow_id, view in views.items()})


def said_of(error: BaseException) -> str:
    """A failure as a person reads it."""
    if isinstance(error, TimeoutError):
        return f"no answer within {LOOK_MAX_S:g} s"
    if isinstance(error, NotAllowed):
        return f"not allowed: {error}"
    if isinstance(error, Trouble):
        return str(error)
    if "NOPERM" in str(error):
        return f"this user of Redis may not look: {error}"
    log.warning("a look failed", exc_info=error)
    return f"{type(error).__name__}: {error}"
