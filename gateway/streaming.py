"""What a job says while it runs, such as a model's words, as server-sent events.

Everybody reads the same stream: a late joiner gets all that the newest attempt has said, one who
was cut off goes on after `Last-Event-ID`.
"""

from collections.abc import AsyncGenerator

import msgspec
from starlette.responses import Response

from gateway.auth import Scope
from gateway.call import Call, Operation
from gateway.events import Following, ends_at
from gateway.feed import Wanted
from gateway.jobs import visible_job
from gateway.parts import GatewayParts
from gateway.problems import RateLimited, is_outage
from gateway.sse import MEDIA, EventStream, framed, last_id, reconnect
from gateway.wire import JobView
from streams.errors import InvalidInput, JobGone, UnknownJob
from streams.model import Job
from streams.tokens import Piece

END = "-end"


class TextView(msgspec.Struct, frozen=True):
    """A piece of text; `at` counts the bytes of UTF-8 before it, so that a hole can be seen."""

    attempt: int
    at: int
    text: str


class BeginView(msgspec.Struct, frozen=True):
    """An attempt begins: what an earlier one said is void. With `cut`: the rest is not kept."""

    attempt: int


async def follow_tokens(call: Call) -> Response:
    """What a job says, piece by piece; events `begin`, `text`, `cut`, and at last `end`.

    `end` holds the job. What was said is kept for an hour after the last piece. With
    `Prefer: wait=N` the stream ends after N seconds. 204 to one who has seen the end.
    """
    job = await visible_job(call, call.name("id"))
    after = last_id(call.headers.get("last-event-id", ""))
    if job.state.ended and after.endswith(END):
        return Response(status_code=204)
    leave = call.parts.viewers.enter(call.key.app)
    frames = TokenFrames(call.parts, job.id, ends_at(call)).frames(after.removesuffix(END))
    return EventStream(frames, leave)


class TokenFrames(Following):
    """The frames of what one job says."""

    def __init__(self, parts: GatewayParts, job_id: str, ends_at_s: float) -> None:
        super().__init__(parts, ends_at_s)
        self._job_id = job_id

    async def frames(self, after: str) -> AsyncGenerator[bytes, None]:
        """What was said after that id, and what is said until the job has ended."""
        self._told = after
        with self._parts.feed.following(Wanted(self._job_id, kinds=("ended",))) as follower:
            yield await self._said()
            with self._parts.tokens.watching(self._job_id, self._told, follower.news):
                while not self.over:
                    follower.take()
                    # First the state, then what was said: before it ends it has said everything.
                    job = await self._job()
                    yield await self._said()
                    if job is not None and job.state.ended:
                        yield framed("end", JobView.of(job), (self._told or "0-0") + END)
                        return
                    if follower.closed or follower.behind:
                        yield reconnect("stopping" if follower.closed else "too slow")
                        return
                    while not self.over and await self.rest(follower):
                        yield await self._said()
                        if follower.closed or follower.take():
                            break
                    yield self.beat()

    async def _said(self) -> bytes:
        """All that is new; nothing while Redis is away."""
        frames: list[bytes] = []
        try:
            while pieces := await self._parts.tokens.reader.read(self._job_id, self._told or "-"):
                frames += map(_framed, pieces)
                self._told = pieces[-1].id
        except Exception as error:
            if not is_outage(error):
                raise
        return b"".join(frames)

    async def _job(self) -> Job | None:
        try:
            return await self._parts.read_job(self._job_id)
        except Exception as error:
            if not is_outage(error):
                raise
            return None


def _framed(piece: Piece) -> bytes:
    if piece.cut:
        return framed("cut", BeginView(piece.attempt), piece.id)
    if piece.begins:
        return framed("begin", BeginView(piece.attempt), piece.id)
    return framed("text", TextView(piece.attempt, piece.at, piece.text), piece.id)


OPERATIONS = (
    Operation(
        "GET",
        "/v1/jobs/{id}/stream",
        "Read what a job says while it runs",
        follow_tokens,
        Scope.READ,
        answers={200: str, 204: None},
        errors=(UnknownJob, JobGone, InvalidInput, RateLimited),
        media=MEDIA,
    ),
)
