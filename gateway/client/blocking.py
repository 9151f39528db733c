"""The client for code without an event loop."""

import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from typing import Any, Self, TypeVar

import httpx
import msgspec

from gateway.client import requests
from gateway.client.flows import FlowCalls
from gateway.client.following import Ended, Following, Frame, Said, has_ended, said_of
from gateway.client.requests import POLL_S, Refused, Sending
from gateway.problems import Problem
from gateway.wire import BatchAccepted, CancelAnswer, JobAccepted, JobView, PageView, ReplayAnswer
from gateway.wire_blobs import BlobView
from streams.errors import Unavailable

T = TypeVar("T")


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
        """Submit a job; `fields` as in POST /v1/jobs. A large payload is put as a blob first."""
        raw: Any = requests.encoded(payload)
        if requests.is_large(raw):
            raw = requests.referring(self.put(bytes(raw), "application/json"))
        return self._send(requests.submitting(processor, raw, fields))

    def submit_many(self, jobs: Iterable[Mapping[str, Any]]) -> list[JobAccepted | Problem]:
        """Submit any number of jobs, each with the fields of POST /v1/jobs; an answer for each."""
        found: list[JobAccepted | Problem] = []
        for batch in requests.batches(jobs):
            found += requests.outcomes(self._send(requests.submitting_many(batch)))
        return found

    def batch(self, jobs: Iterable[Mapping[str, Any]], *, key: str | None = None) -> BatchAccepted:
        """Submit up to 1,000 jobs; look at each answer, for each is judged alone."""
        return self._send(requests.submitting_batch(jobs, key))

    def put(self, content: bytes, media: str = "application/octet-stream") -> BlobView:
        """Keep something large; refer to it by `{"$blob": id}` in a payload."""
        return self._send(requests.putting(content, media))

    def wait(self, job_id: str, within_s: float = 60.0) -> JobView:
        """The job once it has ended, its result included, or as it stands after `within_s`."""
        deadline = time.monotonic() + within_s
        if within_s > 0:
            self._await_end(Following(f"/v1/jobs/{job_id}/events", within_s, tries=1))
        while True:
            left_s = max(0.0, deadline - time.monotonic())
            job = self._send(requests.reading(job_id, min(left_s, POLL_S)))
            if job.state.ended or left_s <= POLL_S:
                return self._whole(job)

    def _whole(self, job: JobView) -> JobView:
        """The job with its result, also where that is a blob."""
        if not requests.is_apart(job):
            return job
        result = self._send(requests.reading_raw_result(job.id))
        return msgspec.structs.replace(job, result=result)

    def _await_end(self, following: Following) -> None:
        """Return when the job has ended, or when there is no stream to learn it from."""
        with suppress(Refused, Unavailable), closing(self._frames(following)) as frames:
            for frame in frames:
                if has_ended(frame):
                    return

    def stream(self, job_id: str) -> Iterator[Said]:
        """What the job says while it runs, from the beginning of its newest attempt; last `Ended`.

        Goes on by itself after a lost connection.
        """
        with closing(self._frames(Following(f"/v1/jobs/{job_id}/stream"))) as frames:
            for frame in frames:
                said = said_of(frame)
                if said is not None:
                    yield said
                if isinstance(said, Ended):
                    return

    def job(self, job_id: str) -> JobView:
        """A job as it stands."""
        return self._send(requests.reading(job_id))

    def result(self, job_id: str) -> Any:
        """The result of a job that succeeded, however large."""
        return self._send(requests.reading_result(job_id))

    def cancel(self, job_id: str, reason: str = "") -> CancelAnswer:
        """Cancel a job."""
        return self._send(requests.cancelling(job_id, reason))

    def jobs(self, **filters: Any) -> PageView[JobView]:
        """One page of jobs: `state`, `processor`, `app`, `limit`, `cursor`."""
        return self._send(requests.listing("/v1/jobs", filters))

    def dead_letters(self, **filters: Any) -> PageView[JobView]:
        """One page of dead letters: `processor`, `app`, `limit`, `cursor`."""
        return self._send(requests.listing("/v1/dead-letters", filters))

    def replay(self, **selection: Any) -> ReplayAnswer:
        """Run dead letters again: `ids`, or `processor`, `code`, `limit`; `dry_run` counts."""
        return self._send(requests.replaying(selection))

    def _send(self, sending: Sending[T]) -> T:
        tried = 0
        while True:
            tried += 1
            reply, failure = None, None
            try:
                reply = self._http.request(**requests.arguments(sending))
            except httpx.TransportError as error:
                failure = error
            pause = requests.pause_s(tried, sending, reply, failure)
            if pause is None:
                return requests.ending(sending, reply, failure)
            time.sleep(pause)

    def _frames(self, following: Following) -> Generator[Frame, None, None]:
        """The events of a stream over as many connections as it takes."""
        while True:
            reply, failure = None, None
            try:
                with self._http.stream(**following.request()) as reply:
                    if not reply.is_success:
                        reply.read()
                    else:
                        for line in reply.iter_lines():
                            yield from following.take(line)
            except httpx.TransportError as error:
                failure = error
            pause = following.pause_s(reply, failure)
            if pause is None:
                return
            time.sleep(pause)
