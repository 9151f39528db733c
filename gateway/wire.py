"""What crosses the wire: one struct per request and answer. OpenAPI is generated from these.

Times are RFC 3339 in UTC, durations seconds, absent values null. Unknown fields of a request
are errors.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Generic, Self, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.problems import Problem
from streams.model import (
    CallbackRequest,
    Conflict,
    Fault,
    Job,
    Priority,
    ResourceClass,
    State,
    UniqueKey,
)
from streams.usage import Usage

T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_S = 366 * 86_400
WEEK_S = 7 * 86_400
LAST_MS = 253_402_300_799_999  # the end of the year 9999

# In Python `$` lets a line's end pass, in JSON Schema it does not: hence the `(?!\n)` behind it.
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$(?!\n)")]
Aware = Annotated[datetime, Meta(tz=True)]
Duration = Annotated[float, Meta(ge=0, le=YEAR_S)]
Tag = Annotated[str, Meta(pattern=r"^[!-~]{1,128}$(?!\n)")]
Note = Annotated[str, Meta(max_length=200)]
Url = Annotated[str, Meta(pattern=r"^https?://[!-~]+$(?!\n)", max_length=2_048)]
IdempotencyKey = Annotated[str, Meta(pattern=r"^[!-~]{1,255}$(?!\n)")]
Limit = Annotated[int, Meta(ge=0, le=1_000_000)]
Events = Annotated[tuple[State, ...], Meta(min_length=1, max_length=4)]

EVERY_ENDING = (State.SUCCEEDED, State.DEAD, State.CANCELLED, State.EXPIRED)


def moment(ms: int) -> datetime | None:
    """Wall milliseconds as a time; None for 0, which means that it did not happen."""
    return EPOCH + timedelta(milliseconds=min(ms, LAST_MS)) if ms else None


def milliseconds(when: datetime | None) -> int:
    """A time as wall milliseconds, 0 for None; what lies beyond is the first or the last of all."""
    if when is None:
        return 0
    return max(1, min((when - EPOCH) // timedelta(milliseconds=1), LAST_MS))


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all request bodies."""


# Jobs


class CallbackTarget(Request, frozen=True):
    """Where to report the end of the job, and which endings are of interest."""

    url: Url
    events: Events = EVERY_ENDING


class ShadowTarget(Request, frozen=True):
    """Which processor is to run the payload too, only to be compared, for which share of jobs."""

    processor: Name
    share: Annotated[float, Meta(gt=0, le=1)] = 1.0


class JobRequest(Request, frozen=True):
    """A job to submit. What is left out comes from the processor's manifest."""

    processor: Name
    payload: msgspec.Raw
    priority: Priority = Priority.NORMAL
    run_at: Aware | None = None
    delay_s: Duration = 0.0
    expires_at: Aware | None = None
    attempts_max: Annotated[int, Meta(ge=1, le=100)] | None = None
    timeout_s: Annotated[float, Meta(gt=0, le=86_400)] | None = None
    callback: CallbackTarget | None = None
    tags: Annotated[tuple[Tag, ...], Meta(max_length=16)] = ()
    unique_key: Tag | None = None  # one job of the app at a time has it
    on_conflict: Conflict = Conflict.REFUSE
    unique_for_s: Annotated[float, Meta(gt=0, le=WEEK_S)] | None = None  # or until the job ends
    fresh: bool = False  # ask a model even where a result of the same input is kept
    idempotency_key: IdempotencyKey | None = None  # wins over the header, for items of a batch
    shadow: ShadowTarget | None = None


class BatchRequest(Request, frozen=True):
    """Many jobs to submit; each is judged alone."""

    jobs: Annotated[tuple[msgspec.Raw, ...], Meta(min_length=1, max_length=1_000)]


class JobLinks(msgspec.Struct, frozen=True):
    """Where to go on from a job."""

    self: str
    result: str
    cancel: str


class JobAccepted(msgspec.Struct, frozen=True):
    """A submitted job. `created` is False when this idempotency key had submitted it before.

    `shadow` is there when one was asked for: the id of its shadow, or null when it has none.
    """

    id: str
    state: State
    created: bool
    links: JobLinks
    shadow: str | UnsetType | None = UNSET


class BatchAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one item: the accepted job, or the problem."""

    index: int
    status: int
    job: JobAccepted | None = None
    problem: Problem | None = None


class BatchAccepted(msgspec.Struct, frozen=True):
    """One answer per item, in the order of the request."""

    accepted: int
    refused: int
    jobs: tuple[BatchAnswer, ...]


class JobView(msgspec.Struct, frozen=True):
    """A job as it stands. `result` is there when the request waited and the job succeeded."""

    id: str
    app: str
    processor: str
    resource_class: ResourceClass
    priority: Priority
    model: str
    state: State
    attempt: int  # attempts started
    attempts_max: int
    failures: int
    crashes: int
    timeout_s: float
    submitted_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    due_at: datetime | None
    expires_at: datetime | None
    worker: str
    progress: float | None  # 0 to 1, as the running attempt last said
    note: str
    cancel_requested: bool
    error: Fault | None
    callback: CallbackRequest | None
    tags: tuple[str, ...]
    unique: UniqueKey | None
    links: JobLinks
    flow: str = ""  # of a stage's job: its flow
    stage: str = ""  # `name`, or `name:index` of one item
    usage: Usage | None = None  # of models, by all its attempts
    position: int | None = None  # of a waiting job that is read alone: in its lane, from 1
    estimated_start_at: datetime | None = None  # by what such jobs took; null: not known
    result: msgspec.Raw | UnsetType = UNSET

    @classmethod
    def of(cls, job: Job, result: bytes | None = None) -> Self:
        """The view of `job`, with its result when given."""
        return cls(
            id=job.id,
            app=job.lane.app,
            processor=job.lane.processor,
            resource_class=job.lane.resource_class,
            priority=job.lane.priority,
            model=job.lane.model,
            state=job.state,
            attempt=job.attempt,
            attempts_max=job.attempts_max,
            failures=job.failures,
            crashes=job.crashes,
            timeout_s=job.timeout_ms / 1_000,
            submitted_at=moment(job.submitted_ms),
            started_at=moment(job.started_ms),
            ended_at=moment(job.ended_ms),
            due_at=moment(job.due_ms),
            expires_at=moment(job.expires_at_ms),
            worker=job.worker,
            progress=job.progress,
            note=job.note,
            cancel_requested=job.cancel_requested,
            error=job.fault,
            callback=shown_callback(job.callback),
            tags=job.tags,
            unique=job.unique,
            links=links_of(job.id),
            flow=job.flow,
            stage=job.stage,
            usage=job.usage,
            result=UNSET if result is None else msgspec.Raw(result),
        )


def shown_url(url: str) -> str:
    """A callback's URL without its query, which may hold a token."""
    place, query, _ = url.partition("?")
    return f"{place}?(hidden)" if query else url


def shown_callback(callback: CallbackRequest | None) -> CallbackRequest | None:
    """A job's callback for those who look at the job."""
    if callback is None:
        return None
    return msgspec.structs.replace(callback, url=shown_url(callback.url))


def links_of(job_id: str) -> JobLinks:
    """The links of a job."""
    here = f"/v1/jobs/{job_id}"
    return JobLinks(here, f"{here}/result", f"{here}:cancel")


class PageView(msgspec.Struct, Generic[T], frozen=True):
    """One page of a listing; `next` is the cursor of the following page, null at the end."""

    items: tuple[T, ...]
    next: str | None


class CancelRequest(Request, frozen=True):
    """Why, for the record."""

    reason: Note = ""


class CancelAnswer(msgspec.Struct, frozen=True):
    """`cancelled`, `requested` (it runs: its worker will confirm) or `ended` (it had ended)."""

    id: str
    outcome: str


# Dead letters


class ReplayRequest(Request, frozen=True):
    """Which dead letters to run again: by id, or by filter. `dry_run` only counts."""

    ids: Annotated[tuple[str, ...], Meta(max_length=1_000)] | None = None
    app: Name | None = None
    processor: Name | None = None
    code: str | None = None  # the error code they died with
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 1_000
    dry_run: bool = False


class ReplayAnswer(msgspec.Struct, frozen=True):
    """How many matched and how many were put back; `more` says that the limit was reached."""

    matched: int
    replayed: int
    more: bool
