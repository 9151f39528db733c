"""Follows the event stream and shows where the jobs stand, as long as the demo runs."""

import asyncio

from mode import Service

from ops.demo.history import History
from ops.demo.receiver import Receiver
from ops.demo.report import Report
from streams.events import EventReader

READ_MS = 200
SHOW_EVERY_S = 0.2


class Watch(Service):
    """Keeps `history` current and the report's progress moving."""

    def __init__(self, reader: EventReader, receiver: Receiver, report: Report) -> None:
        super().__init__()
        self.history = History()
        self.submitted = 0
        self._reader = reader
        self._receiver = receiver
        self._report = report

    async def on_start(self) -> None:
        """Begin with the stream's first event."""
        self.add_future(self._follow())
        self.add_future(self._show())

    async def _follow(self) -> None:
        after = "0-0"
        while not self.should_stop:
            for event in await self._reader.read(after, READ_MS):
                self.history.add(event)
                after = event.id

    async def _show(self) -> None:
        while not self.should_stop:
            self._report.progress(self.history, self.submitted, self._receiver.accepted)
            await asyncio.sleep(SHOW_EVERY_S)
