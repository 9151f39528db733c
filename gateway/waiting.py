"""Waiting for a job's end: one reader of the event stream per process wakes the requests.

An event only says that it is worth looking: the answer is always the job's state as read after
it. On subscribing, after a gap and at the deadline the state is read again, so nothing depends
on having seen an event.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable

from mode import Service

from gateway.problems import is_outage
from streams.clock import Clock
from streams.events import EventReader
from streams.model import Job

READ_BLOCK_MS = 1_000
READ_COUNT = 1_000
LOOK_AGAIN_S = 5.0  # look without an event this often: the stream is capped and may be cut
RETRY_S = 0.5

ReadJob = Callable[[str], Awaitable[Job | None]]


class EndingWatch(Service):
    """Tells requests when their job has ended. Reads events only while somebody waits."""

    def __init__(self, events: EventReader, read_job: ReadJob, clock: Clock) -> None:
        super().__init__()
        self._events = events
        self._read_job = read_job
        self._clock = clock
        self._watched: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._somebody = asyncio.Event()

    async def ended(self, job_id: str, within_s: float) -> Job | None:
        """The job as soon as it has ended, or as it stands after `within_s`; None: no such job."""
        deadline = self._clock.monotonic() + within_s
        look = asyncio.Event()
        self._watched[job_id].add(look)
        self._somebody.set()
        try:
            while True:
                look.clear()
                job = await self._read_job(job_id)
                left_s = deadline - self._clock.monotonic()
                if job is None or job.state.ended or left_s <= 0 or self.should_stop:
                    return job
                await _wait_for(look, min(left_s, LOOK_AGAIN_S))
        finally:
            self._forget(job_id, look)

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return sum(map(len, self._watched.values()))

    async def on_stop(self) -> None:
        """Let every request look once more and answer."""
        self._wake_all()

    @Service.task
    async def _read_events(self) -> None:
        while not self.should_stop:
            await self._somebody.wait()
            try:
                await self._follow()
            except Exception as error:  # the reader must outlive whatever Redis does
                if not is_outage(error):
                    self.log.exception("the event stream could not be read")
                await self.sleep(RETRY_S)

    async def _follow(self) -> None:
        """Read events until nobody waits. Starts like after a gap: with a look for everybody."""
        position = await self._events.latest_id()
        self._wake_all()
        while self._somebody.is_set() and not self.should_stop:
            for event in await self._events.read(position, READ_BLOCK_MS, READ_COUNT):
                position = event.id
                if event.kind == "ended":
                    self._wake(event.job_id)

    def _wake(self, job_id: str) -> None:
        for look in self._watched.get(job_id, ()):
            look.set()

    def _wake_all(self) -> None:
        for job_id in self._watched:
            self._wake(job_id)

    def _forget(self, job_id: str, look: asyncio.Event) -> None:
        self._watched[job_id].discard(look)
        if not self._watched[job_id]:
            del self._watched[job_id]
        if not self._watched:
            self._somebody.clear()


async def _wait_for(look: asyncio.Event, within_s: float) -> None:
    try:
        async with asyncio.timeout(within_s):
            await look.wait()
    except TimeoutError:
        return
