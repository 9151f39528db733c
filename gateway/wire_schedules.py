"""What crosses the wire about schedules."""

from datetime import datetime
from typing import Annotated, Any, Self

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.wire import YEAR_S, Aware, CallbackTarget, Duration, Name, Request, Tag, moment
from streams.cron import LINE_MAX, zone_of
from streams.model import CallbackRequest, Priority
from streams.schedule import Misfire, Overlap, Schedule, Timing, run_ms
from streams.schedules import Standing

Line = Annotated[str, Meta(max_length=LINE_MAX)]
Interval = Annotated[float, Meta(ge=1, le=YEAR_S)]
ZoneName = Annotated[str, Meta(max_length=64)]


class ScheduledJob(Request, frozen=True):
    """The job that each tick makes. What is left out comes from the processor's manifest."""

    processor: Name
    payload: msgspec.Raw
    priority: Priority = Priority.NORMAL
    attempts_max: Annotated[int, Meta(ge=1, le=100)] | None = None
    timeout_s: Annotated[float, Meta(gt=0, le=86_400)] | None = None
    expires_s: Duration = 0.0  # not started so long after it was made: expired; 0 for never
    callback: CallbackTarget | None = None
    tags: Annotated[tuple[Tag, ...], Meta(max_length=16)] = ()


class TimingRequest(Request, frozen=True, kw_only=True):
    """When: a cron line, or an interval; never both."""

    cron: Line | None = None  # five fields, or six with seconds in front
    every_s: Interval | None = None  # counted from `starts_at`, else from 1970
    zone: ZoneName = "UTC"  # IANA name, such as Europe/Copenhagen
    starts_at: Aware | None = None
    ends_at: Aware | None = None
    jitter_s: Duration = 0.0  # each tick runs less than this later, always the same


class PreviewRequest(TimingRequest, frozen=True, kw_only=True):
    """Which instants to show."""

    count: Annotated[int, Meta(ge=1, le=100)] = 10
    after: Aware | None = None  # null: now


class SchedulePut(TimingRequest, frozen=True, kw_only=True):
    """What shall be done, and when."""

    job: ScheduledJob
    misfire: Misfire = Misfire.LATEST
    misfire_window_s: Duration = 86_400.0  # `all`: older ticks are dropped
    misfire_max: Annotated[int, Meta(ge=1, le=1_000)] = 100  # `all`: the newest so many run
    overlap: Overlap = Overlap.ALLOW
    app: Name | None = None  # a key of all apps names the app


class ScheduleRequest(SchedulePut, frozen=True, kw_only=True):
    """A schedule to create."""

    name: Name


class DeclaredSchedule(SchedulePut, frozen=True, kw_only=True):
    """A schedule as it stands in the settings."""

    app: Name


class InstantView(msgspec.Struct, frozen=True):
    """An instant in UTC, and on the wall of the zone."""

    at: datetime | None
    local: datetime

    @classmethod
    def of(cls, instant_ms: int, zone: str) -> Self:
        """The view of an instant."""
        at = moment(instant_ms)
        assert at is not None
        return cls(at, at.astimezone(zone_of(zone)))


class PreviewAnswer(msgspec.Struct, frozen=True):
    """The next instants; fewer than were asked for when there are no more."""

    zone: str
    items: tuple[InstantView, ...]


class ScheduledJobView(msgspec.Struct, frozen=True):
    """The job that each tick makes. Its payload is left out of listings."""

    processor: str
    priority: Priority
    attempts_max: int
    timeout_s: float
    expires_s: float
    callback: CallbackRequest | None
    tags: tuple[str, ...]
    payload: msgspec.Raw | UnsetType = UNSET


class ScheduleView(msgspec.Struct, frozen=True):
    """A schedule and how far it has come."""

    name: str
    app: str
    cron: str | None
    every_s: float | None
    zone: str
    starts_at: datetime | None
    ends_at: datetime | None
    jitter_s: float
    misfire: Misfire
    misfire_window_s: float
    misfire_max: int
    overlap: Overlap
    job: ScheduledJobView
    declared: bool  # in the settings of a gateway
    paused: bool
    next: InstantView | None  # null while paused, and once it has ended
    runs_at: datetime | None  # the next instant and its jitter
    last_at: datetime | None  # the last instant whose tick made a job
    last_job: str | None
    fired: int  # jobs made by ticks
    missed: int  # ticks that came too late and were dropped
    skipped: int  # ticks that were dropped since the job before had not ended
    revision: int  # rises with every change
    created_at: datetime | None

    @classmethod
    def of(cls, standing: Standing) -> Self:
        """The outside's view of a schedule."""
        schedule, timing = standing.schedule, standing.schedule.timing
        next_ms = 0 if standing.paused else standing.next_ms
        return cls(
            name=schedule.name,
            app=schedule.app,
            **_timing_fields(timing),
            misfire=schedule.misfire,
            misfire_window_s=schedule.misfire_window_ms / 1_000,
            misfire_max=schedule.misfire_max,
            overlap=schedule.overlap,
            job=_job_view(schedule),
            declared=schedule.declared,
            paused=standing.paused,
            next=InstantView.of(next_ms, timing.zone) if next_ms else None,
            runs_at=moment(run_ms(schedule, next_ms)) if next_ms else None,
            last_at=moment(standing.last_ms),
            last_job=standing.last_job or None,
            fired=standing.fired,
            missed=standing.missed,
            skipped=standing.skipped,
            revision=standing.revision,
            created_at=moment(schedule.created_ms),
        )


def _timing_fields(timing: Timing) -> dict[str, Any]:
    return {
        "cron": timing.cron or None,
        "every_s": timing.every_ms / 1_000 or None,
        "zone": timing.zone,
        "starts_at": moment(timing.starts_ms),
        "ends_at": moment(timing.ends_ms),
        "jitter_s": timing.jitter_ms / 1_000,
    }


def _job_view(schedule: Schedule) -> ScheduledJobView:
    job = schedule.job
    return ScheduledJobView(
        processor=job.lane.processor,
        priority=job.lane.priority,
        attempts_max=job.attempts_max,
        timeout_s=job.timeout_ms / 1_000,
        expires_s=schedule.expires_ms / 1_000,
        callback=job.callback,
        tags=job.tags,
        payload=msgspec.Raw(job.payload) if job.payload else UNSET,
    )
