"""A journal as the event loop sees it: jobs go in, rows come out, sizes are known."""

import asyncio
import logging
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar, cast

import msgspec

from gateway.journal.commits import GroupCommit
from gateway.journal.file import (
    ROW_BYTES,
    Above,
    Command,
    Cursor,
    Drop,
    Fate,
    JournalReader,
    Note,
    Row,
    Totals,
    Write,
    Written,
)
from streams.errors import DiskRefused
from streams.model import NewJob, Submitted

log = logging.getLogger(__name__)

ASIDE = "unreadable"

T = TypeVar("T")
Answer: TypeAlias = "asyncio.Future[Submitted]"

_encode = msgspec.msgpack.Encoder().encode


class Reader(Protocol):
    """Whoever is told of what got on disk, in order of sequence, before the writer is answered."""

    def offer(self, row: Row, answer: Answer) -> None:
        """A new row, and where Redis' answer goes."""
        ...

    def attach(self, sequence: int, answer: Answer) -> None:
        """One more who waits for the answer to a row that was there."""
        ...


class Journal:
    """One file with its writer and a reader. Open it before use, close it after."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reader: Reader
        self._commits = GroupCommit(path, self._done)
        self._file_reader: JournalReader
        self._reading = asyncio.Lock()
        self._answers: dict[int, Sequence[Answer]] = {}  # by the identity of a write
        self.gateway = ""
        self.known = 0  # the watermark that Redis was last heard to have
        self.cursor = 0  # Redis has answered all rows up to here
        self.dropped = 0  # all rows up to here are deleted
        self.spooled = self.spooled_bytes = 0
        self.shipped = self.shipped_bytes = 0
        self.kept = 0
        self.oldest_ms = 0  # when the oldest spooled row was accepted, 0 for none
        self.pending = 0  # jobs on their way to the disk

    @property
    def writable(self) -> bool:
        """Whether the disk took the last commit."""
        return self._commits.writable

    @property
    def last(self) -> int:
        """The highest sequence given out."""
        return self._commits.file.last

    @property
    def empty(self) -> bool:
        """Whether every row is in Redis, safe, and deleted here."""
        return self.spooled + self.shipped == 0

    async def open(self) -> None:
        """Open the file; an unreadable one is moved aside, loudly. Raises DiskRefused."""
        try:
            try:
                await self._commits.open()
            except sqlite3.OperationalError:  # the disk, not the content
                raise
            except sqlite3.DatabaseError as error:
                move_aside(self.path, error)
                await self._commits.open()
            self._file_reader = await asyncio.to_thread(JournalReader, self.path)
        except (OSError, sqlite3.Error) as error:
            raise DiskRefused(f"the journal {self.path} cannot be opened: {error}") from error
        file = self._commits.file
        self.gateway, self.dropped = file.gateway, file.dropped
        self.cursor, self.known = file.cursor, file.known
        await self.count()

    async def close(self) -> None:
        """Write down how far it came, and close the file."""
        self.save_cursor()
        await self._commits.close()
        async with self._reading:
            self._file_reader.close()

    async def write(
        self, jobs: Sequence[NewJob], accepted_ms: int, answers: Sequence[Answer]
    ) -> list[Written]:
        """Put jobs on disk, all or none; an id that is here already stays as it is.

        `answers` are where what Redis says of each goes. Raises DiskRefused. Whatever becomes of
        the caller, the reader is told of what was written.
        """
        encoded = [_encode(job) for job in jobs]
        size = sum(map(len, encoded)) + len(jobs) * ROW_BYTES
        self._spool(len(jobs), size)  # at once: those who come meanwhile see that the room is taken
        wish = Write(jobs, encoded, accepted_ms)
        self._answers[id(wish)] = answers
        answer = self._commits.put(wish)
        self.pending += len(jobs)
        answer.add_done_callback(lambda done: self._written(done, wish, size))
        return cast(list[Written], await asyncio.shield(answer))

    def note(self, row: Row, fate: Fate) -> None:
        """Have it written down what became of a row."""
        self._commits.put(Note(row.sequence, fate))

    def keep(self, row: Row, why: str) -> None:
        """Keep the next row above the cursor for the operator; it does not go to Redis."""
        self._commits.put(Note(row.sequence, Fate.KEPT, why))
        self._spool(-1, -row.size)
        self.kept += 1
        self.cursor = max(self.cursor, row.sequence)

    def answered(self, row: Row) -> None:
        """Redis has answered this row, the next one above the cursor."""
        if row.sequence > self.cursor:
            self._spool(-1, -row.size)
            self.shipped += 1
            self.shipped_bytes += row.size
            self.cursor = row.sequence

    def save_cursor(self) -> None:
        """Have it written down how far Redis has answered."""
        self._commits.put(Cursor(self.cursor, self.known))

    async def turn_back(self, cursor: int) -> None:
        """Redis lost what lies above `cursor`: it is spooled again."""
        self.cursor = cursor
        await self.count()

    def continue_above(self, sequence: int) -> None:
        """Give out no sequence up to this one."""
        self._commits.put(Above(sequence))

    async def drop(self, upto: int) -> None:
        """Delete rows up to a sequence, some thousands at most; the next call goes on."""
        if min(upto, self.cursor) > self.dropped:
            await asyncio.wait([self._commits.put(Drop(min(upto, self.cursor)))])

    async def to_ship(self, below: int, count: int, size: int) -> list[Row]:
        """The oldest spooled rows below a sequence, of about that size at most."""
        return await self._read(lambda reader: reader.to_ship(self.cursor, below, count, size))

    async def find(self, job_id: str) -> Row | None:
        """The row of a job, if it is spooled or kept for the operator."""
        found = await self._read(lambda reader: reader.find(job_id))
        if found and (found.fate is Fate.KEPT or found.sequence > self.cursor):
            return found
        return None

    async def count(self) -> None:
        """Count anew what is in the file."""
        totals: Totals = await self._read(lambda reader: reader.totals(self.cursor))
        self.spooled, self.spooled_bytes = totals.spooled, totals.spooled_bytes
        self.shipped, self.shipped_bytes = totals.shipped, totals.shipped_bytes
        self.kept, self.oldest_ms = totals.kept, totals.oldest_ms

    async def _read(self, ask: Callable[[JournalReader], T]) -> T:
        async with self._reading:
            try:
                return await asyncio.to_thread(ask, self._file_reader)
            except sqlite3.Error as error:
                raise DiskRefused(f"the journal cannot be read: {error}") from error

    def _spool(self, rows: int, size: int) -> None:
        self.spooled = max(0, self.spooled + rows)
        self.spooled_bytes = max(0, self.spooled_bytes + size)
        if not self.spooled:
            self.oldest_ms = 0

    def _written(self, done: "asyncio.Future[object]", wish: Write, size: int) -> None:
        """Give back the room of what did not become a row."""
        rows = len(wish.jobs)
        self.pending -= rows
        self._answers.pop(id(wish), None)
        if done.cancelled() or done.exception():
            self._spool(-rows, -size)
            return
        known = sum(not each.fresh for each in cast(list[Written], done.result()))
        self._spool(-known, -(size * known // rows))

    def _done(self, command: Command, answer: object) -> None:
        match command:
            case Write():
                self._offer(command, cast(list[Written], answer))
            case Drop():
                count, size = cast(tuple[int, int], answer)
                self.shipped = max(0, self.shipped - count)
                self.shipped_bytes = max(0, self.shipped_bytes - size)
                self.dropped = self._commits.file.dropped

    def _offer(self, wish: Write, written: Sequence[Written]) -> None:
        answers = self._answers[id(wish)]
        rows = zip(written, wish.jobs, wish.encoded, answers, strict=True)
        for each, job, body, answer in rows:
            if each.fresh:
                self.oldest_ms = self.oldest_ms or wish.accepted_ms
                row = Row(each.sequence, wish.accepted_ms, job, len(body) + ROW_BYTES)
                self.reader.offer(row, answer)
            else:
                self.reader.attach(each.sequence, answer)


def move_aside(path: Path, why: Exception) -> Path:
    """Keep a file that is no journal under another name, with what SQLite has beside it."""
    aside = path.with_name(f"{path.name}.{ASIDE}-{secrets.token_hex(4)}")
    for suffix in ("", "-wal", "-shm"):
        part = Path(f"{path}{suffix}")
        if part.exists():
            part.rename(f"{aside}{suffix}")
    extra = {"file": str(aside), "reason": str(why)}
    log.error("a journal is unreadable; accepted jobs may be in it, see `doctor`", extra=extra)
    return aside
