"""The body of a callback: frozen values in a fixed order, so that anyone renders the same bytes.

A receiver may compare the bytes of two deliveries of one webhook-id: they never differ, whoever
sent them, whenever.
"""

from datetime import UTC, datetime, timedelta

import msgspec

from streams.callbacks import CallbackRecord

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NULL = msgspec.Raw(b"null")
TEST = "endpoint.test"


class CallbackFault(msgspec.Struct, frozen=True):
    """Why the job did not succeed."""

    code: str
    message: str


class CallbackData(msgspec.Struct, frozen=True):
    """What became of the job. A result over 16 KiB is a link to the gateway instead."""

    job_id: str
    app: str
    processor: str
    state: str
    sequence: int  # the n-th ending of this job: a replayed job ends again
    attempt: int
    submitted_at: str
    started_at: str | None
    ended_at: str
    error: CallbackFault | None
    result: msgspec.Raw  # any JSON; null where there is none, or a link instead
    result_bytes: int
    result_url: str | None
    tags: tuple[str, ...]
    trace: str | None


class CallbackBody(msgspec.Struct, frozen=True):
    """A whole callback. `type` is `job.` and the state, or `endpoint.test`; `timestamp` the time of
    the ending."""

    type: str
    timestamp: str
    data: CallbackData


def render(record: CallbackRecord) -> bytes:
    """The bytes that every delivery of `record` carries."""
    fault = record.fault
    linked = record.result is None and record.result_bytes > 0
    data = CallbackData(
        job_id=record.job_id,
        app=record.app,
        processor=record.processor,
        state=record.state,
        sequence=record.sequence,
        attempt=record.attempt,
        submitted_at=timestamp(record.submitted_ms),
        started_at=timestamp(record.started_ms) if record.started_ms else None,
        ended_at=timestamp(record.ended_ms),
        error=CallbackFault(fault.code, fault.message) if fault else None,
        result=NULL if record.result is None else msgspec.Raw(record.result),
        result_bytes=record.result_bytes,
        result_url=f"/v1/jobs/{record.job_id}/result" if linked else None,
        tags=tuple(record.tags),
        trace=record.trace or None,
    )
    kind = TEST if record.test else f"job.{record.state}"
    body = CallbackBody(kind, timestamp(record.ended_ms), data)
    return msgspec.json.encode(body)


def timestamp(wall_ms: int) -> str:
    """`2026-11-23T12:00:00.123Z` for wall milliseconds."""
    moment = EPOCH + timedelta(milliseconds=wall_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
