"""What a processor is given besides its input."""

import threading
import time
from collections.abc import Mapping
from typing import Any, TypeVar

from processors.dependencies import Attempt
from processors.dependencies.log import Log
from streams.errors import ConfigError

NOTE_MAX = 200

T = TypeVar("T")


class Context:
    """One attempt, seen by the processor that runs it.

    A declared dependency is an attribute, `context.http`; `context.need("http", Http)` is the
    same with a type.
    """

    def __init__(
        self,
        attempt: Attempt,
        dependencies: Mapping[str, object],
        stop_requested: threading.Event | None = None,
    ) -> None:
        """`dependencies` are the injected values by name."""
        self._attempt = attempt
        self._dependencies = dependencies
        self._stop_requested = stop_requested  # of a thread, which cannot be cancelled
        self.log = Log(attempt.log)

    @property
    def job_id(self) -> str:
        """The job's id; the same in every attempt, so a good idempotency key for what you call."""
        return self._attempt.lease.job_id

    @property
    def app(self) -> str:
        """The app that submitted the job."""
        return self._attempt.lease.lane.app

    @property
    def tags(self) -> tuple[str, ...]:
        """What the app wrote on the job."""
        return self._attempt.lease.tags

    @property
    def traceparent(self) -> str:
        """The W3C `traceparent` that the submit bore, for what you call; empty without one.

        What `http` fetches bears it by itself.
        """
        return self._attempt.lease.trace

    @property
    def submitted_ms(self) -> int:
        """When the job came into being, in wall milliseconds; the same in every attempt."""
        return self._attempt.lease.submitted_ms

    @property
    def attempt(self) -> int:
        """Which attempt this is, counted from 1."""
        return self._attempt.lease.attempt

    @property
    def is_last_attempt(self) -> bool:
        """Whether a failure that counts will make the job a dead letter."""
        lease = self._attempt.lease
        return lease.failures + 1 >= lease.attempts_max

    @property
    def deadline(self) -> float:
        """The `time.monotonic()` at which this attempt will be stopped, as far as known now."""
        return time.monotonic() + self.remaining_s

    @property
    def remaining_s(self) -> float:
        """Seconds until the attempt will be stopped, never below 0."""
        return remaining_s(self._attempt)

    @property
    def cancelled(self) -> bool:
        """Whether the attempt should stop: deadline, cancel or the worker's own stop.

        For plain functions in class io and ollama, which run in threads that nobody can end: look
        at it in every long loop. An async function gets CancelledError instead, and a cpu
        process is killed.
        """
        return self._stop_requested is not None and self._stop_requested.is_set()

    def progress(self, fraction: float | None, note: str = "") -> None:
        """Say how far the work is: 0 to 1, or None when only the note is known. Cheap."""
        if fraction is not None:
            fraction = min(1.0, max(0.0, float(fraction)))
        self._attempt.progress(fraction, note[:NOTE_MAX])

    def emit(self, piece: str) -> None:
        """Let whoever watches the job read a piece of text that is ready before the rest. Cheap.

        It is for eyes only: what counts is the result. A new attempt begins anew.
        """
        self._attempt.emit(piece)

    def need(self, name: str, kind: type[T]) -> T:
        """The dependency `name`, for the type checker a `kind`.

        Raises ConfigError when the manifest does not declare it.
        """
        try:
            value = self._dependencies[name]
        except KeyError:
            raise ConfigError(self._undeclared(name)) from None
        return value  # type: ignore[return-value]  # a test's fake need not be a `kind`

    def __getattr__(self, name: str) -> Any:  # a dependency's type is known to `need` only
        """The dependency `name`."""
        try:
            return self.__dict__["_dependencies"][name]
        except KeyError:
            raise AttributeError(self._undeclared(name)) from None

    def _undeclared(self, name: str) -> str:
        processor = self._attempt.lease.lane.processor
        return f"processor {processor!r} does not declare a dependency {name!r} in its manifest"


def remaining_s(attempt: Attempt) -> float:
    """Seconds that `attempt` has left; all of its time while that does not run."""
    if attempt.deadline is None:
        return attempt.timeout_s
    return max(0.0, attempt.deadline - time.monotonic())
