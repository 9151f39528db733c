"""A client of the gateway's API, synchronous and asynchronous.

    with Client("http://127.0.0.1:8470", key) as jobs:
        submitted = jobs.submit("echo", {"text": "hi"})
        print(jobs.wait(submitted.id).state)

A submit always carries an idempotency key, so it is tried again after a lost answer without
making a second job. What is not safe to repeat is sent once.
"""

import asyncio
import math
import random
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Self, TypeVar

import httpx
import msgspec

from gateway import signing
from gateway.client_flows import AsyncFlowCalls, FlowCalls, Sending
from gateway.problems import Problem
from gateway.wire import (
    BatchAccepted,
    CancelAnswer,
    JobAccepted,
    JobView,
    PageView,
    ReplayAnswer,
)
from streams.errors import Rejected, Unavailable

T = TypeVar("T")

TRIES = 5  # of what is safe to repeat
FIRST_S, LAST_S = 0.2, 5.0  # backoff, with full jitter
ANSWER_S = 30.0  # the longest wait for an answer, beside what a request asks to wait
POLL_S = 25.0  # one long poll; proxies tend to cut at 30 or 60
AGAIN = frozenset({429, 502, 503, 504})


class Refused(Rejected):
    """The gateway answered with a problem document, which is in `problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.title}: {problem.detail}" if problem.detail else problem.title)
        self.problem = problem
        self.code = problem.code


def submitting(processor: str, payload: Any, fields: Mapping[str, Any]) -> Sending[JobAccepted]:
    """POST /v1/jobs; `fields` are those of `JobRequest`."""
    given = {"idempotency_key": uuid.uuid4().hex, **fields}
    body = {"processor": processor, "payload": payload, **given}
    return Sending("POST", "/v1/jobs", JobAccepted, msgspec.json.encode(body))


def submitting_batch(jobs: Iterable[Mapping[str, Any]], key: str | None) -> Sending[BatchAccepted]:
    """POST /v1/jobs:batch; each job has the fields of `JobRequest`."""
    headers = {"idempotency-key": key or uuid.uuid4().hex}
    body = msgspec.json.encode({"jobs": list(jobs)})
    return Sending("POST", "/v1/jobs:batch", BatchAccepted, body, headers=headers)


def reading(job_id: str, wait_s: float = 0.0) -> Sending[JobView]:
    """GET /v1/jobs/{id}, waiting for the end if told to."""
    headers = {"prefer": f"wait={math.ceil(wait_s)}"} if wait_s else {}
    return Sending("GET", f"/v1/jobs/{job_id}", JobView, headers=headers, wait_s=wait_s)


def reading_result(job_id: str) -> Sending[Any]:
    """GET /v1/jobs/{id}/result."""
    return Sending("GET", f"/v1/jobs/{job_id}/result", Any)


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


def pause_s(tried: int, sending: Sending[Any], reply: httpx.Response | None) -> float | None:
    """Seconds until the next try after `tried` ones, or None when that was the last.

    `reply` is None when no answer came.
    """
    if not sending.repeatable or tried >= TRIES:
        return None
    if reply is not None and reply.status_code not in AGAIN:
        return None
    asked = "" if reply is None else reply.headers.get("retry-after", "")
    if asked.isdecimal():
        return min(float(asked), LAST_S)
    return random.uniform(0, min(LAST_S, FIRST_S * 2 ** (tried - 1)))


def answer_of(sending: Sending[T], reply: httpx.Response) -> T:
    """The decoded answer. Raises Refused for a problem, Unavailable for what is no answer."""
    if reply.is_success:
        return msgspec.json.decode(reply.content, type=sending.answer)
    try:
        problem = msgspec.json.decode(reply.content, type=Problem)
    except msgspec.DecodeError:
        raise Unavailable(f"{sending.path} answered {reply.status_code}") from None
    raise Refused(problem)


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


class Client(FlowCalls):
    """Calls the gateway; use it as a context manager. Raises Refused or Unavailable."""

    def __init__(self, url: str, key: str, *, http: httpx.Client | None = None) -> None:
        self._http = http or httpx.Client()
        self._http.base_url = httpx.URL(url)
        self._http.headers["authorization"] = f"Bearer {key}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def submit(self, processor: str, payload: Any, **fields: Any) -> JobAccepted:
        """Submit a job; `fields` as in POST /v1/jobs."""
        return self._send(submitting(processor, payload, fields))

    def batch(self, jobs: Iterable[Mapping[str, Any]], *, key: str | None = None) -> BatchAccepted:
        """Submit up to 1,000 jobs; look at each answer, for each is judged alone."""
        return self._send(submitting_batch(jobs, key))

    def wait(self, job_id: str, within_s: float = 60.0) -> JobView:
        """The job once it has ended, its result included, or as it stands after `within_s`."""
        deadline = time.monotonic() + within_s
        while True:
            left_s = max(0.0, deadline - time.monotonic())
            job = self._send(reading(job_id, min(left_s, POLL_S)))
            if job.state.ended or left_s <= POLL_S:
                return job

    def job(self, job_id: str) -> JobView:
        """A job as it stands."""
        return self._send(reading(job_id))

    def result(self, job_id: str) -> Any:
        """The result of a job that succeeded."""
        return self._send(reading_result(job_id))

    def cancel(self, job_id: str, reason: str = "") -> CancelAnswer:
        """Cancel a job."""
        return self._send(cancelling(job_id, reason))

    def jobs(self, **filters: Any) -> PageView[JobView]:
        """One page of jobs: `state`, `processor`, `app`, `limit`, `cursor`."""
        return self._send(listing("/v1/jobs", filters))

    def dead_letters(self, **filters: Any) -> PageView[JobView]:
        """One page of dead letters: `processor`, `app`, `limit`, `cursor`."""
        return self._send(listing("/v1/dead-letters", filters))

    def replay(self, **selection: Any) -> ReplayAnswer:
        """Run dead letters again: `ids`, or `processor`, `code`, `limit`; `dry_run` counts."""
        return self._send(replaying(selection))

    def _send(self, sending: Sending[T]) -> T:
        tried = 0
        while True:
            tried += 1
            reply, failure = None, None
            try:
                reply = self._http.request(*_head(sending), **_rest(sending))
            except httpx.TransportError as error:
                failure = error
            pause = pause_s(tried, sending, reply)
            if pause is None:
                return _ending(sending, reply, failure)
            time.sleep(pause)


class AsyncClient(AsyncFlowCalls):
    """`Client` for asyncio; use it as an async context manager."""

    def __init__(self, url: str, key: str, *, http: httpx.AsyncClient | None = None) -> None:
        self._http = http or httpx.AsyncClient()
        self._http.base_url = httpx.URL(url)
        self._http.headers["authorization"] = f"Bearer {key}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def submit(self, processor: str, payload: Any, **fields: Any) -> JobAccepted:
        """Submit a job; `fields` as in POST /v1/jobs."""
        return await self._send(submitting(processor, payload, fields))

    async def batch(
        self, jobs: Iterable[Mapping[str, Any]], *, key: str | None = None
    ) -> BatchAccepted:
        """Submit up to 1,000 jobs; look at each answer, for each is judged alone."""
        return await self._send(submitting_batch(jobs, key))

    async def wait(self, job_id: str, within_s: float = 60.0) -> JobView:
        """The job once it has ended, its result included, or as it stands after `within_s`."""
        deadline = time.monotonic() + within_s
        while True:
            left_s = max(0.0, deadline - time.monotonic())
            job = await self._send(reading(job_id, min(left_s, POLL_S)))
            if job.state.ended or left_s <= POLL_S:
                return job

    async def job(self, job_id: str) -> JobView:
        """A job as it stands."""
        return await self._send(reading(job_id))

    async def result(self, job_id: str) -> Any:
        """The result of a job that succeeded."""
        return await self._send(reading_result(job_id))

    async def cancel(self, job_id: str, reason: str = "") -> CancelAnswer:
        """Cancel a job."""
        return await self._send(cancelling(job_id, reason))

    async def jobs(self, **filters: Any) -> PageView[JobView]:
        """One page of jobs: `state`, `processor`, `app`, `limit`, `cursor`."""
        return await self._send(listing("/v1/jobs", filters))

    async def dead_letters(self, **filters: Any) -> PageView[JobView]:
        """One page of dead letters: `processor`, `app`, `limit`, `cursor`."""
        return await self._send(listing("/v1/dead-letters", filters))

    async def replay(self, **selection: Any) -> ReplayAnswer:
        """Run dead letters again: `ids`, or `processor`, `code`, `limit`; `dry_run` counts."""
        return await self._send(replaying(selection))

    async def _send(self, sending: Sending[T]) -> T:
        tried = 0
        while True:
            tried += 1
            reply, failure = None, None
            try:
                reply = await self._http.request(*_head(sending), **_rest(sending))
            except httpx.TransportError as error:
                failure = error
            pause = pause_s(tried, sending, reply)
            if pause is None:
                return _ending(sending, reply, failure)
            await asyncio.sleep(pause)


def _head(sending: Sending[Any]) -> tuple[str, str]:
    return sending.method, sending.path


def _rest(sending: Sending[Any]) -> dict[str, Any]:
    headers = dict(sending.headers)
    if sending.body is not None:
        headers["content-type"] = "application/json"
    return {
        "content": sending.body,
        "params": sending.query,
        "headers": headers,
        "timeout": httpx.Timeout(ANSWER_S + sending.wait_s, connect=5.0),
    }


def _ending(sending: Sending[T], reply: httpx.Response | None, failure: Exception | None) -> T:
    if reply is None:
        raise Unavailable(f"the gateway does not answer: {failure!r}") from failure
    return answer_of(sending, reply)
