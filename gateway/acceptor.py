"""The seam between a validated submit and the streams: `Acceptor`.

`gateway.journal` has the one that is used by default. The one here hands jobs straight to Redis,
for gateways that may not write to a disk: then a 202 is as durable as Redis makes it.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec
from mode import Service

from gateway.problems import is_outage
from gateway.settings import GatewaySettings
from streams.broker import Broker
from streams.errors import Unavailable
from streams.model import Job, Lane, NewJob, Submitted, UniqueKey

if TYPE_CHECKING:
    from gateway.journal.acceptor import Spool

CALL_JOBS_MAX = 1_000  # what one Broker.submit may carry
CALL_BYTES_MAX = 1024 * 1024  # of payload; a single larger request still goes as one call
CALLS_AT_ONCE = 2  # one on its way while the next is gathered
STOPPING = "the gateway stops"


class Acceptor(Protocol):
    """Takes responsibility for jobs: once `accept` has returned, they are not lost."""

    def check(self, lane: Lane, unique: UniqueKey | None = None) -> None:
        """Raise OutOfMemory, ClassFull or Undecided when a job of this lane shall come later."""
        ...

    async def accept(self, jobs: Sequence[NewJob]) -> list[Submitted]:
        """Accept jobs, at most 1,000, all or none; repeating is harmless.

        Raises Unavailable, or a child of it, when they cannot be accepted now.
        """
        ...

    async def find(self, job_id: str) -> Job | None:
        """A job that was accepted and that Redis does not have yet."""
        ...

    def spool(self) -> "Spool | None":
        """How much there is of these; None where there is no journal."""
        ...


class Waiting(msgspec.Struct, eq=False):
    """One request's jobs on their way, and where its answer goes."""

    jobs: Sequence[NewJob]
    answer: "asyncio.Future[list[Submitted]]"

    @property
    def bytes(self) -> int:
        """The payload's size."""
        return sum(len(job.payload) for job in self.jobs)


class DirectAcceptor(Service):
    """Accepts by `Broker.submit`. What arrives while calls are under way shares the next one.

    A lone request waits for nobody; under load the size of a call follows the load by itself.
    """

    def __init__(self, broker: Broker, settings: GatewaySettings) -> None:
        super().__init__()
        self._broker = broker
        self._settings = settings
        self._waiting: deque[Waiting] = deque()
        self._jobs_waiting = 0
        self._arrived = asyncio.Event()
        self._callers: list[asyncio.Future[None]] = []

    def check(self, lane: Lane, unique: UniqueKey | None = None) -> None:
        """Any job may come: Redis itself says when it is full."""

    async def accept(self, jobs: Sequence[NewJob]) -> list[Submitted]:
        """Accept jobs; the answers come in their order. See `Acceptor`."""
        if self._jobs_waiting + len(jobs) > self._settings.accept_pending_max or self.should_stop:
            raise Unavailable("too many submits wait", after_s=1.0)
        mine = Waiting(jobs, asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        self._jobs_waiting += len(jobs)
        self._arrived.set()
        async with asyncio.timeout(self._settings.accept_wait_s):
            return await mine.answer

    async def find(self, job_id: str) -> Job | None:
        """None: what is accepted is in Redis."""
        return None

    def spool(self) -> None:
        """None: there is no journal."""
        return

    async def on_started(self) -> None:
        """Start the callers."""
        self._callers = [self.add_future(self._call()) for _ in range(CALLS_AT_ONCE)]

    async def on_stop(self) -> None:
        """Refuse what is still waiting; calls under way may end."""
        _refuse(self._waiting, Unavailable(STOPPING))
        self._arrived.set()
        if self._callers:
            await asyncio.wait(self._callers, timeout=self._settings.accept_wait_s)

    async def _call(self) -> None:
        while not self.should_stop:
            await self._arrived.wait()
            if group := self._gather():
                await self._submit(group)
            if not self._waiting:
                self._arrived.clear()

    def _gather(self) -> list[Waiting]:
        """Take what fits into one call, at least one request."""
        group: list[Waiting] = []
        jobs = size = 0
        while self._waiting:
            head = self._waiting[0]
            jobs += len(head.jobs)
            size += head.bytes
            if group and (jobs > CALL_JOBS_MAX or size > CALL_BYTES_MAX):
                break
            self._waiting.popleft()
            self._jobs_waiting -= len(head.jobs)
            if not head.answer.done():  # else its request has given up
                group.append(head)
        return group

    async def _submit(self, group: Sequence[Waiting]) -> None:
        try:
            answers = await self._broker.submit([job for one in group for job in one.jobs])
        except Exception as error:  # every request must get an answer, whatever this is
            if len(group) == 1 or is_outage(error):
                _refuse(group, error)
                return
            for one in group:  # one of them may be at fault: the others shall not pay for it
                await self._submit([one])
        else:
            _hand_out(group, answers)
        finally:
            _refuse(group, Unavailable(STOPPING))  # whoever has no answer by now was cut off


def _hand_out(group: Iterable[Waiting], answers: Sequence[Submitted]) -> None:
    start = 0
    for one in group:
        end = start + len(one.jobs)
        if not one.answer.done():
            one.answer.set_result(list(answers[start:end]))
        start = end


def _refuse(group: Iterable[Waiting], error: Exception) -> None:
    for one in group:
        if not one.answer.done():
            one.answer.set_exception(error)
