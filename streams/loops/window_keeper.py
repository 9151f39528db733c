"""Counts what happens into windows, in one worker for all."""

from streams.events import EventReader
from streams.windows import (
    FRESH_MS,
    MINUTE_S,
    Moment,
    Moments,
    Panes,
    WindowStore,
    changed,
    keys_of,
    pane_of,
    recent_of,
)

PAGE = 200  # entries: what is counted at once holds up the jobs of this worker
PAGES_MAX = 100  # in one tick


class WindowKeeper:
    """One worker counts; the others stand by and begin when nothing new is published.

    Whoever begins counts what the stream of events still has of the time that the windows cover, so
    a restart forgets nothing. Two that begin at once agree within two ticks: the later one stays.
    """

    name = "windows"
    every_s = 2.0

    def __init__(
        self,
        worker: str,
        panes: Panes,
        events: EventReader,
        store: WindowStore,
        moments: Moments,
    ) -> None:
        self._worker = worker
        self._panes = panes
        self._events = events
        self._store = store
        self._moments = moments
        self._before: Moment | None = None  # up to where was counted; None while standing by

    async def tick(self) -> None:
        """Count what is new and publish it, unless another worker does."""
        now, told = await self._moments.now(), await self._store.read()
        if told is not None and told.by != self._worker and now.ms - told.at_ms < FRESH_MS:
            self._before = None
            return
        happened = changed(self._before, now) if self._before else None
        if self._before is not None and now.tallies is None:
            await self._count(self._before.newest, now.newest)
        elif self._before is None or happened is None:
            self._panes.clear()
            await self._count(f"{now.ms - MINUTE_S * 1_000}-0", now.newest)
        else:
            sums, failed = happened
            for key, count in sums.items():
                self._panes.add(key, pane_of(now.ms), count)
            if failed:
                await self._count(self._before.newest, now.newest, what="failed")
        self._before = now
        await self._store.publish(recent_of(self._panes, self._worker, now.ms))

    async def _count(self, after: str, until: str, what: str = "") -> None:
        """Count events up to one of them, all or those of one kind; not for ever."""
        for _ in range(PAGES_MAX):
            entries = await self._events.entries(after, count=PAGE)
            within = [entry for entry in entries if place(entry.id) <= place(until)]
            for (key, pane_s), count in keys_of(within).items():
                if what in ("", key[1]):
                    self._panes.add(key, pane_s, count)
            if len(within) < PAGE:
                return
            after = entries[-1].id


def place(entry_id: str) -> tuple[int, int]:
    """An entry's id as Redis orders it."""
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number)
