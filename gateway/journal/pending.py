"""A submit on its way: what the disk and then Redis say of its jobs, and how long it waits for it.

One future wakes the request, however many jobs it brings and whatever ends its waiting.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from gateway.journal.file import Written
from streams.model import NewJob, Submitted

Said = Submitted | Exception


class Pending:
    """The jobs of one request. `written` and `said` have a place for each, in their order."""

    __slots__ = ("_done", "_left", "failure", "jobs", "said", "written")

    def __init__(self, jobs: Sequence[NewJob]) -> None:
        self.jobs = jobs
        self.written: Sequence[Written] = ()  # empty until they are on disk
        self.said: list[Said | None] = [None] * len(jobs)  # None: Redis has not said anything
        self.failure: Exception | None = None  # why they are not on disk
        self._left = len(jobs)
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def waits(self) -> bool:
        """Whether somebody still waits for what is said."""
        return not self._done.done()

    def tell(self, index: int, said: Said) -> bool:
        """Say what Redis said of a job; False when nobody waits for it any more."""
        if self._done.done():
            return False
        self.said[index] = said
        self.expect_less()
        return True

    def expect_less(self) -> None:
        """Wait for one answer fewer: nothing will be said of a job."""
        self._left -= 1
        if not self._left:
            self.end()

    def fail(self, error: Exception) -> None:
        """Say that the jobs are not on disk."""
        self.failure = error
        self.end()

    def end(self) -> None:
        """Let the request go on with what was said by now."""
        if not self._done.done():
            self._done.set_result(None)

    async def ended(self) -> None:
        """Return when there is nothing more to wait for. Raises why they are not on disk."""
        await self._done
        failure, self.failure = self.failure, None
        if failure is not None:
            try:  # without what others who were told the same left on it, nor a cycle to ourselves
                raise failure.with_traceback(None)
            finally:
                del failure


Place = tuple[Pending, int]  # a job of a submit: the one at that index


class Patience:
    """Calls `end` for each that has waited for `limit_s` and still does.

    All wait equally long, so whoever came first is the first to go: one timer is enough.
    """

    def __init__(self, limit_s: float, end: Callable[[Pending], None]) -> None:
        self._limit_s = limit_s
        self._end = end
        self._waiting: deque[tuple[float, Pending]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, pending: Pending) -> None:
        """Begin to count."""
        loop, waiting = asyncio.get_running_loop(), self._waiting
        while waiting and not waiting[0][1].waits:
            waiting.popleft()
        waiting.append((loop.time() + self._limit_s, pending))
        if self._timer is None:
            self._timer = loop.call_at(waiting[0][0], self._look)

    def _look(self) -> None:
        loop, waiting = asyncio.get_running_loop(), self._waiting
        self._timer, now = None, loop.time()
        while waiting and (waiting[0][0] <= now or not waiting[0][1].waits):
            _, pending = waiting.popleft()
            if pending.waits:
                self._end(pending)
        if waiting:
            self._timer = loop.call_at(waiting[0][0], self._look)
