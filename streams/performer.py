"""One attempt, performed and judged: its input, the run within its time, its verdict made safe."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from streams.attempt import Attempt
from streams.blobs import Blobs, may_refer, reference, resolved
from streams.broker import Broker
from streams.errors import TimedOut, Trouble, Unavailable
from streams.flows import FlowStore
from streams.journal import VerdictJournal
from streams.keyspace import FLOW
from streams.model import Done, HandedBack, Lease, Parked, Settlement, Stopped, Verdict
from streams.policy import judge
from streams.timing import Limit

Run = Callable[[Attempt], Awaitable[bytes]]
STORE_PAUSES_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)  # between tries to store a blob


class Interrupted(Trouble):
    """The attempt was stopped from outside; its message says why."""

    code = "interrupted"


class Performer:
    """Runs attempts of processors, and itself those of flows' own jobs."""

    def __init__(
        self,
        broker: Broker,
        run: Run,
        flows: FlowStore,
        journal: VerdictJournal | None,
        blobs: Blobs,
    ) -> None:
        self._broker = broker
        self._run = run
        self._flows = flows
        self._journal = journal
        self._blobs = blobs
        self._draw = random.Random()

    async def perform(self, attempt: Attempt) -> Verdict | None:
        """Run and judge. Never raises for what a processor does; None when the lease is lost."""
        return self._judge(attempt, await self._ending(attempt))

    async def _ending(self, attempt: Attempt) -> bytes | Parked | BaseException:
        limit: Limit | None = None
        try:
            await self._provide(attempt)
            with attempt.limit() as limit:
                if attempt.lease.lane.processor == FLOW:
                    await self._flows.plant(attempt.lease, attempt.payload)
                    return Parked()
                return await self._run(attempt)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return Trouble(f"the processor cancelled itself: {error}")
        except Exception as error:
            if limit is None or not limit.expired():
                return error
        # Whatever the processor made of being stopped: it was stopped.
        if attempt.why:
            return Interrupted(attempt.why)
        return TimedOut(f"ran longer than {attempt.timeout_s:g} s")

    def _judge(self, attempt: Attempt, ending: bytes | Parked | BaseException) -> Verdict | None:
        if isinstance(ending, Parked):
            return ending
        if isinstance(ending, Interrupted):
            match attempt.why:
                case "lost":
                    return None
                case "stopping":
                    return HandedBack()
                case _:
                    return Stopped(attempt.why)
        return self._verdict_on(attempt.lease, ending)

    async def _provide(self, attempt: Attempt) -> None:
        """Complete the input: a large one is fetched, a stage's references are replaced."""
        if attempt.lease.payload is None:
            attempt.payload = await self._fetch(attempt.lease)
        if attempt.lease.flow:
            attempt.payload = await self._flows.payload(attempt.lease, attempt.payload)
        if may_refer(attempt.payload) and attempt.lease.lane.processor != FLOW:
            attempt.payload = await resolved(attempt.payload, self._blobs)

    async def _fetch(self, lease: Lease) -> bytes:
        payload = await self._broker.payload(lease.job_id, lease.payload_bytes)
        if payload is None:
            raise Unavailable("the job's input is not in Redis")
        return payload

    async def secure(self, attempt: Attempt, verdict: Verdict | None) -> Verdict | None:
        """Put what must not be lost on disk, and a large result in its place, before the verdict.

        However long the link is down; only a stop does not wait for it. The verdict to settle is
        another one when the result went into a blob, or could not.
        """
        lease, settings = attempt.lease, self._broker.settings
        if isinstance(verdict, Done) and len(verdict.result) > settings.result_redis_max_bytes:
            verdict = await self._stored(attempt, verdict)
        if verdict is None:
            return None
        settlement = Settlement(lease.job_id, lease.token, verdict, attempt.usage)
        if time.monotonic() - attempt.started >= settings.journal_after_ms / 1000:
            await self._keep(settlement)
        if not isinstance(verdict, Done) or len(verdict.result) <= settings.result_inline_max_bytes:
            return verdict
        while attempt.why not in ("lost", "stopping"):
            try:
                await self._broker.stage(lease.job_id, lease.token, verdict.result)
            except Unavailable:
                await self._keep(settlement)
                await asyncio.sleep(1.0)
            else:
                break
        return verdict

    async def _stored(self, attempt: Attempt, done: Done) -> Verdict:
        """A result beyond what Redis shall hold, as a blob."""
        lease = attempt.lease
        for pause_s in (*STORE_PAUSES_S, None):
            try:
                blob_id = await self._blobs.store(lease.lane.app, lease.job_id, done.result)
                return Done(reference(blob_id), apart=True)
            except Unavailable as error:
                if pause_s is None or attempt.why in ("lost", "stopping"):
                    return self._verdict_on(lease, error)
                await asyncio.sleep(pause_s)
            except Exception as error:
                return self._verdict_on(lease, error)
        raise AssertionError("the last pause is None")

    def _verdict_on(self, lease: Lease, ending: bytes | BaseException) -> Verdict:
        return judge(lease, ending, self._broker.settings.retry_after_max_s, self._draw)

    async def _keep(self, settlement: Settlement) -> None:
        if self._journal is not None:
            await self._journal.append([settlement])
