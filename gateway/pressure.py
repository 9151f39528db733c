"""What the gateway accepts while Redis fills up, and when to ask again.

Above `memory_low_share` jobs of low priority are refused, so that they do not take the room of
urgent ones. Above `memory_spool_share` nothing more goes to Redis: the rest is for what workers
write, and what is accepted stays in the journal until there is room. With Redis away all priorities
are spooled, since then nothing is full.
"""

import logging
import random
from collections.abc import Awaitable, Callable, Mapping

from mode import Service

from gateway.problems import is_outage
from gateway.settings import GatewaySettings
from streams.errors import ClassFull, OutOfMemory
from streams.memory import Memory
from streams.model import Lane, Priority, State

log = logging.getLogger(__name__)

LOOK_S = 1.0
AFTER_MIN_S, AFTER_UNKNOWN_S, AFTER_MAX_S = 1.0, 30.0, 300.0
JITTER = 0.2  # those who were refused together do not come back together
WEIGHT = 0.3  # of the newest second in a rate
RESERVE = 1.1  # wait for a little more room than is missing

WAITING = (State.WAITING, State.DELAYED, State.BLOCKED)


class Drain:
    """How fast something goes down, a second of the past counting less the older it is."""

    def __init__(self) -> None:
        self._count = 0.0
        self._looked_at: float | None = None
        self.per_s = 0.0

    def passed(self, count: float) -> None:
        """So much went away."""
        self._count += count

    def look(self, now: float) -> None:
        """Reckon the rate anew; `now` is monotonic, in seconds."""
        if self._looked_at is not None and now > self._looked_at:
            rate = self._count / (now - self._looked_at)
            self.per_s += WEIGHT * (rate - self.per_s)
        self._looked_at, self._count = now, 0.0

    def after_s(self, amount: float) -> float:
        """How long until `amount` is gone, for Retry-After: 1 s to 5 min, jittered."""
        wait_s = amount * RESERVE / self.per_s if self.per_s > 0 else AFTER_UNKNOWN_S
        spread = random.uniform(1 - JITTER, 1 + JITTER)
        return min(max(wait_s * spread, AFTER_MIN_S), AFTER_MAX_S)


class Pressure(Service):
    """Looks at Redis' memory and backlog every second."""

    def __init__(
        self,
        memory: Callable[[], Awaitable[Memory]],
        counts: Callable[[], Awaitable[Mapping[str, int]]],
        settings: GatewaySettings,
    ) -> None:
        super().__init__()
        self._read_memory = memory
        self._read_counts = counts
        self._settings = settings
        self._waiting: dict[str, int] = {}
        self._freed = Drain()
        self.memory: Memory | None = None  # None while Redis does not answer

    @property
    def full(self) -> bool:
        """Whether jobs stay in the journal for now."""
        return self.memory is not None and self.memory.share >= self._settings.memory_spool_share

    def check(self, lane: Lane) -> None:
        """Raise OutOfMemory or ClassFull for a job of this lane that must wait outside."""
        if self.memory is None:
            return
        low = self._settings.memory_low_share
        if lane.priority is Priority.LOW and self.memory.share >= low:
            over = self.memory.used - low * self.memory.limit
            raise OutOfMemory("Redis fills up", after_s=self._freed.after_s(over))
        waiting = self._waiting.get(lane.resource_class, 0)
        if waiting >= self._settings.class_waiting_max:
            raise ClassFull(
                f"{waiting} jobs wait in {lane.resource_class}", after_s=AFTER_UNKNOWN_S
            )

    async def look(self, now: float) -> None:
        """Read both anew. Raises what the reads raise."""
        before = self.memory
        memory = self.memory = await self._read_memory()
        if before is not None:
            self._freed.passed(max(0, before.used - memory.used))
        self._freed.look(now)
        counts = await self._read_counts()
        self._waiting = {}
        for field, count in counts.items():
            name, _, state = field.partition("|")
            if state in WAITING:
                self._waiting[name] = self._waiting.get(name, 0) + count

    @Service.task
    async def _watch(self) -> None:
        while not self.should_stop:
            try:
                await self.look(self.loop.time())
            except Exception as error:  # the watch must outlive whatever Redis does
                self.memory = None
                if not is_outage(error):
                    log.exception("Redis' memory could not be read")
            await self.sleep(LOOK_S)
