"""Counts what happens into windows, in one worker for all."""

from streams.events import EventReader
from streams.windows import FRESH_MS, MINUTE_S, Panes, WindowStore, keys_of, recent_of

PAGE = 200  # entries: what is counted at once holds up the jobs of this worker
PAGES_MAX = 100  # in one tick


class WindowKeeper:
    """One worker counts; the others stand by and begin when nothing new is published.

    Whoever begins counts what the stream of events still has of the time that the windows cover, so
    a restart forgets nothing. Two that begin at once agree within two ticks: the later one stays.
    """

    name = "windows"
    every_s = 2.0

    def __init__(self, worker: str, panes: Panes, events: EventReader, store: WindowStore) -> None:
        self._worker = worker
        self._panes = panes
        self._events = events
        self._store = store
        self._after = ""  # the last event that was counted; empty while standing by

    async def tick(self) -> None:
        """Count what is new and publish it, unless another worker does."""
        now_ms = await self._store.now_ms()
        told = await self._store.read()
        if told is not None and told.by != self._worker and now_ms - told.at_ms < FRESH_MS:
            self._after = ""
            return
        if not self._after:
            self._panes.clear()
            self._after = f"{now_ms - MINUTE_S * 1_000}-0"
        await self._count()
        await self._store.publish(recent_of(self._panes, self._worker, now_ms))

    async def _count(self) -> None:
        """Read on, and skip to the newest when that takes too long."""
        for _ in range(PAGES_MAX):
            entries = await self._events.entries(self._after, count=PAGE)
            for (key, pane_s), count in keys_of(entries).items():
                self._panes.add(key, pane_s, count)
            if not entries:
                return
            self._after = entries[-1].id
        self._after = await self._events.latest_id()
