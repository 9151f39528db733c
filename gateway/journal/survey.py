"""The journals of a folder as anybody may look at them, beside the processes that write them."""

import sqlite3
from pathlib import Path

import msgspec

from gateway.journal.file import JournalReader, Row
from gateway.journal.journal import ASIDE
from gateway.journal.slots import files_of, in_use


class JournalFound(msgspec.Struct, frozen=True):
    """One file. `problem` says why it could not be read, and then nothing else is known of it."""

    path: Path
    gateway: str = ""
    in_use: bool = False  # a living process writes it
    spooled: int = 0  # accepted, and not in Redis as far as the file says, a second ago
    spooled_bytes: int = 0
    oldest_ms: int = 0  # when the oldest of them was accepted; 0 for none
    shipped: int = 0  # in Redis, and kept until they are safe there
    kept: tuple[Row, ...] = ()  # not sent; the row's `why` says for what reason
    problem: str = ""


class FolderFound(msgspec.Struct, frozen=True):
    """What a folder holds for one Redis."""

    folder: Path
    journals: tuple[JournalFound, ...]
    unreadable: tuple[Path, ...]  # files moved aside: accepted jobs may be in them


def survey(root: Path) -> list[FolderFound]:
    """Every folder under `root`, one for each Redis that a gateway of this machine ever used."""
    root = root.expanduser()
    folders = sorted({path.parent for path in root.glob("*/gateway-*.db*")})
    return [
        FolderFound(
            folder,
            tuple(look_at(path) for path in files_of(folder)),
            tuple(
                path
                for path in sorted(folder.glob(f"*.{ASIDE}-*"))
                if not path.name.endswith(("-wal", "-shm"))
            ),
        )
        for folder in folders
    ]


def look_at(path: Path) -> JournalFound:
    """One file as it stands."""
    try:
        reader = JournalReader(path)
        try:
            cursor = int(reader.fact("cursor") or 0)
            totals = reader.totals(cursor)
            return JournalFound(
                path,
                gateway=reader.fact("gateway"),
                in_use=in_use(path),
                spooled=totals.spooled,
                spooled_bytes=totals.spooled_bytes,
                oldest_ms=totals.oldest_ms,
                shipped=totals.shipped,
                kept=tuple(reader.kept()),
            )
        finally:
            reader.close()
    except (OSError, sqlite3.Error) as error:
        return JournalFound(path, problem=str(error))


def holds_rows(path: Path) -> bool:
    """Whether a file has anything to ship, or to keep until Redis has it safe.

    True also for one that cannot be read: opening it moves it aside and says so.
    """
    found = look_at(path)
    return bool(found.problem or found.spooled or found.shipped)


def find_in(folder: Path, job_id: str, own: Path) -> Row | None:
    """The row of a job that another process of this machine has spooled."""
    for path in files_of(folder):
        if path == own:
            continue
        try:
            reader = JournalReader(path)
            try:
                row = reader.find(job_id)
                if row and (row.why or row.sequence > int(reader.fact("cursor") or 0)):
                    return row
            finally:
                reader.close()
        except (OSError, sqlite3.Error):
            continue  # whoever adopts it will say so
    return None
