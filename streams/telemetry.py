"""What happened in a worker, said once; metrics, logs, screens and tests all listen."""

from collections.abc import Callable
from typing import get_args

import msgspec

from streams.model import Lease, Settled, Verdict
from streams.usage import NOTHING, Usage


class AttemptStarted(msgspec.Struct, frozen=True):
    """A lease was given to a slot."""

    lease: Lease


class AttemptJudged(msgspec.Struct, frozen=True):
    """An attempt ended; its verdict is on the way to Redis."""

    lease: Lease
    verdict: Verdict
    took_s: float
    usage: Usage = NOTHING  # of models
    untimed_s: float = 0.0  # of `took_s`: loading a model, waiting for its host


class AttemptSettled(msgspec.Struct, frozen=True):
    """Redis answered a settlement: settled, already, or lost to another attempt."""

    job_id: str
    token: str
    answer: Settled


class ChangedNothing(msgspec.Struct, frozen=True):
    """A verdict came too late: it had been written before, or the job is another attempt's."""

    job_id: str
    answer: Settled


class ModelAsked(msgspec.Struct, frozen=True):
    """A question to a model has ended, with a whole answer or not."""

    lease: Lease
    usage: Usage  # of this question
    first_s: float | None = None  # until the first piece of the answer; None: none came


class LeaseGone(msgspec.Struct, frozen=True):
    """A renew found that the lease of a running attempt belongs to somebody else."""

    lease: Lease


class AttemptLog(msgspec.Struct, frozen=True):
    """A processor's own log line."""

    lease: Lease
    level: str
    message: str
    fields: dict[str, object]


class LinkChanged(msgspec.Struct, frozen=True):
    """The link to Redis was lost, or is back."""

    up: bool
    reason: str = ""


class ChoreFailed(msgspec.Struct, frozen=True):
    """A chore's tick raised; it will be tried again."""

    chore: str
    error: str


class AgentTold(msgspec.Struct, frozen=True):
    """A line of an agent, which watches the events of all jobs."""

    agent: str
    level: str
    message: str
    fields: dict[str, object]


Happening = (
    AttemptStarted
    | AttemptJudged
    | AttemptSettled
    | ChangedNothing
    | ModelAsked
    | LeaseGone
    | AttemptLog
    | LinkChanged
    | ChoreFailed
    | AgentTold
)
Listener = Callable[[Happening], None]


class Telemetry:
    """Hands happenings to those who listen to their kind: quickly, and without raising."""

    def __init__(self) -> None:
        self._listeners: dict[type[Happening], list[Listener]] = {
            kind: [] for kind in get_args(Happening)
        }

    def listen(self, listener: Listener, *kinds: type[Happening]) -> None:
        """Tell it of happenings of these kinds from now on; of all where none is named."""
        for kind in kinds or self._listeners:
            self._listeners[kind].append(listener)

    def wants(self, kind: type[Happening]) -> bool:
        """Whether anybody listens to this kind: else it need not be made."""
        return bool(self._listeners[kind])

    def emit(self, happening: Happening) -> None:
        """Tell who listens, in the order in which they came."""
        for listener in self._listeners[type(happening)]:
            listener(happening)
