"""One journal file: SQLite, synchronous, used by one thread of one process.

A row is a job that was accepted. Sequences rise by one and are never used again. Rows up to the
cursor have been answered by Redis; those above it are spooled. What `dropped` covers is deleted.
"""

import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import chain, groupby
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from streams.model import NewJob

CHUNK_MAX = 512  # rows of one statement
ANY_SIZE_MAX = 64  # above it, statements are prepared for powers of two only
STATEMENTS = 256  # that stay prepared
DROP_MAX = 5_000  # rows deleted by one commit
ROW_BYTES = 120  # what a row costs beside its job
BUSY_S = 5.0
SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA journal_size_limit = 67108864;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS jobs (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL,
  digest TEXT NOT NULL,
  accepted_ms INTEGER NOT NULL,
  fate INTEGER NOT NULL DEFAULT 0,
  why TEXT NOT NULL DEFAULT '',
  job BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS open_by_id ON jobs (id) WHERE fate = 0;
CREATE INDEX IF NOT EXISTS kept_by_id ON jobs (id) WHERE fate = 3;
"""
COLUMNS = "sequence, accepted_ms, fate, why, job"

T = TypeVar("T")


class Fate(IntEnum):
    """What is special about a row."""

    OPEN = 0  # nothing: it goes to Redis, or went
    TOLD = 1  # refused, and its caller was told: never sent again
    DUPLICATE = 2  # its id is another job's; Redis has a cancelled job that says so
    KEPT = 3  # not sent, kept for the operator; `why` says for what reason


class Row(msgspec.Struct, frozen=True):
    """One accepted job. `size` is what it counts for in the limits of the spool."""

    sequence: int
    accepted_ms: int
    job: NewJob
    size: int
    fate: Fate = Fate.OPEN
    why: str = ""


class Written(msgspec.Struct, frozen=True):
    """Where a job stands in the file: in a row of its own, or in that of an earlier submit.

    `same` is False when the earlier one had another digest.
    """

    sequence: int
    fresh: bool
    same: bool = True


class Write(msgspec.Struct, frozen=True):
    """Add jobs, each with its encoded form; answers a list of Written."""

    jobs: Sequence[NewJob]
    encoded: Sequence[bytes]
    accepted_ms: int


class Note(msgspec.Struct, frozen=True):
    """Write down what became of a row; answers nothing."""

    sequence: int
    fate: Fate
    why: str = ""


class Cursor(msgspec.Struct, frozen=True):
    """Remember up to where Redis has answered, and its watermark; answers nothing."""

    sequence: int
    known: int


class Above(msgspec.Struct, frozen=True):
    """Give out no sequence up to this one, which Redis has from an older life of the file."""

    sequence: int


class Drop(msgspec.Struct, frozen=True):
    """Delete rows up to a sequence, at most DROP_MAX of them, but KEPT ones.

    Answers how many there were and their size.
    """

    upto: int


Command = Write | Note | Cursor | Above | Drop


class Totals(msgspec.Struct, frozen=True):
    """Rows and their size: spooled ones, and those that Redis has but may still lose."""

    spooled: int
    spooled_bytes: int
    shipped: int
    shipped_bytes: int
    kept: int
    oldest_ms: int  # when the oldest spooled row was accepted, 0 for none


class JournalFile:
    """The file at `path`, made where it is missing. Raises sqlite3.Error or OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # for nobody else
        self._db = sqlite3.connect(
            path,
            timeout=BUSY_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=STATEMENTS,
        )
        try:
            self._db.executescript(SCHEMA)
            self._check()
            self.gateway = self._identify()
            self.cursor = self._number("cursor")
            self.known = self._number("known")
            self.dropped = self._number("dropped")
            self.last = max(self._last(), self.cursor, self.dropped)
        except sqlite3.Error:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file; a second time nothing happens."""
        self._db.close()

    def apply(self, commands: Sequence[Command]) -> list[object]:
        """Do everything in one transaction; the answers in order. All or none."""
        try:
            return self._transact(commands, sure=False)
        except sqlite3.IntegrityError:  # an id was here that nobody was expected to use again
            return self._transact(commands, sure=True)

    def _transact(self, commands: Sequence[Command], *, sure: bool) -> list[object]:
        before = (self.last, self.dropped)
        answers: list[object] = []
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for adding, group in groupby(commands, lambda command: isinstance(command, Write)):
                if adding:
                    answers += self._write(cast(list[Write], [*group]), sure=sure)
                else:
                    answers += map(self._do, group)
            self._db.execute("COMMIT")
        except BaseException:
            self.last, self.dropped = before
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return answers

    def _do(self, command: Command) -> object:
        match command:
            case Note(sequence, fate, why):
                change = "UPDATE jobs SET fate = ?, why = ? WHERE sequence = ?"
                self._db.execute(change, (fate, why, sequence))
            case Cursor(sequence, known):
                self._remember("cursor", sequence)
                self._remember("known", known)
            case Above(sequence):
                self.last = max(self.last, sequence)
            case Drop(upto):
                return self._drop(upto)
        return None

    def _write(self, writes: Sequence[Write], *, sure: bool) -> list[list[Written]]:
        """Add jobs of several commands by few statements; an answer for each command.

        Every statement lets go of the interpreter's lock, and to get it back from a busy event
        loop may take milliseconds. Only an id that a key made may be here; `sure` looks for all.
        """
        looked = [job.id for write in writes for job in write.jobs if sure or job.digest]
        known = dict(self._known(looked))
        answers: list[list[Written]] = []
        fresh: list[tuple[object, ...]] = []
        for write in writes:
            placed: list[Written] = []
            for job, encoded in zip(write.jobs, write.encoded, strict=True):
                if (sure or job.digest) and (found := known.get(job.id)):
                    sequence, digest = found
                    placed.append(Written(sequence, fresh=False, same=digest == job.digest))
                    continue
                self.last += 1
                if sure or job.digest:
                    known[job.id] = (self.last, job.digest)
                placed.append(Written(self.last, fresh=True))
                fresh.append((self.last, job.id, job.digest, write.accepted_ms, encoded))
            answers.append(placed)
        for part in chunks(fresh):
            places = ", ".join(["(?, ?, ?, ?, ?)"] * len(part))
            insert = f"INSERT INTO jobs (sequence, id, digest, accepted_ms, job) VALUES {places}"
            self._db.execute(insert, [*chain.from_iterable(part)])
        return answers

    def _known(self, ids: Sequence[str]) -> Iterator[tuple[str, tuple[int, str]]]:
        for part in chunks(ids):
            places = ", ".join("?" * len(part))
            query = f"SELECT id, sequence, digest FROM jobs WHERE fate = 0 AND id IN ({places})"
            for job_id, sequence, digest in self._db.execute(query, part).fetchall():
                yield job_id, (sequence, digest)

    def _drop(self, upto: int) -> tuple[int, int]:
        upto = min(upto, self.dropped + DROP_MAX)
        bounds = (self.dropped, upto, Fate.KEPT)
        within = "FROM jobs WHERE sequence > ? AND sequence <= ? AND fate <> ?"
        count = f"SELECT count(*), total(length(job)) {within}"
        rows, size = self._db.execute(count, bounds).fetchone()
        self._db.execute(f"DELETE {within}", bounds)
        self.dropped = upto
        self._remember("dropped", upto)
        return rows, int(size) + rows * ROW_BYTES

    def _identify(self) -> str:
        """Whose journal this is; told once and for ever."""
        found = self._db.execute("SELECT value FROM facts WHERE name = 'gateway'").fetchone()
        if found:
            return str(found[0])
        gateway = f"gw-{secrets.token_hex(6)}"
        self._remember("gateway", gateway)
        return gateway

    def _check(self) -> None:
        (found,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found)

    def _last(self) -> int:
        query = "SELECT seq FROM sqlite_sequence WHERE name = 'jobs'"
        found = self._db.execute(query).fetchone()
        return int(found[0]) if found else 0

    def _number(self, name: str) -> int:
        found = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return int(found[0]) if found else 0

    def _remember(self, name: str, value: object) -> None:
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))


class JournalReader:
    """Reads a journal file beside whoever writes it. Raises sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro",
            uri=True,
            timeout=BUSY_S,
            isolation_level=None,
            check_same_thread=False,
        )

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def fact(self, name: str) -> str:
        """A fact by name: gateway, cursor or dropped; empty when there is none."""
        found = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(found[0]) if found else ""

    def to_ship(self, after: int, below: int, count: int, size: int) -> list[Row]:
        """The oldest rows between two sequences that go to Redis, of about that size at most."""
        query = (
            f"SELECT {COLUMNS} FROM jobs WHERE sequence > ? AND sequence < ?"
            " AND fate NOT IN (?, ?) ORDER BY sequence LIMIT ?"
        )
        bounds = (after, below, Fate.TOLD, Fate.KEPT, count)
        rows: list[Row] = []
        for found in self._db.execute(query, bounds):
            rows.append(row_of(found))
            size -= rows[-1].size
            if size < 0:
                break
        return rows

    def find(self, job_id: str) -> Row | None:
        """The row of a job that went to Redis or will, or that is kept for the operator."""
        for fate in (Fate.OPEN, Fate.KEPT):  # spelt out, since each has an index of its own
            query = f"SELECT {COLUMNS} FROM jobs WHERE id = ? AND fate = {fate:d}"
            if found := self._db.execute(query, (job_id,)).fetchone():
                return row_of(found)
        return None

    def kept(self, count: int = 1_000) -> list[Row]:
        """Rows that are kept for the operator, the oldest first."""
        query = f"SELECT {COLUMNS} FROM jobs WHERE fate = ? ORDER BY sequence LIMIT ?"
        return [row_of(found) for found in self._db.execute(query, (Fate.KEPT, count))]

    def totals(self, cursor: int) -> Totals:
        """How much there is above and below `cursor`."""
        query = (
            "SELECT count(*), total(length(job)), coalesce(min(accepted_ms), 0) FROM jobs"
            " WHERE fate NOT IN (?, ?) AND sequence"
        )
        apart = (Fate.TOLD, Fate.KEPT, cursor)
        spooled, spooled_bytes, oldest_ms = self._db.execute(f"{query} > ?", apart).fetchone()
        shipped, shipped_bytes, _ = self._db.execute(f"{query} <= ?", apart).fetchone()
        (kept,) = self._db.execute(
            "SELECT count(*) FROM jobs WHERE fate = ?", (Fate.KEPT,)
        ).fetchone()
        return Totals(
            spooled,
            int(spooled_bytes) + spooled * ROW_BYTES,
            shipped,
            int(shipped_bytes) + shipped * ROW_BYTES,
            kept,
            oldest_ms,
        )


def row_of(found: tuple[int, int, int, str, bytes]) -> Row:
    """A row as it was selected by COLUMNS."""
    sequence, accepted_ms, fate, why, encoded = found
    job = msgspec.msgpack.decode(encoded, type=NewJob)
    return Row(sequence, accepted_ms, job, len(encoded) + ROW_BYTES, Fate(fate), why)


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """`values` in parts of so many sizes only that their statements stay prepared."""
    start = 0
    while start < len(values):
        size = left = len(values) - start
        if left > ANY_SIZE_MAX:
            size = min(CHUNK_MAX, 1 << (left.bit_length() - 1))
        yield values[start : start + size]
        start += size
