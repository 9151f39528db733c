"""What happens to jobs, as server-sent events: of one job, or of all of an app's.

On subscribing, after a gap and every few seconds without an event the job's state is read, and told
if it has changed: no follower depends on having seen an event.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

import msgspec
from starlette.responses import Response

from gateway.auth import Scope, app_filter
from gateway.call import Call, Operation
from gateway.feed import EVERY_APP, Follower, Wanted, key_of
from gateway.jobs import visible_job
from gateway.making import wait_of
from gateway.parts import GatewayParts
from gateway.problems import RateLimited, is_outage
from gateway.sse import BEAT, MEDIA, EventStream, framed, last_id, reconnect
from gateway.wire import JobView, moment
from streams.errors import InvalidInput, JobGone, NotAllowed, UnknownJob
from streams.events import Event
from streams.model import Job, State

LOOK_AGAIN_S = 5.0
BEAT_S = 15.0
TAGS_KEPT = 10_000

Frames = AsyncGenerator[bytes, None]


class EventView(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change of a job. `progress`, `note` and `error` are there where it has them."""

    kind: str
    job: str
    app: str
    processor: str
    state: State
    attempt: int
    at: datetime | None
    progress: float | None = None
    note: str = ""
    error: str = ""  # a code

    @classmethod
    def of(cls, event: Event) -> "EventView":
        """The view of an event."""
        fraction = event.fields.get("fraction", "")
        return cls(
            kind=event.kind,
            job=event.job_id,
            app=event.app,
            processor=event.lane.processor,
            state=event.state,
            attempt=event.attempt,
            at=moment(event.at_ms),
            progress=float(fraction) if fraction else None,
            note=event.fields.get("note", ""),
            error=event.fields.get("code", ""),
        )


class EventsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Filters of GET /v1/events."""

    app: str | None = None
    processor: str | None = None
    tag: str | None = None
    kind: str | None = None


async def follow_job(call: Call) -> Response:
    """A job's changes as they happen, from the one after `Last-Event-ID`; ends with the job.

    Begins with an event `job`, which holds the whole job, and ends with one. With `Prefer: wait=N`
    it ends after N seconds. 204 tells a browser that it has seen the end and need not come again.
    """
    job = await visible_job(call, call.name("id"))
    after = last_id(call.headers.get("last-event-id", ""))
    if after and job.state.ended:
        missed, whole = await call.parts.feed.missed(after, Wanted(job.id))
        if whole and not missed:
            return Response(status_code=204)
    leave = call.parts.viewers.enter(call.key.app)
    return EventStream(JobFrames(call.parts, job.id, ends_at(call)).frames(after), leave)


async def follow_app(call: Call) -> Response:
    """The changes of all of an app's jobs. An event `gap` says that some were missed: list them.

    Goes on after `Last-Event-ID`, as long as the past is kept. With `Prefer: wait=N` it ends after
    N seconds.
    """
    query = call.query(EventsQuery)
    wanted = Wanted(app=app_filter(call.key, query.app) or EVERY_APP)
    after = last_id(call.headers.get("last-event-id", ""))
    leave = call.parts.viewers.enter(call.key.app)
    return EventStream(AppFrames(call.parts, query, ends_at(call)).frames(wanted, after), leave)


def ends_at(call: Call) -> float:
    """When the stream is to end, on the monotonic clock."""
    wait_s = wait_of(call)
    return float("inf") if wait_s is None else time.monotonic() + wait_s


class Following:
    """What all streams do: begin where the client left off, wait, beat, and end in time."""

    def __init__(self, parts: GatewayParts, ends_at_s: float) -> None:
        self._parts = parts
        self._ends_at = ends_at_s
        self._beat_at = time.monotonic() + BEAT_S
        self._told = ""  # id of the last event that was sent

    @property
    def over(self) -> bool:
        """Whether its time is up."""
        return time.monotonic() >= self._ends_at

    async def rest(self, follower: Follower) -> bool:
        """Wait for news; False when it is time to look although there are none."""
        left_s = self._ends_at - time.monotonic()
        return await follower.wait(max(0.0, min(LOOK_AGAIN_S, left_s)))

    def beat(self) -> bytes:
        """A sign of life, when it is time for one."""
        if time.monotonic() < self._beat_at:
            return b""
        self._beat_at = time.monotonic() + BEAT_S
        return BEAT

    async def begin(self, follower: Follower, after: str) -> tuple[list[Event], bool]:
        """The events between `after` and what `follower` will get, and whether they are all."""
        self._told = after
        position = await self._parts.feed.position()
        follower.gap = False
        missed: list[Event] = []
        whole = bool(position)
        if after:
            try:
                missed, complete = await self._parts.feed.missed(after, follower.wanted)
                missed, whole = self.fresh(missed), whole and complete
            except Exception as error:
                if not is_outage(error):
                    raise
                whole = False
        if position and (not self._told or key_of(position) > key_of(self._told)):
            self._told = position
        return missed, whole

    def fresh(self, events: Sequence[Event]) -> list[Event]:
        """Those that have not been sent."""
        told = key_of(self._told) if self._told else ()
        found = [event for event in events if key_of(event.id) > told]
        if found:
            self._told = found[-1].id
        return found


class JobFrames(Following):
    """The frames of one job."""

    def __init__(self, parts: GatewayParts, job_id: str, ends_at_s: float) -> None:
        super().__init__(parts, ends_at_s)
        self._job_id = job_id
        self._seen: Job | None = None
        self._ended = False  # or it is not there any more

    async def frames(self, after: str) -> Frames:
        """What was missed, the job as it stands, then what happens to it until its end."""
        with self._parts.feed.following(Wanted(self._job_id)) as follower:
            missed, _ = await self.begin(follower, after)
            yield written(missed)
            yield await self._look(always=True)
            while not self._ended and not self.over:
                has_news = await self.rest(follower)
                if follower.closed or follower.behind:
                    yield reconnect("stopping" if follower.closed else "too slow")
                    return
                events = self.fresh(follower.take())
                yield written(events)
                gap, follower.gap = follower.gap, False
                ended = any(event.kind == "ended" for event in events)
                if ended or gap or not has_news:
                    yield await self._look(always=ended or gap)
                yield self.beat()

    async def _look(self, *, always: bool) -> bytes:
        """The job as it stands, if it has changed or `always`; nothing while Redis is away."""
        try:
            job = await self._parts.read_job(self._job_id)
        except Exception as error:
            if not is_outage(error):
                raise
            return b""
        self._ended = job is None or job.state.ended
        before, self._seen = self._seen, job
        if job is None or not (always or before is None or _moved(before, job)):
            return b""
        return framed("job", JobView.of(job), self._told)


class AppFrames(Following):
    """The frames of an app's jobs."""

    def __init__(self, parts: GatewayParts, query: EventsQuery, ends_at_s: float) -> None:
        super().__init__(parts, ends_at_s)
        self._query = query
        self._tags: dict[str, tuple[str, ...]] = {}

    async def frames(self, wanted: Wanted, after: str) -> Frames:
        """What was missed, then what happens."""
        with self._parts.feed.following(wanted) as follower:
            missed, whole = await self.begin(follower, after)
            yield BEAT if whole else framed("gap", {}, self._told)  # it is heard from here on
            yield written(await self._matching(missed))
            while not self.over:
                await self.rest(follower)
                if follower.closed or follower.behind:
                    yield reconnect("stopping" if follower.closed else "too slow")
                    return
                if follower.gap:
                    follower.gap = False
                    yield framed("gap", {}, self._told)
                yield written(await self._matching(self.fresh(follower.take())))
                yield self.beat()

    async def _matching(self, events: Sequence[Event]) -> Sequence[Event]:
        query = self._query
        found = [
            event
            for event in events
            if query.processor in (None, event.lane.processor) and query.kind in (None, event.kind)
        ]
        if query.tag is None or not found:
            return found
        await self._learn_tags({event.job_id for event in found})
        return [event for event in found if query.tag in self._tags.get(event.job_id, ())]

    async def _learn_tags(self, job_ids: set[str]) -> None:
        """Events carry no tags, and a job's never change. While Redis is away nothing matches."""
        if len(self._tags) + len(job_ids) > TAGS_KEPT:
            self._tags.clear()
        unknown = sorted(job_ids - self._tags.keys())
        try:
            jobs = await self._parts.inspector.jobs_by_id(unknown)
        except Exception as error:
            if not is_outage(error):
                raise
            return
        self._tags |= {job.id: job.tags for job in jobs}


def written(events: Sequence[Event]) -> bytes:
    """The frames of events."""
    return b"".join(framed(one.kind, EventView.of(one), one.id) for one in events)


def _moved(before: Job, job: Job) -> bool:
    return (before.state, before.attempt, before.cancel_requested) != (
        job.state,
        job.attempt,
        job.cancel_requested,
    )


OPERATIONS = (
    Operation(
        "GET",
        "/v1/jobs/{id}/events",
        "Follow a job",
        follow_job,
        Scope.READ,
        answers={200: str, 204: None},
        errors=(UnknownJob, JobGone, InvalidInput, RateLimited),
        media=MEDIA,
    ),
    Operation(
        "GET",
        "/v1/events",
        "Follow all jobs of an app",
        follow_app,
        Scope.READ,
        query=EventsQuery,
        answers={200: str},
        errors=(InvalidInput, NotAllowed, RateLimited),
        media=MEDIA,
    ),
)
