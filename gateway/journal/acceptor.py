"""Accepts jobs by writing them to the journal; Redis hears of them from the shipper."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from mode import Service

from gateway.journal.adoption import Adoption
from gateway.journal.file import ROW_BYTES, Fate, Row, Written
from gateway.journal.journal import Journal
from gateway.journal.pending import Patience, Pending
from gateway.journal.shipper import Destination, Shipper
from gateway.journal.slots import Slot, claim
from gateway.journal.survey import find_in
from gateway.problems import is_outage
from gateway.settings import GatewaySettings
from streams.errors import SpoolFull, Unavailable, Undecided
from streams.inspector import Inspector
from streams.model import Conflict, Fault, Job, Lane, NewJob, State, Submitted, UniqueKey

log = logging.getLogger(__name__)


class Spool(msgspec.Struct, frozen=True):
    """How the journals stand that this process ships: its own, and adopted ones."""

    gateway: str
    rows: int  # spooled: accepted, and not in Redis
    bytes: int
    oldest_s: float  # since the oldest of them was accepted
    shipped: int  # in Redis, and kept here until they are safe there
    kept: int  # not sent, for the operator to look at
    alarms: int  # how often Redis had lost what it had, since the process started
    gone: int  # accepted jobs that it lost for good
    adopted: int  # journals of ended processes, now shipped here
    writable: bool
    full: bool
    away: bool  # Redis takes no jobs


class JournalAcceptor(Service):
    """The acceptor of a process, with a journal in `folder`."""

    def __init__(
        self, folder: Path, to: Destination, inspector: Inspector, settings: GatewaySettings
    ) -> None:
        super().__init__()
        self._folder = folder
        self._to = to
        self._inspector = inspector
        self._settings = settings
        self._slot: Slot | None = None
        self._for_disk = Patience(settings.accept_wait_s, _too_slow)
        self._for_redis = Patience(settings.accept_wait_ms / 1_000, Pending.end)
        self._journal: Journal
        self._shipper: Shipper
        self._adoption: Adoption

    async def on_start(self) -> None:
        """Claim a file and go on with what is in it. Raises ConfigError or DiskRefused."""
        self._slot = await asyncio.to_thread(claim, self._folder)
        self._journal = Journal(self._slot.path)
        await self._journal.open()
        self._shipper = Shipper(self._journal, self._to, self._settings.spool_bytes_max)
        self._journal.reader = self._shipper
        self._adoption = Adoption(
            self._folder, self._slot.path, self._to, self._settings.spool_bytes_max
        )
        for part in (self._to.pressure, self._shipper, self._adoption):
            await part.maybe_start()
        extra = {"gateway": self._journal.gateway, "rows": self._journal.spooled}
        log.info("journal is open", extra=extra)

    async def on_stop(self) -> None:
        """Ship what Redis takes, then close the file; what is left is for the next start."""
        if self._slot is None:
            return
        for part in (self._adoption, self._shipper, self._to.pressure):
            await part.stop()
        await self._journal.close()
        self._slot.release()
        self._slot = None

    def check(self, lane: Lane, unique: UniqueKey | None = None) -> None:
        """Raise OutOfMemory, ClassFull or Undecided when a job of this lane shall come later."""
        self._to.pressure.check(lane)
        decided_late = unique is not None and unique.on_conflict is not Conflict.EXISTING
        if decided_late and self._redis_takes_nothing:
            raise Undecided("who has a unique key is not known while jobs are spooled")

    async def accept(self, jobs: Sequence[NewJob]) -> list[Submitted]:
        """Accept jobs, all or none: they are on disk when this returns.

        The answers are what Redis said, or `spooled` where it did not within `accept_wait_ms`, or
        is known to take nothing.
        Raises SpoolFull or DiskRefused.
        """
        if self._slot is None or self.should_stop:
            raise Unavailable("the gateway stops")
        self._check_room(jobs)
        pending = Pending(jobs)
        self._for_disk.add(pending)
        self._journal.write(pending, self._to.clock.now_ms(), self._on_disk)
        await pending.ended()
        return [
            self._created(job, written, said)
            if isinstance(said, Submitted)
            else await self._unsaid(pending, index)
            for index, (job, written, said) in enumerate(
                zip(jobs, pending.written, pending.said, strict=True)
            )
        ]

    async def find(self, job_id: str) -> Job | None:
        """A job that only a journal of this machine has."""
        row = await self._journal.find(job_id)
        if row is None:
            found = await asyncio.to_thread(find_in, self._folder, job_id, self._journal.path)
            row = found
        return None if row is None else job_of(row)

    def spool(self) -> Spool | None:
        """How the spool stands; None before the start and after the stop."""
        if self._slot is None:
            return None
        journals = [self._journal, *self._adoption.journals]
        shippers = [self._shipper, *self._adoption.shippers]
        oldest_s = self._oldest_s(journals)
        return Spool(
            gateway=self._journal.gateway,
            rows=sum(each.spooled for each in journals),
            bytes=sum(each.spooled_bytes for each in journals),
            oldest_s=oldest_s,
            shipped=sum(each.shipped for each in journals),
            kept=sum(each.kept for each in journals),
            alarms=sum(each.alarms for each in shippers) + self._adoption.alarms,
            gone=sum(each.gone for each in shippers) + self._adoption.gone,
            adopted=len(journals) - 1,
            writable=self._journal.writable,
            full=self._full_by(1, ROW_BYTES) is not None,
            away=self._redis_takes_nothing,
        )

    @property
    def _redis_takes_nothing(self) -> bool:
        """Whether it is known that an answer would not come in time."""
        return self._shipper.away or self._to.pressure.full

    def _check_room(self, jobs: Sequence[NewJob]) -> None:
        if self._journal.pending + len(jobs) > self._settings.accept_pending_max:
            raise Unavailable("too many submits wait for the disk")
        size = sum(len(job.payload) + ROW_BYTES for job in jobs)
        if over := self._full_by(len(jobs), size):
            after_s = self._shipper.drain.after_s(over)
            raise SpoolFull("the journal is at its limit", after_s=after_s)

    def _full_by(self, rows: int, size: int) -> float | None:
        """How many rows too many it would be with these ones; None when there is room."""
        settings, journal = self._settings, self._journal
        over = journal.spooled + rows - settings.spool_rows_max
        if over > 0:
            return over
        bytes_over = journal.spooled_bytes + size - settings.spool_bytes_max
        if bytes_over > 0:
            return max(1.0, bytes_over * journal.spooled / max(1, journal.spooled_bytes))
        if self._oldest_s([journal]) > settings.spool_age_max_s:
            return float(journal.spooled)
        return None

    def _oldest_s(self, journals: Iterable[Journal]) -> float:
        spooling = [each.oldest_ms for each in journals if each.spooled and each.oldest_ms]
        return max(0.0, (self._to.clock.now_ms() - min(spooling)) / 1_000) if spooling else 0.0

    def _on_disk(self, pending: Pending) -> None:
        """Wait for what Redis says, where it is not known that it says nothing."""
        if self._redis_takes_nothing:
            pending.end()
        elif pending.waits:
            self._for_redis.add(pending)

    @staticmethod
    def _created(job: NewJob, written: Written, said: Submitted) -> Submitted:
        """What Redis said, with whether this submit made the job."""
        # Without an idempotency key nobody else made this job, whatever a repeated call says.
        created = written.fresh and (said.created or not job.digest)
        if said.holder or said.created is created:
            return said
        return msgspec.structs.replace(said, created=created)

    async def _unsaid(self, pending: Pending, index: int) -> Submitted:
        """A job of which Redis said nothing, or why it refuses it."""
        job, written, said = pending.jobs[index], pending.written[index], pending.said[index]
        if isinstance(said, Exception):
            raise said
        if not written.same:
            return Submitted(job.id, State.SPOOLED, created=False, same=False)
        if written.fresh or written.sequence > self._journal.cursor:
            self._shipper.forget(written.sequence, pending)
            return Submitted(job.id, State.SPOOLED, created=written.fresh)
        return await self._known(job.id)

    async def _known(self, job_id: str) -> Submitted:
        """A job that an earlier submit brought to Redis, as it stands there."""
        job = None
        try:
            async with asyncio.timeout(self._settings.accept_wait_ms / 1_000):
                job = await self._inspector.job(job_id)
        except Exception as error:
            if not is_outage(error):
                raise
        return Submitted(job_id, job.state if job else State.SPOOLED, created=False)


def _too_slow(pending: Pending) -> None:
    """The disk has not taken it in time; what is on disk waits for Redis only."""
    if not pending.written:
        pending.fail(TimeoutError("the journal's disk is too slow"))


def job_of(row: Row) -> Job:
    """A row as the read side shows jobs."""
    job = row.job
    due_ms = job.run_at_ms or (row.accepted_ms + job.delay_ms if job.delay_ms else 0)
    return Job(
        id=job.id,
        lane=job.lane,
        state=State.SPOOLED,
        submitted_ms=row.accepted_ms,
        attempt=0,
        failures=0,
        crashes=0,
        attempts_max=job.attempts_max,
        timeout_ms=job.timeout_ms,
        due_ms=due_ms,
        expires_at_ms=job.expires_at_ms,
        payload_bytes=len(job.payload),
        fault=Fault("kept", row.why) if row.fate is Fate.KEPT else None,
        callback=job.callback,
        tags=job.tags,
        trace=job.trace,
    )
