"""Which journal file is whose: one for each gateway process of a machine, claimed by flock.

A process that ends lets go of its file, however it ends. Any other process of the folder then
adopts it: its rows are shipped under its own name and watermark, until none is left.
"""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from streams.errors import ConfigError
from streams.journal import claimed

SLOTS_MAX = 64


class Slot(msgspec.Struct, frozen=True):
    """A file, and the lock on it that this process holds."""

    path: Path
    lock: int

    def release(self) -> None:
        """Let go of the file."""
        os.close(self.lock)


def path_of(folder: Path, number: int) -> Path:
    """The file of a number."""
    return folder / f"gateway-{number}.db"


def files_of(folder: Path) -> list[Path]:
    """All journal files of a folder."""
    return sorted(folder.glob("gateway-*.db"))


def claim(folder: Path) -> Slot:
    """The first file that no process has. Raises ConfigError when the folder cannot be used."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for number in range(SLOTS_MAX):
            path = path_of(folder, number)
            if (lock := claimed(path)) is not None:
                return Slot(path, lock)
    except OSError as error:
        raise ConfigError(f"the gateway's journal: {folder}: {error.strerror}") from error
    raise ConfigError(f"the gateway's journal: {folder}: all {SLOTS_MAX} files are in use")


def abandoned(folder: Path, own: Collection[Path]) -> Iterator[Slot]:
    """Files that were left by processes which ended, each claimed: release what is not needed."""
    for path in files_of(folder):
        if path not in own and (lock := claimed(path)) is not None:
            yield Slot(path, lock)


def in_use(path: Path) -> bool:
    """Whether a living process has this file."""
    lock = claimed(path)
    if lock is not None:
        os.close(lock)
    return lock is None
