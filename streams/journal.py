"""A worker's verdicts on disk: written before Redis is told, kept until Redis has them safe.

Verdicts of long attempts are always kept here, those of short ones while Redis is away. One process
writes one file of a folder; what a process leaves behind is adopted by the next that starts there.
Redis remembers the number of the last settle of each journal: a smaller one than this process was
answered says that Redis lost its tail, and what came later is sent again.
"""

import asyncio
import fcntl
import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec
from mode import Service

from streams.errors import ConfigError
from streams.model import HandedBack, Mark, Settlement

log = logging.getLogger(__name__)

FILES_MAX = 64  # processes that share one folder
ANSWERED_MAX = 1_000  # lines kept beyond their answer where Redis never says that it is safe
SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS journal (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS verdicts (line INTEGER PRIMARY KEY, settlement BLOB NOT NULL);
"""
INSERT = "INSERT INTO verdicts VALUES (?, ?)"
DELETE = "DELETE FROM verdicts WHERE line = ?"

Key = tuple[str, str]  # job and token


class Line(msgspec.Struct):
    """One verdict in the file."""

    number: int  # of the row
    settlement: Settlement
    answered: int = 0  # number of the settle that Redis answered; 0: none yet
    answered_at: float = 0.0  # monotonic


class VerdictJournal(Service):
    """The verdicts of one worker process. Start it before the worker, stop it after."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._file: sqlite3.Connection
        self._claim = -1
        self._busy = asyncio.Lock()
        self._lines: dict[Key, Line] = {}
        self._numbers = 0
        self._rows = 0
        self.id = ""
        self.writable = True  # False after a write that the disk refused

    @property
    def kept(self) -> int:
        """How many verdicts are in the file."""
        return len(self._lines)

    def owed(self) -> list[Settlement]:
        """The verdicts that Redis has not answered, the oldest first."""
        return [line.settlement for line in self._lines.values() if not line.answered]

    async def on_start(self) -> None:
        """Claim a file and read it, with what ended processes left in others.

        Raises ConfigError when the folder cannot be written or every file of it is in use.
        """
        try:
            await asyncio.to_thread(self._open)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"the worker's journal: {self._folder}: {error}") from error

    async def on_stop(self) -> None:
        """Let go of the file; what it holds is for the next start."""
        if self._claim < 0:  # a stop before the start was over
            return
        async with self._busy:
            await asyncio.to_thread(self._file.close)
            os.close(self._claim)
            self._claim = -1

    async def append(self, settlements: Sequence[Settlement]) -> None:
        """Write verdicts; returns once they are on disk. Those that are there already stay.

        A disk that refuses is logged, not raised: the verdict still is in memory and may arrive.
        """
        fresh = [
            Line(self._next_row(), settlement)
            for settlement in settlements
            if key_of(settlement) not in self._lines
            and not isinstance(settlement.verdict, HandedBack)
        ]
        self._lines.update({key_of(line.settlement): line for line in fresh})
        if fresh:
            rows = [row_of(line) for line in fresh]
            await self._write(INSERT, rows)

    def mark(self, settlements: Sequence[Settlement]) -> Mark | None:
        """The mark of a settle that is about to be sent; None when no verdict of it is in here."""
        if not self._lines or not any(key_of(each) in self._lines for each in settlements):
            return None
        self._numbers += 1
        return Mark(self.id, self._numbers)

    def answered(self, settlements: Sequence[Settlement], mark: Mark) -> None:
        """Redis answered these in the settle of this mark."""
        for settlement in settlements:
            if line := self._lines.get(key_of(settlement)):
                line.answered, line.answered_at = mark.number, time.monotonic()

    def lost_by(self, watermark: int) -> list[Settlement]:
        """What a Redis that remembers only `watermark` was told and forgot; owed again by now."""
        lost = [line for line in self._lines.values() if line.answered > watermark]
        for line in lost:
            line.answered = 0
        return [line.settlement for line in lost]

    async def forget(self, safe_age_ms: int | None) -> int:
        """Delete what was answered longer ago; None: Redis has nothing safe. How many went."""
        answered = [line for line in self._lines.values() if line.answered]
        done = answered[: max(0, len(answered) - ANSWERED_MAX)]
        if safe_age_ms is not None:
            safe_at = time.monotonic() - safe_age_ms / 1000
            done = [line for line in answered if line.answered_at < safe_at] or done
        if done:
            await self._write(DELETE, [(line.number,) for line in done])
            for line in done:
                self._lines.pop(key_of(line.settlement), None)
        return len(done)

    # ------------------------------------------------------------------ the file

    def _next_row(self) -> int:
        self._rows += 1
        return self._rows

    async def _write(self, statement: str, rows: Collection[tuple[object, ...]]) -> None:
        def write() -> None:
            with self._file:
                self._file.executemany(statement, rows)

        async with self._busy:
            try:
                await asyncio.to_thread(write)
            except sqlite3.Error as error:
                self.writable = False
                log.error("the journal cannot be written", extra={"reason": str(error)})
            else:
                self.writable = True

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        own, claim = self._claim_first()
        self._file = opened(own)
        found = self._file.execute("SELECT id FROM journal").fetchone()
        self.id = found[0] if found else f"verdicts-{secrets.token_hex(8)}"
        left = read_verdicts(self._file)
        others = [path for path in sorted(self._folder.glob("*.db")) if path != own]
        adopted = [(path, taken) for path in others if (taken := claimed(path)) is not None]
        for path, _ in adopted:
            left += read_left(path)
        self._rows = len(left)
        self._lines = {key_of(each): Line(row, each) for row, each in enumerate(left, 1)}
        with self._file:
            self._file.execute("DELETE FROM journal")
            self._file.execute("INSERT INTO journal VALUES (?)", (self.id,))
            self._file.execute("DELETE FROM verdicts")
            self._file.executemany(INSERT, [row_of(line) for line in self._lines.values()])
        for path, taken in adopted:
            remove(path)
            os.close(taken)
        self._claim = claim

    def _claim_first(self) -> tuple[Path, int]:
        for number in range(FILES_MAX):
            path = self._folder / f"verdicts-{number}.db"
            if (taken := claimed(path)) is not None:
                return path, taken
        raise OSError(f"all {FILES_MAX} files are in use")


def key_of(settlement: Settlement) -> Key:
    """What makes a verdict the same one."""
    return settlement.job_id, settlement.token


def row_of(line: Line) -> tuple[int, bytes]:
    """A line as it stands in the file."""
    return line.number, msgspec.msgpack.encode(line.settlement)


def claimed(path: Path) -> int | None:
    """A lock on the journal at `path`, held until it is closed; None: another process has it."""
    lock = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def opened(path: Path) -> sqlite3.Connection:
    """The file, made where it is missing. One that is no journal is moved aside, loudly."""
    try:
        return _connected(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # the disk, not the content
            raise
        aside = path.with_suffix(f".unreadable-{secrets.token_hex(4)}")
        path.rename(aside)
        log.error(
            "a worker's journal is unreadable; verdicts in it need a look",
            extra={"file": str(aside)},
        )
        return _connected(path)


def _connected(path: Path) -> sqlite3.Connection:
    file = sqlite3.connect(path, check_same_thread=False, isolation_level="IMMEDIATE")
    try:
        file.executescript(SCHEMA)
        file.execute("SELECT count(*) FROM verdicts").fetchone()
    except sqlite3.Error:
        file.close()
        raise
    return file


def read_verdicts(file: sqlite3.Connection) -> list[Settlement]:
    """What the file holds, the oldest first; a line that cannot be read is said and left out."""
    found = []
    for line, blob in file.execute("SELECT line, settlement FROM verdicts ORDER BY line"):
        try:
            found.append(msgspec.msgpack.decode(blob, type=Settlement))
        except msgspec.MsgspecError:
            log.error("a verdict in the journal cannot be read", extra={"line": line})
    return found


def read_left(path: Path) -> list[Settlement]:
    """What a process that is gone left in its file."""
    file = opened(path)
    try:
        return read_verdicts(file)
    finally:
        file.close()


def remove(path: Path) -> None:
    """Delete a journal and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
