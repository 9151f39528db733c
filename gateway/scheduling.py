"""From a schedule as it crossed the wire to a complete one, or the error that says why not.

Nothing here waits or writes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from gateway.problems import InvalidFields
from gateway.submission import Origin
from gateway.wire import JobRequest, milliseconds
from gateway.wire_schedules import DeclaredSchedule, SchedulePut, TimingRequest
from streams.errors import InvalidInput
from streams.ids import job_id_for_key, new_job_id
from streams.model import NewJob
from streams.schedule import Schedule, Timing


def timing_of(request: TimingRequest) -> Timing:
    """When, as the engine says it; `streams.schedule.check` says whether it is any."""
    return Timing(
        cron=" ".join((request.cron or "").split()),
        every_ms=round((request.every_s or 0) * 1_000),
        zone=request.zone,
        starts_ms=milliseconds(request.starts_at),
        ends_ms=milliseconds(request.ends_at),
        jitter_ms=round(request.jitter_s * 1_000),
    )


def job_request(request: SchedulePut) -> JobRequest:
    """The job of each tick as a submit would ask for it."""
    wanted = request.job
    return JobRequest(
        processor=wanted.processor,
        payload=wanted.payload,
        priority=wanted.priority,
        attempts_max=wanted.attempts_max,
        timeout_s=wanted.timeout_s,
        callback=wanted.callback,
        tags=wanted.tags,
    )


def schedule_of(name: str, request: SchedulePut, origin: Origin, job: NewJob) -> Schedule:
    """The schedule that `request` asks for, complete; `job` was made of its `job_request`."""
    return Schedule(
        app=origin.app,
        name=name,
        timing=timing_of(request),
        job=msgspec.structs.replace(job, id="", trace="", digest=""),
        misfire=request.misfire,
        misfire_window_ms=round(request.misfire_window_s * 1_000),
        misfire_max=request.misfire_max,
        overlap=request.overlap,
        expires_ms=round(request.job.expires_s * 1_000),
        created_ms=origin.now_ms,
        declared=isinstance(request, DeclaredSchedule),
    )


def triggered(schedule: Schedule, now_ms: int, key: str = "") -> NewJob:
    """A job made now, outside of all ticks; always the same one for an idempotency key."""
    return msgspec.structs.replace(
        schedule.job,
        id=job_id_for_key(schedule.app, f"{schedule.name} {key}") if key else new_job_id(now_ms),
        expires_at_ms=now_ms + schedule.expires_ms if schedule.expires_ms else 0,
    )


@contextmanager
def inside_job() -> Iterator[None]:
    """Paths of what is wrong with the job begin at the schedule."""
    try:
        yield
    except InvalidFields as error:
        raise InvalidFields([(_path(path), said) for path, said in error.faults]) from None
    except InvalidInput as error:
        raise InvalidInput(str(error), _path(error.path)) from None


def _path(path: str) -> str:
    return f"$.job{path.removeprefix('$')}"
