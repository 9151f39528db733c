"""What crosses the wire about changing jobs, their attempts, and why they wait."""

from datetime import datetime
from typing import Annotated, Self

import msgspec
from msgspec import Meta

from gateway.wire import Aware, Name, Request, moment
from streams.history import AttemptEnding, AttemptRecord
from streams.model import Fault, Priority, Rate, State


class JobPatch(Request, frozen=True):
    """What to change of a job that has not started: its priority, or a delayed one's time."""

    priority: Priority | None = None
    run_at: Aware | None = None


class LogLineView(msgspec.Struct, frozen=True):
    """A line that the processor logged."""

    at: datetime | None
    level: str
    message: str
    fields: msgspec.Raw


class AttemptView(msgspec.Struct, frozen=True):
    """One attempt of a job. `progress` and `note` are the last it said."""

    attempt: int
    started_at: datetime | None
    ended_at: datetime | None
    worker: str
    ending: AttemptEnding
    error: Fault | None
    progress: float | None
    note: str
    log: tuple[LogLineView, ...]

    @classmethod
    def of(cls, record: AttemptRecord) -> Self:
        """The view of an attempt."""
        return cls(
            attempt=record.number,
            started_at=moment(record.started_ms),
            ended_at=moment(record.ended_ms),
            worker=record.worker,
            ending=record.ending,
            error=record.fault,
            progress=record.progress,
            note=record.note,
            log=tuple(
                LogLineView(moment(line.at_ms), line.level, line.message, line.fields)
                for line in record.log
            ),
        )


class Reason(msgspec.Struct, frozen=True):
    """One thing that bears on a job. With `stops`, nothing starts until somebody changes it."""

    code: str
    text: str
    stops: bool = False


class Explanation(msgspec.Struct, frozen=True):
    """Why a job stands where it stands. `position` counts in its lane, from 1."""

    id: str
    state: State
    reasons: tuple[Reason, ...]
    position: int | None = None
    position_at_least: bool = False  # only so many were counted
    estimated_start_at: datetime | None = None


class RateLimit(Request, frozen=True):
    """At most `jobs` attempts start in `per_s`, evenly; `burst` of them at once after a rest.

    Without `burst`, those of one second, at least one.
    """

    jobs: Annotated[int, Meta(ge=0, le=1_000_000)]
    per_s: Annotated[float, Meta(ge=0.001, le=86_400)] = 1.0
    burst: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None

    @property
    def rate(self) -> Rate:
        """As the engine knows it."""
        burst = self.burst or max(1, int(self.jobs / self.per_s))
        return Rate(self.jobs, max(1, round(self.per_s * 1_000)), burst)

    @classmethod
    def of(cls, rate: Rate) -> Self:
        """The view of a rate."""
        return cls(rate.jobs, rate.per_ms / 1_000, rate.burst)


class PurgeRequest(Request, frozen=True):
    """Which dead letters to forget: by id, or by filter. `dry_run` only counts."""

    ids: Annotated[tuple[str, ...], Meta(max_length=1_000)] | None = None
    app: Name | None = None
    processor: Name | None = None
    code: str | None = None  # the error code they died with
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 1_000
    dry_run: bool = False


class PurgeAnswer(msgspec.Struct, frozen=True):
    """How many matched and how many were forgotten; `more` says that the limit was reached."""

    matched: int
    purged: int
    more: bool
