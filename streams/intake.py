"""How leases reach idle actors: an idle actor is a free slot; nothing is fetched beyond it."""

import asyncio
from collections import deque
from collections.abc import Callable

from streams.model import Lease, ResourceClass

OVERLAP_FROM = 32


class Closed(Exception):
    """The worker is stopping: an actor that asks for work gets this and ends."""


class Intake:
    """One resource class of one worker: its pool, its slots, the actors that wait."""

    def __init__(
        self,
        resource_class: ResourceClass,
        pool: str,
        slots: int,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.resource_class = resource_class
        self.pool = pool
        self.slots = slots  # may change while it runs, up to the number of actors
        self.running = 0
        self.asked = 0  # slots that a take on its way may fill
        self.sequence = 0
        self.dirty = True  # there may be work that no take has looked for
        self.hot = False  # the last take was answered in full: ask twice at once
        self.open = True
        self.look_again: asyncio.TimerHandle | None = None
        self.wake = wake
        self._idle: deque[asyncio.Future[Lease]] = deque()

    @property
    def free(self) -> int:
        """Slots that a take may fill now."""
        return max(0, min(len(self._idle), self.slots - self.running) - self.asked)

    def ask(self) -> int:
        """Reserve slots for one take: of many slots half, so that two takes overlap.

        Below OVERLAP_FROM slots a second round trip costs more than the overlap gains (measured:
        1.2 times the jobs/s at 10 slots without it).
        """
        free = self.free
        if not (self.open and self.dirty and free):
            return 0
        wanted = min(free, self.slots // 2) if self.slots >= OVERLAP_FROM else free
        self.asked += wanted
        self.dirty = self.hot and wanted < free
        return wanted

    async def pull(self) -> Lease:
        """Wait, as an idle actor, for a lease. Raises Closed once the worker stops."""
        if not self.open:
            raise Closed
        waiting: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        self._idle.append(waiting)
        self.dirty = True
        self.wake()
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting in self._idle:
                self._idle.remove(waiting)
            raise

    def deliver(self, lease: Lease) -> bool:
        """Give a lease to an idle actor. False when there is none: it must be handed back."""
        while self._idle:
            waiting = self._idle.popleft()
            if not waiting.done():
                self.running += 1
                waiting.set_result(lease)
                return True
        return False

    def freed(self) -> None:
        """An attempt of this class has ended."""
        self.running -= 1
        self.dirty = True

    def shut(self) -> None:
        """Ask for no more work and send the idle actors home."""
        self.open = False
        if self.look_again is not None:
            self.look_again.cancel()
        while self._idle:
            waiting = self._idle.popleft()
            if not waiting.done():
                waiting.set_exception(Closed())
