"""Group commit: a thread that writes a journal file, so that the event loop never waits for a disk.

What arrives while a commit runs shares the next one; a lone request waits for nobody. Under load a
commit waits a moment for more to share it: one of twenty costs little more than one of ten.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

import msgspec

from gateway.journal.file import Command, Drop, JournalFile, Write
from streams.errors import DiskRefused

log = logging.getLogger(__name__)

COMMIT_BYTES_MAX = 4 * 1024 * 1024  # of jobs; a single larger request still is one commit
CLOSE_S = 10.0
CROWD = 8  # commands of one commit, from which on the next one waits for more
GATHER_S = 0.001  # so long


Tell = Callable[[object], None]  # on the event loop: the command's answer, or the error


class Wish(msgspec.Struct, eq=False):
    """A command on its way, and who hears what became of it."""

    command: Command
    tell: Tell

    @property
    def bytes(self) -> int:
        """The size of what it brings."""
        return sum(map(len, self.command.encoded)) if isinstance(self.command, Write) else 0


class GroupCommit:
    """The only writer of one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wishes: SimpleQueue[Wish | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._shared = 0  # commands of the last commit
        self.file: JournalFile
        self.writable = True  # False after a commit that the disk refused

    async def open(self) -> None:
        """Open the file and start the thread. Raises sqlite3.Error."""
        self.file = await asyncio.to_thread(JournalFile, self._path)
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, args=(loop,), name="journal", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Commit what was wished for, then close the file."""
        if self._thread is not None:
            self._wishes.put(None)
            await asyncio.to_thread(self._thread.join, CLOSE_S)
            self._thread = None
            self.file.close()

    def put(self, command: Command, tell: Tell = lambda _: None) -> None:
        """Have a command done by the next commit; `tell` is called in the order of commits.

        It is told DiskRefused when the disk did not take it: then nothing of it is there.
        """
        if self._thread is None:
            tell(DiskRefused("the journal is closed"))
        else:
            self._wishes.put(Wish(command, tell))

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        going = True
        while going:
            going, group = self._gather()
            if group:
                answers = self._commit(group)
                loop.call_soon_threadsafe(self._hand_out, group, answers)

    def _gather(self) -> tuple[bool, list[Wish]]:
        """What has been wished for by now; (False, the last ones) when there will be no more."""
        group: list[Wish] = []
        size = 0
        wish = self._wishes.get()
        if self._shared >= CROWD:
            time.sleep(GATHER_S)
        while wish is not None:
            group.append(wish)
            size += wish.bytes
            if size > COMMIT_BYTES_MAX:
                break
            try:
                wish = self._wishes.get_nowait()
            except Empty:
                break
        self._shared = len(group)
        return wish is not None, group

    def _commit(self, group: Sequence[Wish]) -> Sequence[object]:
        try:
            return self.file.apply([wish.command for wish in group])
        except sqlite3.Error as error:
            refused = DiskRefused(f"the journal cannot be written: {error}", after_s=5.0)
            refused.__cause__ = error
            return self._make_room(group, refused)
        except Exception as error:  # the thread must outlive whatever this is
            return [error] * len(group)

    def _make_room(self, group: Sequence[Wish], refused: DiskRefused) -> Sequence[object]:
        """On a full disk the small commands may still succeed, and a drop gives room back."""
        small = [wish for wish in group if not isinstance(wish.command, Write)]
        answers: dict[int, object] = {}
        if len(small) < len(group) and any(isinstance(wish.command, Drop) for wish in small):
            answers = dict(zip(map(id, small), self._commit(small), strict=True))
        return [answers.get(id(wish), refused) for wish in group]

    def _hand_out(self, group: Sequence[Wish], answers: Sequence[object]) -> None:
        refused = next((one for one in answers if isinstance(one, DiskRefused)), None)
        if refused and self.writable:
            log.error("the journal's disk refuses", extra={"reason": str(refused.__cause__)})
        self.writable = refused is None
        for wish, answer in zip(group, answers, strict=True):
            wish.tell(answer)
