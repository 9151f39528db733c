"""Fires the ticks of schedules that are due."""

import logging

from streams.errors import Unavailable
from streams.schedule import Schedule, plan
from streams.schedules import Fired, ScheduleStore, Standing

COUNT = 50  # schedules looked up at once
ROUNDS_MAX = 10
TICKS_MAX = 100  # jobs made in one call
BYTES_MAX = 1024 * 1024  # of their payloads; one job may have more

log = logging.getLogger(__name__)


class Scheduler:
    """A tick runs within a second of its time, at 500 schedules a second.

    Any number of processes may do this: of those that come at once one makes the job. What the
    time is, the Redis server says.
    """

    name = "scheduler"
    every_s = 1.0

    def __init__(self, store: ScheduleStore) -> None:
        self._store = store
        self._broken: set[tuple[str, str]] = set()

    async def tick(self) -> None:
        """Fire what is due, in bounded calls."""
        aside = 0  # due ones that do not move: they must not hide those behind them
        for _ in range(ROUNDS_MAX):
            now_ms = await self._store.now_ms()
            due = await self._store.due(now_ms, aside, COUNT)
            for key in due:
                aside += not await self._fire_one(key, now_ms)
            if not due:
                return

    async def _fire_one(self, key: str, now_ms: int) -> bool:
        """Fire one schedule; False when it stays where it is."""
        try:
            return await self._fire(key, now_ms)
        except Unavailable:
            raise
        except Exception as error:  # one that this version cannot read is not the others' matter
            if (key, repr(error)) not in self._broken:
                self._broken.add((key, repr(error)))
                log.exception("a schedule cannot be fired", extra={"schedule": key})
            return False

    async def _fire(self, key: str, now_ms: int) -> bool:
        standing = await self._store.find(key)
        if standing is None or standing.paused:
            return False
        planned = plan(standing.schedule, standing.next_ms, now_ms, ticks_max(standing))
        if planned is None:
            return False
        fired = await self._store.fire(standing, planned)
        if fired is not None:
            tell(standing.schedule, fired, planned.missed)
        return True


def ticks_max(standing: Standing) -> int:
    """How many jobs of this schedule one call may make."""
    return max(1, min(TICKS_MAX, BYTES_MAX // max(1, standing.payload_bytes)))


def tell(schedule: Schedule, fired: Fired, missed: int) -> None:
    """Log what somebody may ask about: ticks that made no job."""
    named = {"schedule": schedule.name, "app": schedule.app}
    if missed:
        log.warning("ticks were missed", extra={**named, "missed": missed, "made": fired.made})
    if fired.skipped:
        log.info(
            "ticks were skipped: the job before runs on", extra={**named, "skipped": fired.skipped}
        )
