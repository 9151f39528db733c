"""One attempt as the code that runs it sees it: input, deadline, and a way to report."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from streams.model import Lease
from streams.telemetry import AttemptLog, ModelAsked, Telemetry
from streams.timing import Limit, Limits
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
        limits: Limits | None = None,
    ) -> None:
        """`limits` watches over the time of all attempts of a worker."""
        self.lease = lease
        self.payload = lease.payload or b""
        self.why = ""
        self.started = time.monotonic()
        self.usage = NOTHING
        self.untimed_s = 0.0  # time that did not count so far
        self._telemetry = telemetry
        self._report = report
        self._say = say
        self._limits = limits or Limits()
        self._limit: Limit | None = None

    @property
    def timeout_s(self) -> float:
        """The job's time for one attempt, in seconds."""
        return self.lease.timeout_ms / 1000

    @property
    def deadline(self) -> float | None:
        """When the time is up, on the event loop's clock; None while it is not running."""
        return self._limit.when() if self._limit else None

    def limit(self) -> Limit:
        """The time limit to run the attempt under: `with` it the time begins."""
        left_s = 0 if self.why else self.timeout_s
        self._limit = Limit(self._limits, asyncio.get_running_loop().time() + left_s)
        return self._limit

    def stop(self, why: str) -> None:
        """End the attempt at its next await: cancelled, lost, stopping."""
        self.why = self.why or why
        if self._limit is not None and self._limit.entered:
            self._limit.reschedule(0)

    @contextmanager
    def untimed(self) -> Iterator[None]:
        """Time spent inside does not count: waiting for the GPU, loading a model."""
        limit, loop = self._limit, asyncio.get_running_loop()
        when = limit.when() if limit else None
        if limit is None or when is None or self.why:
            yield
            return
        began = loop.time()
        left_s = when - began
        limit.reschedule(None)
        try:
            yield
        finally:
            self.untimed_s += loop.time() - began
            if not self.why and limit.entered:
                limit.reschedule(loop.time() + left_s)

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
