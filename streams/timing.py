"""Time limits of attempts: many at once over one timer.

`asyncio.timeout` sets a timer of the loop for each, which is a tenth of what a worker does for a
job that is short. Of the attempts of a worker hardly one reaches its limit.
"""

import asyncio
import math
from types import TracebackType

NEVER = math.inf


class Limit:
    """A time limit for the code in its `with` block, as `asyncio.timeout` is one: it cancels the
    task, and what leaves the block is a TimeoutError.

    Code that swallows the cancellation goes on; `expired()` says so afterwards.
    """

    __slots__ = ("_cancelling", "_limits", "_runner", "_struck", "at")

    def __init__(self, limits: "Limits", at: float) -> None:
        """`at` is when, on the loop's clock."""
        self.at = at
        self._limits = limits
        self._runner: asyncio.Task[object] | None = None  # while it is entered
        self._cancelling = 0
        self._struck = False

    @property
    def entered(self) -> bool:
        """Whether the block runs."""
        return self._runner is not None

    def when(self) -> float | None:
        """When the time is up; None where it does not run."""
        return None if self._runner is None or self.at == NEVER else self.at

    def expired(self) -> bool:
        """Whether the time was up before the end."""
        return self._struck

    def reschedule(self, at: float | None) -> None:
        """Another time, 0 for now, None for never. Nothing once the limit has struck."""
        self.at = NEVER if at is None else at
        if not self._struck:
            self._limits.add(self)

    def strike(self) -> None:
        """The time is up."""
        self._struck = True
        if self._runner is not None:
            self._runner.cancel()

    def __enter__(self) -> "Limit":
        self._runner = asyncio.current_task()
        if self._runner is None:
            raise RuntimeError("a time limit needs a task")
        self._cancelling = self._runner.cancelling()
        self._limits.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        task, self._runner = self._runner, None
        self._limits.drop(self)
        if self._struck and task is not None:
            own = task.uncancel() <= self._cancelling  # nobody else has cancelled the task
            if own and kind is not None and issubclass(kind, asyncio.CancelledError):
                raise TimeoutError from error


class Limits:
    """The limits of one loop that are entered, and the timer for the next of them."""

    def __init__(self) -> None:
        self._entered: set[Limit] = set()
        self._next = NEVER  # when the timer goes off; that of a limit that was dropped stays
        self._timer: asyncio.TimerHandle | None = None

    def add(self, limit: Limit) -> None:
        """Watch over a limit; again when its time has changed."""
        self._entered.add(limit)
        if limit.at < self._next:
            self._set(limit.at)

    def drop(self, limit: Limit) -> None:
        """Watch over it no more."""
        self._entered.discard(limit)

    def _set(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = at
        self._timer = asyncio.get_running_loop().call_at(at, self._strike)

    def _strike(self) -> None:
        self._timer, self._next = None, NEVER
        now = asyncio.get_running_loop().time()
        for limit in [each for each in self._entered if each.at <= now]:
            self._entered.discard(limit)
            limit.strike()
        following = min((each.at for each in self._entered), default=NEVER)
        if following < NEVER:
            self._set(following)
