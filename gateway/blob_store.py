"""What keeps blobs: the interface, and the one that keeps them on this machine's disk.

Another store (S3, a shared disk) is another class with these methods and a line in `ops.wiring`.
"""

import asyncio
import hashlib
import os
import secrets
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

import msgspec

from streams.clock import Clock
from streams.errors import ConfigError, DiskRefused, StorageFull, UnknownBlob

READ_BYTES = 256 * 1024
BUSY_S = 10.0  # the longest wait for another process of this machine
SCHEMA = """
CREATE TABLE IF NOT EXISTS blobs (id TEXT PRIMARY KEY, app TEXT NOT NULL, bytes INTEGER NOT NULL,
  sha256 TEXT NOT NULL, media TEXT NOT NULL, touched_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS owners (blob TEXT NOT NULL, job TEXT NOT NULL, bound_ms INTEGER NOT NULL,
  PRIMARY KEY (blob, job)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS arriving (name TEXT PRIMARY KEY, app TEXT NOT NULL,
  bytes INTEGER NOT NULL, began_ms INTEGER NOT NULL) WITHOUT ROWID;
"""

T = TypeVar("T")


class BlobRecord(msgspec.Struct, frozen=True):
    """What is known of a blob."""

    id: str
    app: str
    bytes: int
    sha256: str
    media: str


class Owner(msgspec.Struct, frozen=True):
    """A job that refers to a blob, which is kept for as long as the job's record."""

    blob: str
    job: str


class Coming(msgspec.Struct, frozen=True):
    """A blob that is about to arrive."""

    app: str
    bytes: int
    media: str
    job: str = ""  # whose result it is


class BlobStore(Protocol):
    """Keeps blobs. All raise DiskRefused when the store does not work."""

    @property
    def name(self) -> str:
        """What the ids of its blobs begin with."""
        ...

    @property
    def secret(self) -> str:
        """What signs the URLs of its blobs, for all gateways that share it."""
        ...

    async def put(self, coming: Coming, pieces: AsyncIterator[bytes]) -> BlobRecord:
        """Keep a blob; the same content of one app again is the same blob.

        It is safe on disk when this returns. Raises StorageFull.
        """
        ...

    async def find(self, blob_id: str) -> BlobRecord | None:
        """What is known of a blob."""
        ...

    def read(self, blob_id: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Its bytes from `start` up to `end`. Raises UnknownBlob."""
        ...

    async def bind(self, blob_ids: Sequence[str], job_id: str) -> None:
        """Keep these for as long as the job's record."""
        ...

    async def owners(self, after: Owner | None, before_ms: int, count: int) -> list[Owner]:
        """Owners in order, bound before that time."""
        ...

    async def release(self, owners: Sequence[Owner]) -> None:
        """These jobs are gone."""
        ...

    async def sweep(self, before_ms: int) -> int:
        """Drop what no job has referred to since that time, and uploads that broke off."""
        ...


class Limits(msgspec.Struct, frozen=True):
    """How much a store takes."""

    app_bytes: int
    disk_free_bytes: int  # are left to others


class DiskBlobs:
    """Blobs as files in a folder, with an index; several processes of one machine may share it."""

    def __init__(self, folder: Path, limits: Limits, clock: Clock) -> None:
        """Makes the folder. Raises ConfigError when it cannot be used."""
        self._folder = folder
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.name = _made_once(folder / "name", secrets.token_hex(4))
            self.secret = _made_once(folder / "secret", secrets.token_urlsafe(32))
            self._index = sqlite3.connect(
                folder / "index.db", timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            self._index.execute("PRAGMA journal_mode = WAL")
            self._index.execute("PRAGMA synchronous = FULL")
            self._index.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"gateway.blob_folder: {folder}: {error}") from error

    def close(self) -> None:
        """Close the index."""
        with self._lock:
            self._index.close()

    # ------------------------------------------------------------------ keeping

    async def put(self, coming: Coming, pieces: AsyncIterator[bytes]) -> BlobRecord:
        """Keep a blob; see `BlobStore`."""
        name = secrets.token_hex(12)
        await self._in_thread(lambda: self._reserve(name, coming))
        path = self._folder / f"arriving-{name}"
        try:
            digest = await self._write(path, pieces)
            return await self._in_thread(lambda: self._keep(path, name, coming, digest))
        except BaseException:
            with suppress(DiskRefused):
                await asyncio.shield(self._in_thread(lambda: self._drop(path, name)))
            raise

    def _reserve(self, name: str, coming: Coming) -> None:
        """Make sure that there is room. Raises StorageFull or DiskRefused."""
        free = shutil.disk_usage(self._folder).free
        if free - coming.bytes < self._limits.disk_free_bytes:
            raise DiskRefused("the gateway's disk has no room for this blob", after_s=60.0)
        with self._transaction() as index:
            [used] = index.execute(
                "SELECT (SELECT COALESCE(SUM(bytes), 0) FROM blobs WHERE app = ?1)"
                " + (SELECT COALESCE(SUM(bytes), 0) FROM arriving WHERE app = ?1)",
                (coming.app,),
            ).fetchone()
            if used + coming.bytes > self._limits.app_bytes:
                most = self._limits.app_bytes
                raise StorageFull(f"the app's blobs have {used} bytes of {most} already")
            index.execute(
                "INSERT INTO arriving VALUES (?, ?, ?, ?)",
                (name, coming.app, coming.bytes, self._clock.now_ms()),
            )

    async def _write(self, path: Path, pieces: AsyncIterator[bytes]) -> str:
        """Write what comes to a file and sync it; its SHA-256."""
        sha256 = hashlib.sha256()
        file = await self._in_thread(lambda: path.open("xb"))
        gathered = bytearray()

        def flush() -> None:
            _write_all(file, gathered, sha256.update)

        with closing(file):
            async for piece in pieces:
                gathered += piece
                if len(gathered) >= READ_BYTES:
                    await self._in_thread(flush)
            await self._in_thread(flush)
            await self._in_thread(lambda: os.fsync(file.fileno()))
        return sha256.hexdigest()

    def _keep(self, path: Path, name: str, coming: Coming, sha256: str) -> BlobRecord:
        digest = hashlib.sha256(f"{coming.app}\0{coming.media}\0{sha256}".encode()).hexdigest()
        record = BlobRecord(
            f"{self.name}-{digest[:32]}", coming.app, path.stat().st_size, sha256, coming.media
        )
        now_ms = self._clock.now_ms()
        place = self._place(record.id)
        # The index is locked while the file moves: nobody sweeps it meanwhile.
        with self._transaction() as index:
            place.parent.mkdir(mode=0o700, exist_ok=True)
            path.replace(place)
            _sync_folder(place.parent)
            index.execute(
                "INSERT INTO blobs VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET touched_ms = excluded.touched_ms",
                (*msgspec.structs.astuple(record), now_ms),
            )
            index.execute("DELETE FROM arriving WHERE name = ?", (name,))
            if coming.job:
                _bind(index, [record.id], coming.job, now_ms)
        return record

    def _drop(self, path: Path, name: str) -> None:
        path.unlink(missing_ok=True)
        with self._transaction() as index:
            index.execute("DELETE FROM arriving WHERE name = ?", (name,))

    # ------------------------------------------------------------------ looking

    async def find(self, blob_id: str) -> BlobRecord | None:
        """What is known of a blob."""

        def look() -> BlobRecord | None:
            with self._lock:
                row = self._index.execute(
                    "SELECT id, app, bytes, sha256, media FROM blobs WHERE id = ?", (blob_id,)
                ).fetchone()
            return BlobRecord(*row) if row else None

        return await self._in_thread(look)

    async def read(self, blob_id: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Its bytes from `start` up to `end`."""
        try:
            file = await self._in_thread(lambda: self._place(blob_id).open("rb"))
        except DiskRefused as error:
            raise UnknownBlob(f"the blob {blob_id} is gone") from error
        with closing(file):
            file.seek(start)
            while start < end:
                piece = await self._in_thread(partial(file.read, min(READ_BYTES, end - start)))
                if not piece:
                    raise DiskRefused(f"the file of blob {blob_id} is shorter than it was")
                start += len(piece)
                yield piece

    # ------------------------------------------------------------------ owners

    async def bind(self, blob_ids: Sequence[str], job_id: str) -> None:
        """Keep these for as long as the job's record."""

        def write() -> None:
            with self._transaction() as index:
                _bind(index, blob_ids, job_id, self._clock.now_ms())

        await self._in_thread(write)

    async def owners(self, after: Owner | None, before_ms: int, count: int) -> list[Owner]:
        """Owners in order, bound before that time."""
        start = (after.blob, after.job) if after else ("", "")

        def look() -> list[Owner]:
            with self._lock:
                rows = self._index.execute(
                    "SELECT blob, job FROM owners WHERE (blob, job) > (?, ?) AND bound_ms < ?"
                    " ORDER BY blob, job LIMIT ?",
                    (*start, before_ms, count),
                ).fetchall()
            return [Owner(*row) for row in rows]

        return await self._in_thread(look)

    async def release(self, owners: Sequence[Owner]) -> None:
        """These jobs are gone."""

        def write() -> None:
            with self._transaction() as index:
                index.executemany(
                    "DELETE FROM owners WHERE blob = ? AND job = ?",
                    [(owner.blob, owner.job) for owner in owners],
                )

        await self._in_thread(write)

    async def sweep(self, before_ms: int) -> int:
        """Drop what no job has referred to since that time, and uploads that broke off."""
        return await self._in_thread(lambda: self._sweep(before_ms))

    def _sweep(self, before_ms: int) -> int:
        with self._transaction() as index:
            rows = index.execute(
                "SELECT id FROM blobs WHERE touched_ms < ?"
                " AND id NOT IN (SELECT blob FROM owners) LIMIT 1000",
                (before_ms,),
            ).fetchall()
            for (blob_id,) in rows:
                self._place(blob_id).unlink(missing_ok=True)
                index.execute("DELETE FROM blobs WHERE id = ?", (blob_id,))
            broken = index.execute(
                "SELECT name FROM arriving WHERE began_ms < ?", (before_ms,)
            ).fetchall()
            for (name,) in broken:
                (self._folder / f"arriving-{name}").unlink(missing_ok=True)
                index.execute("DELETE FROM arriving WHERE name = ?", (name,))
        return len(rows)

    # ------------------------------------------------------------------ underneath

    def _place(self, blob_id: str) -> Path:
        _, _, digest = blob_id.rpartition("-")
        return self._folder / digest[:2] / digest

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """The index, locked against every other process until the block ends."""
        with self._lock:
            self._index.execute("BEGIN IMMEDIATE")
            try:
                yield self._index
                self._index.execute("COMMIT")
            except BaseException:
                self._index.execute("ROLLBACK")
                raise

    async def _in_thread(self, act: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(act)
        except (OSError, sqlite3.Error) as error:
            raise DiskRefused(f"the blobs' disk: {error}", after_s=60.0) from error


def _write_all(file: BinaryIO, gathered: bytearray, note: Callable[[bytearray], None]) -> None:
    file.write(gathered)
    note(gathered)
    gathered.clear()


def _bind(index: sqlite3.Connection, blobs: Sequence[str], job_id: str, now_ms: int) -> None:
    index.executemany(
        "INSERT INTO owners VALUES (?, ?, ?)"
        " ON CONFLICT (blob, job) DO UPDATE SET bound_ms = excluded.bound_ms",
        [(blob, job_id, now_ms) for blob in blobs],
    )


def _made_once(path: Path, text: str) -> str:
    """The text of a file that the first process makes and the others read."""
    draft = path.with_name(f"{path.name}-{secrets.token_hex(4)}")
    if not path.exists():
        draft.touch(mode=0o600)
        draft.write_text(text)
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
