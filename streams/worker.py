"""The worker's engine: take, attempt (announce, perform, judge, settle, report), renew, drain.

Whatever calls `pull` and `execute` is an actor; the runtime in `processors` has Faust's, the tests
have plain loops. Nothing here knows a processor: `run` is given.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Mapping, Sequence

import msgspec
from mode import Service

from streams.attempt import HELD, Attempt
from streams.bell import Bell
from streams.blobs import Blobs, NoBlobs
from streams.broker import Broker
from streams.committer import ROUNDS, Committer
from streams.durability import Durability
from streams.errors import Unavailable
from streams.flows import FlowStore
from streams.intake import Intake
from streams.journal import VerdictJournal
from streams.keyspace import FLOW, pool_of
from streams.model import (
    HandedBack,
    Lease,
    Renewed,
    ResourceClass,
    Settlement,
    Take,
    Verdict,
)
from streams.performer import Performer, Run
from streams.scripts import Client, text
from streams.telemetry import AttemptJudged, AttemptStarted, LeaseGone, Telemetry
from streams.timing import Limits
from streams.tokens import Speaker
from streams.wire import Wire

REPORT_EVERY_S = 0.25
FLOWS_EVERY_S = 1.0
TIDY_EVERY_S = 2.0
LAG_EVERY_S = 0.5
FORCED_S = 5.0  # how long a stopped attempt may take to let go after the grace period


class WorkerPlan(msgspec.Struct, frozen=True):
    """What one worker offers. `id` ends in `-<nonce>` and is never used again."""

    id: str
    slots: Mapping[ResourceClass, int]  # the classes it serves
    processors: Mapping[ResourceClass, Sequence[str]]
    ollama_host: str = ""  # identity of the Ollama it is bound to
    models: Sequence[str] = ()


class Health(msgspec.Struct, frozen=True):
    """Whether the worker works, as seen from inside. Durations are seconds."""

    healthy: bool
    link_up: bool
    contact_age_s: float
    loop_lag_s: float
    running: int
    verdicts_owed: int = 0  # on disk and not yet answered by Redis


class Worker(Service):
    """Leases jobs for the actors, runs them, settles them. Stop with `drain`, then `stop`."""

    def __init__(
        self,
        broker: Broker,
        plan: WorkerPlan,
        run: Run,
        *,
        control: Client,
        bell: Client,
        telemetry: Telemetry | None = None,
        journal: VerdictJournal | None = None,
        blobs: Blobs | None = None,
    ) -> None:
        """`journal` is open already; without one, verdicts wait in memory while Redis is away."""
        super().__init__()
        self.broker = broker
        self.plan = plan
        self.telemetry = telemetry or Telemetry()
        self.running: dict[str, Attempt] = {}
        self.resident = ""  # class ollama: the model in memory, as Ollama said
        self.models = list(plan.models)
        self._processors = {  # flows' own jobs are of class io
            name: [*plan.processors[name], *([FLOW] if name is ResourceClass.IO else [])]
            for name in plan.slots
        }
        self.flows = FlowStore(control, broker)
        self._flows_wait = asyncio.Event()
        self._performer = Performer(broker, run, self.flows, journal, blobs or NoBlobs())
        self._wire = Wire(control, broker.keyspace, broker.scripts)
        self.intakes = {
            name: Intake(name, self._pool(name), slots, ahead_ms=self._ahead_ms(name))
            for name, slots in plan.slots.items()
        }
        self._journal = journal
        self._durability = Durability(control)
        self._committer = Committer(
            broker, self._wire, list(self.intakes.values()), self.telemetry, journal
        )
        self._by_doorbell = {
            broker.keyspace.key("doorbell_", name): intake for name, intake in self.intakes.items()
        }
        flows = broker.keyspace.key("doorbell_", "flows")
        self._bell = Bell(bell, [flows, *self._by_doorbell])
        for intake in self.intakes.values():
            intake.wake, intake.give_back = self._committer.wake, self._give_back
        self._progress: dict[str, tuple[str, float | None, str]] = {}
        self._speaker = Speaker(broker.scripts)
        self._limits = Limits()
        self._draw = random.Random()
        self._heard_at, self._lag_s = time.monotonic(), 0.0
        self._emptied = asyncio.Event()

    def _pool(self, name: ResourceClass) -> str:
        host = self.plan.ollama_host if name is ResourceClass.OLLAMA else ""
        return pool_of(name, host)

    def _ahead_ms(self, name: ResourceClass) -> int:
        return 0 if name is ResourceClass.OLLAMA else self.broker.settings.ahead_ms

    def _give_back(self, lease: Lease) -> None:
        self._committer.put(Settlement(lease.job_id, lease.token, HandedBack()))

    # -------------------------------------------------------------- the core loop

    async def pull(self, resource_class: ResourceClass) -> Lease:
        """Wait, as an idle actor, for a lease. Raises intake.Closed once the worker stops."""
        return await self.intakes[resource_class].pull()

    async def execute(self, lease: Lease) -> Verdict | None:
        """One attempt, start to finish. Never raises for what a processor does."""
        attempt = self._announce(lease)
        verdict: Verdict | None = HandedBack()
        held = HELD.set(lease)
        try:
            verdict = await self._performer.perform(attempt)
            verdict = await self._performer.secure(attempt, verdict)
            await self._speaker.finish(lease)
        finally:
            HELD.reset(held)
            self._settle(attempt, verdict)
        return verdict

    def _announce(self, lease: Lease) -> Attempt:
        attempt = Attempt(
            lease, self.telemetry, self._note_progress, self._speaker.say, self._limits
        )
        if lease.job_id in self.running:  # ours ran out while this process stood still
            self.running[lease.job_id].stop("lost")
        self.running[lease.job_id] = attempt
        if self.telemetry.wants(AttemptStarted):
            self.telemetry.emit(AttemptStarted(lease))
        return attempt

    def _settle(self, attempt: Attempt, verdict: Verdict | None) -> None:
        lease = attempt.lease
        if self.running.get(lease.job_id) is attempt:
            del self.running[lease.job_id]
            self._progress.pop(lease.job_id, None)
        self._speaker.forget(lease)
        if not self.running:
            self._emptied.set()
        took_s = time.monotonic() - attempt.started
        self.intakes[lease.lane.resource_class].freed(took_s)
        if verdict is not None:
            self._committer.put(Settlement(lease.job_id, lease.token, verdict, attempt.usage))
            if self.telemetry.wants(AttemptJudged):
                judged = AttemptJudged(lease, verdict, took_s, attempt.usage, attempt.untimed_s)
                self.telemetry.emit(judged)

    # -------------------------------------------------------------- what goes on beside it

    def _describe(self, intake: Intake, slots: int) -> Take:
        ollama = intake.resource_class is ResourceClass.OLLAMA
        return Take(
            worker=self.plan.id,
            sequence=intake.sequence,
            resource_class=intake.resource_class,
            pool=intake.pool,
            slots=slots,
            processors=self._processors[intake.resource_class],
            models=self.models if ollama else None,
            resident=self.resident if ollama else "",
            lease_ms=self.broker.settings.lease_ms,
        )

    async def on_first_start(self) -> None:
        """Begin the background parts; what an earlier process could not settle goes first."""
        for settlement in self._journal.owed() if self._journal else ():
            self._committer.put(settlement)
        for _ in range(ROUNDS):
            self.add_future(self._committer.run(self._describe, self.plan.id))
        self.add_future(self._listen())
        self.add_future(self._move_flows())
        self.add_future(self._renew_always())
        self.add_future(self._report_always())
        self.add_future(self._speaker.run())
        self.add_future(self._measure_lag())
        self.add_future(self._watch_link())
        self.add_future(self._tidy_journal())

    async def _listen(self) -> None:
        """Wait at the doorbells, on a connection of its own, for work and for cancel requests."""
        block_ms = self.broker.settings.poll_ceiling_ms
        while not self.should_stop:
            try:
                rings = await self._bell.wait(block_ms)
            except Exception as error:  # work is looked for every second, bell or not
                self.log.debug("no answer at the doorbell: %r", error)
                await asyncio.sleep(0.2)
                continue
            self._heard_at = time.monotonic()
            for doorbell, fields in rings:
                if intake := self._by_doorbell.get(doorbell):
                    self._answer_bell(intake, fields)
                else:
                    self._flows_wait.set()
            await asyncio.sleep(0)  # the request for work goes out before the next wait

    def _answer_bell(self, intake: Intake, fields: Mapping[bytes, bytes]) -> None:
        job_id = text(fields.get(b"cancel"))
        if not job_id:
            self._committer.ring(intake)
        elif job_id in self.running:
            self.running[job_id].stop("cancelled")
        elif lease := intake.withdraw(job_id):
            self._give_back(lease)  # cancelled where it is handed back

    async def _move_flows(self) -> None:
        """Take what flows have left to do, when the bell rings and once a second."""
        while not self.should_stop:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._flows_wait.wait(), FLOWS_EVERY_S)
            self._flows_wait.clear()
            try:
                await self.flows.tick()
            except Unavailable:
                await asyncio.sleep(FLOWS_EVERY_S)
            except Exception:  # one flow must not stop the others
                self.log.exception("flows could not be moved")

    async def _renew_always(self) -> None:
        while not self.should_stop:
            await asyncio.sleep(self.broker.settings.renew_ms / 1000)
            try:
                await self.renew()
            except Unavailable:
                continue  # what runs goes on; its lease may run out meanwhile
            except Exception:  # leases must be renewed whatever one round met
                self.log.exception("leases could not be renewed")

    async def renew(self) -> None:
        """Move the deadlines of running attempts; stop those that are lost or cancelled."""
        young = time.monotonic() - self.broker.settings.renew_ms / 2000
        held = [a.lease for a in self.running.values() if a.started < young]
        for start in range(0, len(held), 500):
            chunk = held[start : start + 500]
            flat = [part for lease in chunk for part in (lease.job_id, lease.token)]
            lease_ms = self.broker.settings.lease_ms
            [answer] = await self._wire.call([("renew", [self.plan.id, lease_ms, *flat])])
            self._heed(chunk, self.broker.renewed(answer))

    def _heed(self, leases: Sequence[Lease], told: Renewed) -> None:
        for lease in leases:
            attempt = self.running.get(lease.job_id)
            if attempt is None or attempt.lease.token != lease.token:
                continue
            if lease.job_id in told.lost:
                self.telemetry.emit(LeaseGone(lease))
                attempt.stop("lost")
            elif lease.job_id in told.cancel:
                attempt.stop("cancelled")

    def _note_progress(self, lease: Lease, fraction: float | None, note: str) -> None:
        self._progress[lease.job_id] = (lease.token, fraction, note)

    async def _report_always(self) -> None:
        while not self.should_stop:
            await asyncio.sleep(REPORT_EVERY_S)
            said, self._progress = self._progress, {}
            if said:
                try:
                    await self.broker.report([(job, *row) for job, row in said.items()])
                except Exception:
                    continue  # progress is worth no retry: the next one says more

    async def _measure_lag(self) -> None:
        while not self.should_stop:
            before = time.monotonic()
            await asyncio.sleep(LAG_EVERY_S)
            self._lag_s = max(0.0, time.monotonic() - before - LAG_EVERY_S)

    async def _watch_link(self) -> None:
        """Drop connections over which nothing came for long: a dead link may say nothing at all."""
        stall_s = self.broker.settings.stall_ms / 1000
        while not self.should_stop:
            await asyncio.sleep(stall_s)
            if self.health().contact_age_s > stall_s:
                await self._wire.close("Redis is silent")
                await self._bell.close()

    async def _tidy_journal(self) -> None:
        while not self.should_stop and self._journal is not None:
            await asyncio.sleep(TIDY_EVERY_S)
            if self._journal.kept:
                with contextlib.suppress(Unavailable):
                    await self._journal.forget(await self._durability.safe_age_ms())

    def health(self) -> Health:
        """Alive means: Redis answered a take or a wait within `stall_ms`, and the loop turns."""
        stall_s = self.broker.settings.stall_ms / 1000
        now = time.monotonic()
        age_s = now - max(self._heard_at, self._committer.taken_at)
        failing_s = now - (self._committer.failing_since or now)
        return Health(
            healthy=max(age_s, failing_s, self._lag_s) < stall_s,
            link_up=self._committer.up and age_s < stall_s,
            contact_age_s=age_s,
            loop_lag_s=self._lag_s,
            running=len(self.running),
            verdicts_owed=len(self._journal.owed()) if self._journal else 0,
        )

    # -------------------------------------------------------------- stopping

    async def drain(self, grace_s: float | None = None) -> None:
        """Take nothing more; let attempts end within the grace period, hand back the rest.

        Returns when every verdict has reached Redis, or after the grace period and a little more.
        """
        if grace_s is None:
            grace_s = self.broker.settings.grace_ms / 1000
        for intake in self.intakes.values():
            intake.shut()
        await self._wait_idle(grace_s)
        for attempt in list(self.running.values()):
            attempt.stop("stopping")
        await self._wait_idle(FORCED_S)
        try:
            async with asyncio.timeout(FORCED_S):
                await self._committer.drained()
        except TimeoutError:
            self.log.warning("verdicts are not settled: Redis does not answer")

    async def _wait_idle(self, limit_s: float) -> None:
        self._emptied.clear()
        if self.running:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), limit_s)

    async def on_stop(self) -> None:
        """Close the connection; leave no consumer behind that Redis still lists."""
        try:
            for name, intake in self.intakes.items():
                await self.broker.drop_consumer(self.plan.id, name, intake.pool)
        except Unavailable:
            pass  # the janitor of another worker will do it
        await self._wire.close()
        await self._bell.close()
