"""How leases reach actors: an idle actor is a free slot; of short jobs some are leased ahead.

A lease ahead waits here until a slot is free. It exists only while attempts are so short that it
starts within a few milliseconds, and goes back, its place kept, when it does not: decision 19.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from streams.model import Lease, ResourceClass

OVERLAP_FROM = 32  # slots from which two takes share them, where nothing is leased ahead
AHEAD_MAX = 384  # leases, whatever the slots
AHEAD_SHARE = 0.2  # of the time that a lease may wait: within this it should start
PARTS = 3  # of what may be held: two on their way, one at work
# Redis writes 64 KiB of an answer at once (NET_MAX_WRITES_PER_EVENT) and then runs what has come in
# before it writes the rest: a worker would wait for its leases until the next round is done.
ANSWER_BYTES, LEASE_BYTES = 60_000, 330  # of a take; of one lease in it, its input apart
TURN_S = 0.005  # an actor that never waits lets others in after this
UNKNOWN_S = 1.0  # what an attempt is taken to last before any was seen
FORGET = 0.95  # of the longest attempt, with each that is shorter


class Closed(Exception):
    """The worker is stopping: an actor that asks for work gets this and ends."""


def leases_ahead(slots: int, longest_s: float, ahead_s: float) -> int:
    """How many leases beyond the slots start in time, if no attempt takes longer than that."""
    return min(AHEAD_MAX, int(slots * AHEAD_SHARE * ahead_s / max(longest_s, 1e-6)))


def portion(free: int, slots: int, ahead: int, waiting: int, part_max: int) -> int:
    """How many leases the next take should ask for; 0: better later, with more at once.

    `free` is how many may be asked for at all, `waiting` how many are held or on their way beyond
    what runs, `part_max` how many fit into an answer. With little work at a time a second take on
    its way costs more than it gains.
    """
    if ahead:
        part = min(part_max, (slots + ahead) // PARTS)
        return min(free, part) if free >= part or not waiting else 0
    return min(free, slots // 2) if slots >= OVERLAP_FROM else free


class Intake:
    """One resource class of one worker: its pool, its slots, the actors that wait."""

    def __init__(
        self,
        resource_class: ResourceClass,
        pool: str,
        slots: int,
        *,
        ahead_ms: int = 0,
        wake: Callable[[], None] = lambda: None,
        give_back: Callable[[Lease], None] = lambda lease: None,
    ) -> None:
        """A lease waits for a slot for at most `ahead_ms`; with 0 none is taken before."""
        self.resource_class = resource_class
        self.pool = pool
        self.slots = slots  # may change while it runs, up to the number of actors
        self.running = 0
        self.asked = 0  # leases that a take on its way may bring
        self.sequence = 0
        self.dirty = True  # there may be work that no take has looked for
        self.hot = False  # the last take was answered in full: ask twice at once
        self.open = True
        self.look_again: asyncio.TimerHandle | None = None
        self.wake = wake
        self.give_back = give_back
        self._idle: deque[asyncio.Future[Lease]] = deque()
        self._ready: deque[tuple[float, Lease]] = deque()  # ahead of their slots, since when
        self._ahead_s = ahead_ms / 1000
        self._longest_s = UNKNOWN_S
        self._payload_bytes = 0.0  # of an input in an answer, of late
        self._let_in_at = 0.0
        self._spreading = 0  # actors to be woken in the next turn, for what the first leaves
        self._check: asyncio.TimerHandle | None = None

    @property
    def ahead(self) -> int:
        """Leases that may be held beyond the slots, now."""
        return leases_ahead(self.slots, self._longest_s, self._ahead_s)

    @property
    def held(self) -> int:
        """Leases that wait for a slot."""
        return len(self._ready)

    def ask(self) -> int:
        """Reserve room for what one take may bring; 0: ask for nothing now."""
        if not (self.open and self.dirty):
            return 0
        ahead, waiting = self.ahead, len(self._ready) + self.asked
        free = max(0, min(len(self._idle), self.slots - self.running) + ahead - waiting)
        part_max = max(1, int(ANSWER_BYTES / (LEASE_BYTES + self._payload_bytes)))
        wanted = portion(free, self.slots, ahead, waiting, part_max)
        self.asked += wanted
        if wanted:
            self.dirty = self.hot and wanted < free
        return wanted

    async def pull(self) -> Lease:
        """Wait, as an idle actor, for a lease. Raises Closed once the worker stops."""
        if not self.open:
            raise Closed
        self.dirty = True
        if self._ready and time.monotonic() > self._let_in_at:
            await asyncio.sleep(0)
            self._let_in_at = time.monotonic() + TURN_S
        if self._ready and self.running < self.slots:
            self.running += 1
            return self._ready.popleft()[1]
        if not self.open:
            raise Closed
        waiting: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        self._idle.append(waiting)
        self.wake()
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting in self._idle:
                self._idle.remove(waiting)
            raise

    def deliver(self, lease: Lease) -> bool:
        """Give a lease to an idle actor or keep it for the next. False: it must be handed back.

        Of short jobs that come together one actor runs what it can in this turn of the loop; what
        it leaves wakes others, one, two, four. To wake one for each costs a fifth more.
        """
        self._payload_bytes += 0.1 * (len(lease.payload or b"") - self._payload_bytes)
        if not self._spreading and self._start(lease):
            if self.ahead:
                self._spreading = 1
                self._let_in_at = time.monotonic() + TURN_S
                asyncio.get_running_loop().call_soon(self._spread)
            return True
        if not (self.open and self._ahead_s):
            return False
        self._ready.append((time.monotonic(), lease))
        self._check_later()
        return True

    def _spread(self) -> None:
        """Wake actors for what is left, twice as many as in the turn before."""
        for _ in range(self._spreading):
            if not self._ready or not self._start(self._ready[0][1]):
                self._spreading = 0
                return
            self._ready.popleft()
        self._spreading *= 2
        asyncio.get_running_loop().call_soon(self._spread)

    def _start(self, lease: Lease) -> bool:
        while self._idle and self.running < self.slots:
            waiting = self._idle.pop()  # the one that ran last: what it needs is in the caches
            if not waiting.done():
                self.running += 1
                waiting.set_result(lease)
                return True
        return False

    def freed(self, took_s: float) -> None:
        """An attempt of this class has ended; whoever ran it will pull again."""
        self.running -= 1
        self.dirty = True
        self._longest_s = max(took_s, FORGET * self._longest_s)

    def withdraw(self, job_id: str) -> Lease | None:
        """Take a lease away that has not started."""
        for entry in self._ready:
            if entry[1].job_id == job_id:
                self._ready.remove(entry)
                return entry[1]
        return None

    def shut(self) -> None:
        """Ask for no more work, give back what has not started and send the idle actors home."""
        self.open = False
        if self.look_again is not None:
            self.look_again.cancel()
        self._give_back_all()
        while self._idle:
            waiting = self._idle.popleft()
            if not waiting.done():
                waiting.set_exception(Closed())

    # -------------------------------------------------------------- leases that wait for too long

    def _check_later(self, least_s: float = 0.0) -> None:
        if self._check is None and self._ready:
            now = time.monotonic()
            due = max(self._ready[0][0] + self._ahead_s, now + least_s)
            self._check = asyncio.get_running_loop().call_later(due - now, self._check_ready, due)

    def _check_ready(self, due: float) -> None:
        """Give back what should have started by now, unless it was the loop that stood still."""
        self._check = None
        late_s = time.monotonic() - due
        if late_s > self._ahead_s / 2:  # the actors have had no turn either
            self._check_later(self._ahead_s / 2)
        elif self._ready and self._ready[0][0] + self._ahead_s <= due + late_s:
            self._longest_s = max(self._longest_s, UNKNOWN_S)
            self._give_back_all()
        else:
            self._check_later()

    def _give_back_all(self) -> None:
        while self._ready:
            self.give_back(self._ready.popleft()[1])
