"""One attempt as the code that runs it sees it: input, deadline, and a way to report."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from streams.model import Lease
from streams.telemetry import AttemptLog, ModelAsked, Telemetry
from streams.usage import NOTHING, Usage

Report = Callable[[Lease, float | None, str], None]
Say = Callable[[Lease, str], None]

# The lease under which this task or thread works, for lines of the log that know of no attempt.
HELD: ContextVar[Lease | None] = ContextVar("held", default=None)


class Attempt:
    """A running attempt. `stop` ends it from outside; `why` then says for what reason."""

    def __init__(
        self,
        lease: Lease,
        telemetry: Telemetry,
        report: Report,
        say: Say = lambda lease, piece: None,
    ) -> None:
        self.lease = lease
        self.payload = lease.payload or b""
        self.why = ""
        self.started = time.monotonic()
        self.usage = NOTHING
        self.untimed_s = 0.0  # time that did not count so far
        self._telemetry = telemetry
        self._report = report
        self._say = say
        self._scope: asyncio.Timeout | None = None
        self._left_s = lease.timeout_ms / 1000

    @property
    def timeout_s(self) -> float:
        """The job's time for one attempt, in seconds."""
        return self.lease.timeout_ms / 1000

    @property
    def deadline(self) -> float | None:
        """When the time is up, on the event loop's clock; None while it is not running."""
        return self._scope.when() if self._scope else None

    def scope(self) -> "Scope":
        """Gives the time limit to run the attempt under: `async with` that."""
        return Scope(self)

    def begin(self) -> asyncio.Timeout:
        """Start the attempt's time."""
        self._scope = asyncio.timeout(0 if self.why else self._left_s)
        return self._scope

    def over(self) -> None:
        """The attempt's time does not run any more."""
        self._scope = None

    def stop(self, why: str) -> None:
        """End the attempt at its next await: cancelled, lost, stopping."""
        self.why = self.why or why
        if self._scope is not None and self._scope.when() is not None:
            self._scope.reschedule(0)
        elif self._scope is not None:
            self._left_s = 0
            self._scope.reschedule(0)

    @contextmanager
    def untimed(self) -> Iterator[None]:
        """Time spent inside does not count: waiting for the GPU, loading a model."""
        scope, loop = self._scope, asyncio.get_running_loop()
        when = scope.when() if scope else None
        if scope is None or when is None or self.why:
            yield
            return
        began = loop.time()
        self._left_s = when - began
        scope.reschedule(None)
        try:
            yield
        finally:
            self.untimed_s += loop.time() - began
            if not self.why and not scope.expired():
                scope.reschedule(loop.time() + self._left_s)

    def progress(self, fraction: float | None, note: str = "") -> None:
        """Say how far the attempt is, 0 to 1, or None where that is not known."""
        self._report(self.lease, fraction, note)

    def emit(self, piece: str) -> None:
        """Let whoever watches the job read on: a piece of text that is ready before the rest."""
        self._say(self.lease, piece)

    def spend(self, usage: Usage, first_s: float | None = None) -> None:
        """Count what was used of a model; it is written when the attempt is settled."""
        self.usage += usage
        if usage.asks:
            self._telemetry.emit(ModelAsked(self.lease, usage, first_s))

    def log(self, level: str, message: str, **fields: object) -> None:
        """Write one line to the worker's log, with the job's ids."""
        self._telemetry.emit(AttemptLog(self.lease, level, message, fields))


class Scope:
    """While it is entered, the time of an attempt runs; a generator would be slower."""

    __slots__ = ("_attempt",)

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def __enter__(self) -> asyncio.Timeout:
        return self._attempt.begin()

    def __exit__(self, *_: object) -> None:
        self._attempt.over()
