"""Journals of processes that ended, shipped by one that lives."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec
from mode import Service

from gateway.journal.journal import Journal
from gateway.journal.shipper import Destination, Shipper
from gateway.journal.slots import Slot, abandoned
from gateway.journal.survey import holds_rows
from streams.errors import DiskRefused

log = logging.getLogger(__name__)

LOOK_S = 2.0


class Adopted(msgspec.Struct, eq=False):
    """A journal on the way to being empty."""

    slot: Slot
    journal: Journal
    shipper: Shipper


class Adoption(Service):
    """Looks for abandoned files beside `own`; each is let go once it is empty."""

    def __init__(self, folder: Path, own: Path, to: Destination, spool_bytes_max: int) -> None:
        super().__init__()
        self._folder = folder
        self._own = own
        self._to = to
        self._bytes_max = spool_bytes_max
        self._adopted: dict[Path, Adopted] = {}
        self.alarms = self.gone = 0  # of those that were let go

    @property
    def journals(self) -> Sequence[Journal]:
        """The journals that are being emptied."""
        return [each.journal for each in self._adopted.values()]

    @property
    def shippers(self) -> Sequence[Shipper]:
        """Their shippers."""
        return [each.shipper for each in self._adopted.values()]

    @Service.task
    async def _look(self) -> None:
        while not self.should_stop:
            try:
                await self._let_go()
                await self._adopt()
            except Exception:  # a file in an odd state must not end the search
                log.exception("abandoned journals could not be looked at")
            await self.sleep(LOOK_S)

    async def on_stop(self) -> None:
        """Stop shipping; what is left is for the next process."""
        for path in list(self._adopted):
            await self._release(path)

    async def _adopt(self) -> None:
        held = {self._own, *self._adopted}
        for slot in await asyncio.to_thread(lambda: [*abandoned(self._folder, held)]):
            journal = Journal(slot.path)
            try:
                wanted = await asyncio.to_thread(holds_rows, slot.path)
                if wanted:
                    await journal.open()
            except DiskRefused:
                log.exception("an abandoned journal cannot be opened")
                wanted = False
            if not wanted or self.should_stop:
                slot.release()
                continue
            shipper = journal.reader = Shipper(journal, self._to, self._bytes_max)
            self._adopted[slot.path] = Adopted(slot, journal, shipper)
            await shipper.start()
            extra = {"gateway": journal.gateway, "rows": journal.spooled}
            log.warning("a journal is adopted", extra=extra)

    async def _let_go(self) -> None:
        for path, adopted in list(self._adopted.items()):
            if adopted.journal.empty:
                await self._release(path)

    async def _release(self, path: Path) -> None:
        adopted = self._adopted.pop(path)
        await adopted.shipper.stop()
        await adopted.journal.close()
        adopted.slot.release()
        self.alarms += adopted.shipper.alarms
        self.gone += adopted.shipper.gone
