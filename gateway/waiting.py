"""Waiting for a job's end: the event stream wakes the request, the job's state is its answer.

On subscribing, after a gap, every few seconds and at the deadline the state is read again, so
nothing depends on having seen an event.
"""

from collections.abc import Awaitable, Callable

from mode import Service

from gateway.feed import Feed, Follower, Wanted
from streams.clock import Clock
from streams.model import Job

LOOK_AGAIN_S = 5.0  # look without an event this often: the stream is capped and may be cut

ReadJob = Callable[[str], Awaitable[Job | None]]


class EndingWatch(Service):
    """Tells requests when their job has ended."""

    def __init__(self, feed: Feed, read_job: ReadJob, clock: Clock) -> None:
        super().__init__()
        self._feed = feed
        self._read_job = read_job
        self._clock = clock
        self._waiting: set[Follower] = set()

    async def ended(self, job_id: str, within_s: float) -> Job | None:
        """The job as soon as it has ended, or as it stands after `within_s`; None: no such job."""
        deadline = self._clock.monotonic() + within_s
        with self._feed.following(Wanted(job_id, kinds=("ended",))) as follower:
            self._waiting.add(follower)
            try:
                while True:
                    follower.take()
                    job = await self._read_job(job_id)
                    left_s = deadline - self._clock.monotonic()
                    if job is None or job.state.ended or left_s <= 0 or self.should_stop:
                        return job
                    await follower.wait(min(left_s, LOOK_AGAIN_S))
            finally:
                self._waiting.discard(follower)

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    async def on_stop(self) -> None:
        """Let every request look once more and answer."""
        for follower in self._waiting:
            follower.news.set()
