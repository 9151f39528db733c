"""The events of all jobs for one agent, from as far back as it wants, at its own pace."""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence

from streams.errors import Unavailable
from streams.events import Entry, Event, EventReader, parse_entry
from streams.model import State

BLOCK_MS, COUNT = 1_000, 200
PACE_S = 0.5  # between two reads: many events are read at once, not each as it comes
AWAY_S = 1.0  # until it looks again for a Redis that is away

log = logging.getLogger(__name__)


class EventFeed:
    """Answers event after event; waits where there is none. Its reader's client waits in XREAD."""

    def __init__(self, reader: EventReader, replay_s: float, states: Iterable[State] = ()) -> None:
        """Begins `replay_s` before the newest event there is at the first call.

        With `states`, only events that lead to one of these, and of the others the newest of each
        read: it says what the time is.
        """
        self._reader = reader
        self._states = frozenset(states)
        self._marks = [f"\t{state}\t".encode() for state in self._states]
        self._replay_ms = round(replay_s * 1_000)
        self._ready: deque[Event] = deque()
        self._after = ""  # the id of the newest that was read
        self._newest_ms = 0  # at the start

    async def next(self) -> tuple[Event, bool]:
        """The next event, and whether it is from before the start."""
        while not self._ready:
            try:
                await self._read()
            except Unavailable as error:
                log.info("events cannot be read", extra={"reason": str(error)})
                await asyncio.sleep(AWAY_S)
            except Exception:  # it would end the agent's stream for good
                log.exception("events cannot be read")
                await asyncio.sleep(AWAY_S)
        event = self._ready.popleft()
        return event, event.at_ms <= self._newest_ms

    async def _read(self) -> None:
        if not self._after:
            newest = await self._reader.latest_id()
            self._newest_ms = int(newest.split("-")[0])
            from_ms = self._newest_ms - self._replay_ms
            self._after = newest if not self._replay_ms else f"{max(0, from_ms)}-0"
        entries = await self._reader.entries(self._after, BLOCK_MS, COUNT)
        if entries:
            self._after = entries[-1].id
            self._ready.extend(self._wanted(entries))
        if 0 < len(entries) < COUNT:
            await asyncio.sleep(PACE_S)

    def _wanted(self, entries: Sequence[Entry]) -> Iterable[Event]:
        """Most entries hold nothing that is wanted: those are not taken apart."""
        last = entries[-1]
        for entry in entries:
            if entry is last or not self._states or any(m in entry.lines for m in self._marks):
                *events, newest = parse_entry(entry.id, entry.lines)
                yield from (event for event in events if self._wants(event))
                if entry is last or self._wants(newest):
                    yield newest

    def _wants(self, event: Event) -> bool:
        return not self._states or event.state in self._states
