"""Hands the rows of one journal to Redis, in order, and brings back what Redis says of each.

One call at a time: a watermark says that all below it is there, and calls that overtake each other
would make that a lie.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, takewhile

import msgspec
from mode import Service

from gateway.journal.file import Fate, Row
from gateway.journal.journal import Journal
from gateway.journal.pending import Pending, Place, Said
from gateway.journal.watermark import Course, compare
from gateway.pressure import Drain, Pressure
from gateway.problems import is_outage
from streams.broker import Broker
from streams.clock import Clock
from streams.durability import Durability
from streams.errors import Unavailable, WatermarkMoved
from streams.ids import job_id_for_key
from streams.model import NewJob, Submitted

log = logging.getLogger(__name__)

CALL_JOBS_MAX = 250  # some 4 ms of Redis, in which others wait and the next ones are made ready
CALL_BYTES_MAX = 1024 * 1024  # a single larger job still goes as one call
FRESH_MAX = 4_000  # rows kept in memory on their way; what is older is read from the file
FRESH_BYTES_MAX = 32 * 1024 * 1024  # of them
TEND_S = 1.0
BACKOFF_FIRST_S, BACKOFF_LAST_S = 0.05, 1.0
PAUSE_S = 0.1  # between looks at Redis' memory while nothing is shipped
STOP_S = 2.0


@dataclass(frozen=True)
class Destination:
    """Redis, as far as a journal has to do with it."""

    broker: Broker
    durability: Durability
    pressure: Pressure
    clock: Clock

    @property
    def overdue_ms(self) -> int:
        """Rows accepted before this are older than Redis remembers jobs: they might run twice."""
        return self.clock.now_ms() - self.broker.settings.retention_s * 1_000


class Shipper(Service):
    """Ships one open journal. `spool_bytes_max` bounds what is kept of rows that Redis has."""

    def __init__(self, journal: Journal, to: Destination, spool_bytes_max: int) -> None:
        super().__init__()
        self._journal = journal
        self._to = to
        self._bytes_max = spool_bytes_max
        self._fresh: deque[Row] = deque()  # the newest rows without a gap
        self._fresh_bytes = 0
        self._behind = True  # the file may hold spooled rows that are older than those
        self._marks: deque[tuple[int, float]] = deque()  # the cursor, and when it stood there
        self._waiting: dict[int, list[Place]] = {}  # by sequence: whose job it is
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()
        self._tend_at = 0.0
        self._saved = journal.cursor
        self.away = False  # the last call failed
        self.drain = Drain()
        self.alarms = 0  # how often Redis had lost what it had
        self.gone = 0  # accepted jobs that it lost for good

    def offer(self, rows: Sequence[Row], places: Sequence[Place]) -> None:
        """Take rows that have just been written, the next ones."""
        self._fresh.extend(rows)
        self._fresh_bytes += sum([row.size for row in rows])
        for row, place in zip(rows, places, strict=True):
            self._waiting[row.sequence] = [place]
        while len(self._fresh) > FRESH_MAX or self._fresh_bytes > FRESH_BYTES_MAX:
            self._leave_oldest()
            self._behind = True
        self._wake.set()

    def attach(self, sequence: int, place: Place) -> None:
        """Wait for a row's answer too; nothing will be said where Redis has given it already."""
        if sequence <= self._journal.cursor:
            place[0].expect_less()
        else:
            self._waiting.setdefault(sequence, []).append(place)

    def forget(self, sequence: int, pending: Pending) -> None:
        """This one waits no more for the row: its caller is told that the job is spooled."""
        others = [each for each in self._waiting.pop(sequence, ()) if each[0] is not pending]
        if others:
            self._waiting[sequence] = others

    @Service.task
    async def _run(self) -> None:
        backoff_s = 0.0  # the first repetition is at once: a connection may just have been stale
        while self._going:
            try:
                await self._step()
                backoff_s, self.away = 0.0, False
            except WatermarkMoved:
                self._tend_at = 0.0
            except Exception as error:  # the shipper must outlive whatever Redis or the disk does
                if not is_outage(error):
                    log.exception("rows of the journal could not be shipped")
                elif not self.away and backoff_s:
                    log.warning("Redis takes no jobs: they are spooled", extra={"why": str(error)})
                self.away = backoff_s > 0
                self._tend_at = 0.0  # whatever it was, Redis may be another one when it is back
                await self.sleep(backoff_s)
                backoff_s = min(max(2 * backoff_s, BACKOFF_FIRST_S), BACKOFF_LAST_S)
        self._ended.set()

    @property
    def _going(self) -> bool:
        """Until told to stop; then until everything is shipped, or Redis does not take it."""
        left = self._journal.spooled and not self.away and not self._to.pressure.full
        return bool(not self.should_stop or left)

    async def on_stop(self) -> None:
        """Ship what is left while Redis takes it, for a moment at most; the rest stays on disk."""
        self._wake.set()
        try:
            async with asyncio.timeout(STOP_S):
                await self._ended.wait()
        except TimeoutError:
            log.info("rows stay in the journal", extra={"rows": self._journal.spooled})

    async def _step(self) -> None:
        if asyncio.get_running_loop().time() >= self._tend_at:
            await self._tend()
        if self._to.pressure.full:
            await self.sleep(PAUSE_S)
        elif not await self._ship_next():
            await self._idle()

    async def _idle(self) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout_at(self._tend_at):
                await self._wake.wait()
        except TimeoutError:
            return

    # ------------------------------------------------------------------ shipping

    async def _ship_next(self) -> bool:
        """Ship the next rows; False when there are none."""
        rows = await self._next()
        if not rows:
            if self._journal.spooled and not self._journal.pending:
                await self._journal.count()  # some were on their way when it was counted last
            return False
        self._journal.oldest_ms = rows[0].accepted_ms
        overdue_ms = self._to.overdue_ms
        if rows[0].accepted_ms < overdue_ms:
            self._journal.keep(rows[0], "overdue")
            extra = {"job_id": rows[0].job.id}
            log.error("a job is too old to be shipped and is kept", extra=extra)
        else:
            await self._ship([*takewhile(lambda row: row.accepted_ms >= overdue_ms, rows)])
        return True

    async def _next(self) -> list[Row]:
        """What fits into one call, at least one row: from the file while behind, else memory."""
        if self._behind:
            below = self._fresh[0].sequence if self._fresh else self._journal.last + 1
            rows = await self._journal.to_ship(below, CALL_JOBS_MAX, CALL_BYTES_MAX)
            if rows:
                return rows[: fitting(rows)]
            head = self._fresh[0].sequence if self._fresh else below
            self._behind = head > below  # more may have come, and gone from memory, while we read
        while self._fresh and self._fresh[0].sequence <= self._journal.cursor:
            self._leave_oldest()
        return [*islice(self._fresh, fitting(self._fresh))]

    def _leave_oldest(self) -> None:
        """Let go of a row in memory: it is shipped, or will be read from the file."""
        self._fresh_bytes -= self._fresh.popleft().size

    def _answered(self, rows: Sequence[Row]) -> None:
        if rows:
            self._journal.answered(rows)
            self.drain.passed(len(rows))

    async def _ship(self, rows: Sequence[Row]) -> None:
        try:
            answers = await self._submit(rows)
        except Exception as error:
            if is_outage(error):
                raise
            if len(rows) > 1:  # one of them may be at fault: the others shall not wait for it
                for row in rows:
                    await self._ship([row])
            else:
                await self._refused(rows[0], error)
            return
        told: list[Row] = []
        for row, answer in zip(rows, answers, strict=True):
            told.append(row)
            if answer.same and not answer.holder:
                self._tell(row, answer)
                continue
            self._answered(told[:-1])
            await self._duplicate(row, answer)
            told = [row]
        self._answered(told)

    async def _submit(self, rows: Sequence[Row]) -> list[Submitted]:
        now_ms = self._to.clock.now_ms()
        jobs = [
            as_due(row.job, now_ms - row.accepted_ms) if row.job.delay_ms else row.job
            for row in rows
        ]
        highest = rows[-1].sequence
        answers = await self._to.broker.submit(
            jobs, gateway=self._journal.gateway, sequence=highest, known=self._journal.known
        )
        self._journal.known = max(self._journal.known, highest)
        return answers

    def _tell(self, row: Row, said: Said) -> bool:
        """Answer those who wait for a row; False when nobody does."""
        told = False
        for pending, index in self._waiting.pop(row.sequence, ()):
            told = pending.tell(index, said) or told
        return told

    async def _duplicate(self, row: Row, answer: Submitted) -> None:
        """The id or the unique key is another's. Whoever was told 202 finds a job that says so."""
        if self._tell(row, answer):
            self._journal.note(row, Fate.TOLD)
            return
        job, message = row.job, f"{answer.holder} has the unique key"
        if not answer.same:
            job = duplicate_of(job)
            message = f"the idempotency key was used before, by {row.job.id}"
        await self._to.broker.refuse(job, "duplicate_of", message)
        self._journal.note(row, Fate.DUPLICATE)

    async def _refused(self, row: Row, error: Exception) -> None:
        """Redis refuses this row alone: it must not hold up those behind it."""
        try:
            await self._to.broker.submit([])
        except Exception as every:  # then it is not this row's fault
            raise Unavailable(f"Redis refuses every submit: {every}") from every
        extra = {"job_id": row.job.id, "reason": str(error)}
        log.error("Redis refuses a job", extra=extra)
        if self._tell(row, error):
            self._journal.note(row, Fate.TOLD)
            self._answered([row])
        else:
            await self._record(row, str(error))

    async def _record(self, row: Row, reason: str) -> None:
        """Leave a job that says that it was refused; where even that fails, the row."""
        try:
            await self._to.broker.refuse(row.job, "refused", reason)
        except Exception as error:
            if is_outage(error):
                raise
            self._journal.keep(row, reason)
        else:
            self._journal.note(row, Fate.DUPLICATE)
            self._answered([row])

    # ------------------------------------------------------------------ watermark, what is safe

    async def _tend(self) -> None:
        """Compare the watermark, delete what Redis has safe, write down how far we are."""
        journal = self._journal
        watermark = await self._to.broker.shipped(journal.gateway)
        course = compare(watermark, journal.cursor, journal.known, journal.dropped)
        if course.alarming:
            await self._turn_back(course)
        journal.known = course.known
        if course.known > journal.last:
            journal.continue_above(course.known)
        safe_age_ms = await self._to.durability.safe_age_ms()
        now = asyncio.get_running_loop().time()
        if not self._marks or self._marks[-1][0] != journal.cursor:
            self._marks.append((journal.cursor, now))
        if safe_age_ms is not None:
            await self._drop_safe(now - safe_age_ms / 1_000)
        if journal.spooled_bytes + journal.shipped_bytes > self._bytes_max:
            await journal.drop(journal.cursor)  # what is accepted next needs the room more
        if journal.cursor != self._saved:
            self._saved = journal.cursor
            journal.save_cursor()
        self.drain.look(now)
        self._tend_at = now + TEND_S

    async def _turn_back(self, course: Course) -> None:
        extra = {"gateway": self._journal.gateway, "again": course.again, "gone": course.gone}
        log.error("Redis lost jobs that it had; they are shipped again", extra=extra)
        await self._journal.turn_back(course.cursor)
        self.alarms += 1
        self.gone += course.gone
        while self._marks and self._marks[-1][0] > course.cursor:
            self._marks.pop()
        self._behind = True

    async def _drop_safe(self, before: float) -> None:
        """Delete the rows that Redis had answered by then."""
        while len(self._marks) > 1 and self._marks[1][1] <= before:
            self._marks.popleft()
        if self._marks[0][1] <= before:
            await self._journal.drop(self._marks[0][0])


def fitting(rows: Sequence[Row]) -> int:
    """How many of the first rows fit into one call: at least one, if there is one."""
    size = 0
    for count, row in enumerate(rows):
        size += row.size
        if count and (size > CALL_BYTES_MAX or count >= CALL_JOBS_MAX):
            return count
    return len(rows)


def as_due(job: NewJob, waited_ms: int) -> NewJob:
    """The job with the rest of its delay: it counts from when the job was accepted."""
    return msgspec.structs.replace(job, delay_ms=max(0, job.delay_ms - max(0, waited_ms)))


def duplicate_of(job: NewJob) -> NewJob:
    """The job that stands for one whose id was taken; always the same for the same one."""
    other = job_id_for_key(job.lane.app, f"{job.id}\0{job.digest}")
    return msgspec.structs.replace(job, id=other, digest="")
