"""The events of all jobs for one agent, from as far back as it wants, at its own pace."""

import asyncio
import logging
from collections import deque

from streams.errors import Unavailable
from streams.events import Event, EventReader

BLOCK_MS, COUNT = 1_000, 200
AWAY_S = 1.0  # until it looks again for a Redis that is away

log = logging.getLogger(__name__)


class EventFeed:
    """Answers event after event; waits where there is none. Its reader's client waits in XREAD."""

    def __init__(self, reader: EventReader, replay_s: float) -> None:
        """Begins `replay_s` before the newest event there is at the first call."""
        self._reader = reader
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
        found = await self._reader.read(self._after, BLOCK_MS, COUNT)
        if found:
            self._after = found[-1].id
            self._ready.extend(found)
