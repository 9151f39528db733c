"""A journal as the event loop sees it: jobs go in, rows come out, sizes are known."""

import asyncio
import logging
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar, cast

import msgspec

from gateway.journal.commits import GroupCommit
from gateway.journal.file import (
    ROW_BYTES,
    Above,
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
from gateway.journal.pending import Pending, Place
from streams.errors import DiskRefused

log = logging.getLogger(__name__)

ASIDE = "unreadable"

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode


class Reader(Protocol):
    """Whoever is told of what got on disk, in order of sequence, before the writer is answered."""

    def offer(self, rows: Sequence[Row], places: Sequence[Place]) -> None:
        """New rows, and whose job each is."""
        ...

    def attach(self, sequence: int, place: Place) -> None:
        """One more who waits for the answer to a row that was there."""
        ...


class Journal:
    """One file with its writer and a reader. Open it before use, close it after."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reader: Reader
        self._commits = GroupCommit(path)
        self._file_reader: JournalReader
        self._reading = asyncio.Lock()
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

    def write(self, pending: Pending, accepted_ms: int, on_disk: Callable[[Pending], None]) -> None:
        """Put jobs on disk, all or none; an id that is here already stays as it is.

        `pending` fails with DiskRefused, or `on_disk` is called. Whatever becomes of who waits,
        the reader is told of what was written.
        """
        jobs = pending.jobs
        encoded = [_encode(job) for job in jobs]
        size = sum(map(len, encoded)) + len(jobs) * ROW_BYTES
        self._spool(len(jobs), size)  # at once: those who come meanwhile see that the room is taken
        self.pending += len(jobs)
        wish = Write(jobs, encoded, accepted_ms)

        def written(answer: object) -> None:
            self.pending -= len(jobs)
            if isinstance(answer, Exception):
                self._spool(-len(jobs), -size)
                pending.fail(answer)
                return
            pending.written = cast(list[Written], answer)
            self._offer(pending, wish, size)
            on_disk(pending)

        self._commits.put(wish, written)

    def note(self, row: Row, fate: Fate) -> None:
        """Have it written down what became of a row."""
        self._commits.put(Note(row.sequence, fate))

    def keep(self, row: Row, why: str) -> None:
        """Keep the next row above the cursor for the operator; it does not go to Redis."""
        self._commits.put(Note(row.sequence, Fate.KEPT, why))
        self._spool(-1, -row.size)
        self.kept += 1
        self.cursor = max(self.cursor, row.sequence)

    def answered(self, rows: Sequence[Row]) -> None:
        """Redis has answered these rows, the next ones above the cursor."""
        sizes = [row.size for row in rows if row.sequence > self.cursor]
        self._spool(-len(sizes), -sum(sizes))
        self.shipped += len(sizes)
        self.shipped_bytes += sum(sizes)
        self.cursor = max(self.cursor, rows[-1].sequence)

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
            done = asyncio.Event()

            def dropped(answer: object) -> None:
                if not isinstance(answer, Exception):
                    count, size = cast(tuple[int, int], answer)
                    self.shipped = max(0, self.shipped - count)
                    self.shipped_bytes = max(0, self.shipped_bytes - size)
                    self.dropped = self._commits.file.dropped
                done.set()

            self._commits.put(Drop(min(upto, self.cursor)), dropped)
            await done.wait()

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

    def _offer(self, pending: Pending, wish: Write, size: int) -> None:
        accepted_ms, jobs, encoded = wish.accepted_ms, wish.jobs, wish.encoded
        rows: list[Row] = []
        places: list[Place] = []
        for index, each in enumerate(pending.written):
            if each.fresh:
                size_of_row = len(encoded[index]) + ROW_BYTES
                rows.append(Row(each.sequence, accepted_ms, jobs[index], size_of_row))
                places.append((pending, index))
            elif each.same:
                self.reader.attach(each.sequence, (pending, index))
            else:
                pending.expect_less()
        if rows:
            self.oldest_ms = self.oldest_ms or accepted_ms
            self.reader.offer(rows, places)
        if known := len(jobs) - len(rows):  # give back the room of what did not become a row
            self._spool(-known, -(size * known // len(wish.jobs)))


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
