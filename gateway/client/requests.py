"""What the client sends, what it makes of the answers, and when it sends something again.

Nothing here waits or sends: both clients act on it.
"""

import math
import random
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import httpx
import msgspec

from gateway import signing
from gateway.problems import Problem
from gateway.wire import (
    BatchAccepted,
    CancelAnswer,
    JobAccepted,
    JobView,
    PageView,
    ReplayAnswer,
)
from gateway.wire_blobs import BlobView
from streams.blobs import NAME, referred
from streams.errors import Rejected, Unavailable

T = TypeVar("T")

TRIES = 5  # of what is safe to repeat
FIRST_S, LAST_S = 0.2, 5.0  # backoff, with full jitter
ASKED_MAX_S = 60.0  # a longer `Retry-After` is for the caller to wait
ANSWER_S = 30.0  # the longest wait for an answer, beside what a request asks to wait
POLL_S = 25.0  # one long poll; proxies tend to cut at 30 or 60
INLINE_MAX_BYTES = 900_000  # a larger payload is put as a blob; the gateway takes bodies of 1 MiB
MANY_JOBS, MANY_BYTES = 1_000, 4_000_000  # of one batch
AGAIN = frozenset({429, 502, 503, 504})
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Refused(Rejected):
    """The gateway answered with a problem document, which is in `problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.title}: {problem.detail}" if problem.detail else problem.title)
        self.problem = problem
        self.code = problem.code


class Sending(msgspec.Struct, Generic[T], frozen=True):
    """One request, and the struct of its answer."""

    method: str
    path: str
    answer: type[T]
    body: bytes | None = None
    query: dict[str, str] = msgspec.field(default_factory=dict)
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    wait_s: float = 0.0  # what it asks the gateway to wait
    repeatable: bool = True


def submitting(processor: str, payload: Any, fields: Mapping[str, Any]) -> Sending[JobAccepted]:
    """POST /v1/jobs; `fields` are those of `JobRequest`, and `traceparent`, which is a header."""
    asked, headers = traced(fields)
    given = {"idempotency_key": uuid.uuid4().hex, **asked}
    body = msgspec.json.encode({"processor": processor, "payload": payload, **given})
    return Sending("POST", "/v1/jobs", JobAccepted, body, headers=headers)


def traced(fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """What stands in a submit's body, and the headers of the trace that it belongs to."""
    body = dict(fields)
    trace = body.pop("traceparent", None)
    return body, {"traceparent": str(trace)} if trace else {}


def encoded(payload: Any) -> msgspec.Raw:
    """A payload as JSON, written once."""
    return msgspec.Raw(msgspec.json.encode(payload))


def is_large(payload: msgspec.Raw) -> bool:
    """Whether a payload has to be put as a blob first."""
    return len(bytes(payload)) > INLINE_MAX_BYTES


def referring(blob: BlobView) -> dict[str, str]:
    """What stands in a payload for a blob."""
    return {NAME: blob.id}


def putting(content: bytes, media: str) -> Sending[BlobView]:
    """PUT /v1/blobs; the same content again is the same blob."""
    return Sending("PUT", "/v1/blobs", BlobView, content, headers={"content-type": media})


def submitting_batch(jobs: Iterable[Mapping[str, Any]], key: str | None) -> Sending[BatchAccepted]:
    """POST /v1/jobs:batch; each job has the fields of `JobRequest`."""
    headers = {"idempotency-key": key or uuid.uuid4().hex}
    body = msgspec.json.encode({"jobs": list(jobs)})
    return Sending("POST", "/v1/jobs:batch", BatchAccepted, body, headers=headers)


def batches(jobs: Iterable[Mapping[str, Any]]) -> Iterator[list[msgspec.Raw]]:
    """Jobs in as many batches as they need."""
    batch: list[msgspec.Raw] = []
    held = 0
    for job in jobs:
        raw = encoded(job)
        size = len(bytes(raw))
        if batch and (len(batch) == MANY_JOBS or held + size > MANY_BYTES):
            yield batch
            batch, held = [], 0
        batch.append(raw)
        held += size
    if batch:
        yield batch


def submitting_many(batch: Sequence[msgspec.Raw]) -> Sending[BatchAccepted]:
    """POST /v1/jobs:batch, of jobs that are JSON already."""
    headers = {"idempotency-key": uuid.uuid4().hex}
    body = msgspec.json.encode({"jobs": batch})
    return Sending("POST", "/v1/jobs:batch", BatchAccepted, body, headers=headers)


def outcomes(accepted: BatchAccepted) -> list[JobAccepted | Problem]:
    """What became of each job of a batch."""
    answers: list[JobAccepted | Problem] = []
    for answer in accepted.jobs:
        outcome = answer.job or answer.problem
        assert outcome is not None  # an answer has one of them
        answers.append(outcome)
    return answers


def reading(job_id: str, wait_s: float | None = None) -> Sending[JobView]:
    """GET /v1/jobs/{id}; with a time to wait, however short, its result included."""
    headers = {} if wait_s is None else {"prefer": f"wait={math.ceil(wait_s)}"}
    path = f"/v1/jobs/{job_id}"
    return Sending("GET", path, JobView, headers=headers, wait_s=wait_s or 0.0)


def reading_result(job_id: str) -> Sending[Any]:
    """GET /v1/jobs/{id}/result."""
    return Sending("GET", f"/v1/jobs/{job_id}/result", Any)


def reading_raw_result(job_id: str) -> Sending[msgspec.Raw]:
    """The same, as JSON."""
    return Sending("GET", f"/v1/jobs/{job_id}/result", msgspec.Raw)


def is_apart(job: JobView) -> bool:
    """Whether a job's result is a blob, which has to be read by itself."""
    return not isinstance(job.result, msgspec.UnsetType) and bool(referred(bytes(job.result)))


def cancelling(job_id: str, reason: str) -> Sending[CancelAnswer]:
    """POST /v1/jobs/{id}:cancel."""
    body = msgspec.json.encode({"reason": reason})
    return Sending("POST", f"/v1/jobs/{job_id}:cancel", CancelAnswer, body, repeatable=False)


def listing(path: str, filters: Mapping[str, Any]) -> Sending[PageView[JobView]]:
    """A listing of jobs; filters that are None are left out."""
    query = {name: str(value) for name, value in filters.items() if value is not None}
    return Sending("GET", path, PageView[JobView], query=query)


def replaying(selection: Mapping[str, Any]) -> Sending[ReplayAnswer]:
    """POST /v1/dead-letters:replay; `selection` has the fields of `ReplayRequest`."""
    body = msgspec.json.encode(dict(selection))
    return Sending("POST", "/v1/dead-letters:replay", ReplayAnswer, body, repeatable=False)


def pause_s(
    tried: int,
    sending: Sending[Any],
    reply: httpx.Response | None,
    failure: httpx.TransportError | None = None,
) -> float | None:
    """Seconds until the next try after `tried` ones, or None when that was the last.

    `reply` is None when no answer came. What is not safe to repeat is sent again only where it is
    known that nothing was done: no connection was made, or the gateway asked to come later (429).
    """
    undone = isinstance(failure, NOT_SENT) or (reply is not None and reply.status_code == 429)
    if tried >= TRIES or not (sending.repeatable or undone):
        return None
    if reply is not None and reply.status_code not in AGAIN:
        return None
    return backoff_s(tried, "" if reply is None else reply.headers.get("retry-after", ""))


def backoff_s(tried: int, asked: str = "") -> float | None:
    """How long to wait: as the gateway asks, else longer each time; None when it asks too much."""
    if asked.isdecimal():
        return float(asked) if float(asked) <= ASKED_MAX_S else None
    return random.uniform(0, min(LAST_S, FIRST_S * 2 ** (tried - 1)))


def answer_of(sending: Sending[T], reply: httpx.Response) -> T:
    """The decoded answer. Raises Refused for a problem, Unavailable for what is no answer."""
    if not reply.is_success:
        raise refusal(reply, sending.path)
    try:
        return msgspec.json.decode(reply.content, type=sending.answer)
    except msgspec.DecodeError as error:
        raise Unavailable(f"{sending.path} answered what is no answer: {error}") from error


def refusal(reply: httpx.Response, path: str) -> Exception:
    """What an answer says that is no success."""
    try:
        return Refused(msgspec.json.decode(reply.content, type=Problem))
    except msgspec.DecodeError:
        return Unavailable(f"{path} answered {reply.status_code}")


def arguments(sending: Sending[Any]) -> dict[str, Any]:
    """A request as httpx takes it."""
    headers = dict(sending.headers)
    if sending.body is not None:
        headers.setdefault("content-type", "application/json")
    return {
        "method": sending.method,
        "url": sending.path,
        "content": sending.body,
        "params": sending.query,
        "headers": headers,
        "timeout": httpx.Timeout(ANSWER_S + sending.wait_s, connect=5.0),
    }


def ending(sending: Sending[T], reply: httpx.Response | None, failure: Exception | None) -> T:
    """How a request ended after its last try."""
    if reply is None:
        raise Unavailable(f"the gateway does not answer: {failure!r}") from failure
    return answer_of(sending, reply)


def verify_callback(
    live_secrets: Iterable[str], headers: Mapping[str, str], body: bytes
) -> tuple[str, Any]:
    """The webhook-id and the decoded body of a genuine callback. Raises signing.BadSignature.

    The body has the fields of `rendering.CallbackBody`. The id is the same for every delivery of
    one callback: remember it to act once.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    callback_id = signing.verify(live_secrets, lower, body, now_s=time.time())
    return callback_id, msgspec.json.decode(body)
