"""What a processor may ask to be given: named providers, opened and checked before the first job.

A processor lists the names in its manifest and finds the values in its context. A provider lives
as long as the worker: `open`, then `check`, then one `inject` for each attempt, then `close`.
Adding one is a module here and a line in `ops/wiring.py`.
"""

from contextlib import AbstractContextManager
from typing import Protocol

from streams.model import Lease, ResourceClass
from streams.usage import Usage


class Attempt(Protocol):
    """One attempt as the engine presents it; `streams.attempt.Attempt` is one."""

    @property
    def lease(self) -> Lease:
        """The right to run, with everything that is known of the job."""
        ...

    @property
    def payload(self) -> bytes:
        """The job's input, JSON."""
        ...

    @property
    def timeout_s(self) -> float:
        """How long the attempt may run."""
        ...

    @property
    def deadline(self) -> float | None:
        """When the engine stops the attempt, on the loop's monotonic clock.

        Later after `untimed`; None while the time does not run.
        """
        ...

    def untimed(self) -> AbstractContextManager[object]:
        """Time spent inside does not count against the job's timeout."""
        ...

    def progress(self, fraction: float | None, note: str = "") -> None:
        """Say how far the attempt is: 0 to 1, or None when only the note is known."""
        ...

    def emit(self, piece: str) -> None:
        """Let whoever watches the job read a piece of text that is ready before the rest."""
        ...

    def spend(self, usage: Usage, first_s: float | None = None) -> None:
        """Count what was used of a model, and the seconds until its first word, if one came."""
        ...

    def log(self, level: str, message: str, **fields: object) -> None:
        """Write a line to the attempt's log. Levels are debug, info, warning and error."""
        ...


class Provider(Protocol):
    """Something that processors may be given under a name."""

    @property
    def name(self) -> str:
        """The name that manifests use, and the attribute of the context."""
        ...

    @property
    def classes(self) -> frozenset[ResourceClass]:
        """The resource classes whose processors may have it."""
        ...

    async def open(self) -> None:
        """Make clients and pools. Sends nothing yet. Called once, and only when it is needed."""
        ...

    async def check(self) -> None:
        """Return when what lies behind it answers; otherwise raise Unavailable or ConfigError.

        Called at boot, after `open`. The message should name the address that was tried; the
        caller adds processor and dependency.
        """
        ...

    def inject(self, attempt: Attempt) -> object:
        """The value one attempt is given. Cheap, and bound to that attempt where it matters."""
        ...

    async def close(self) -> None:
        """Let go of everything `open` made. Called once, also when `check` failed."""
        ...
