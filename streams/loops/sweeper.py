"""Walks the pending entries of every lane, slowly, and mends what no other script sees."""

from streams.broker import Broker
from streams.inspector import Inspector

LANES_MAX = 20
COUNT = 200


class Sweeper:
    """Each tick looks at one page of at most 20 lanes; `mended` counts what was wrong."""

    name = "sweeper"
    every_s = 5.0

    def __init__(self, broker: Broker, inspector: Inspector) -> None:
        self._broker = broker
        self._inspector = inspector
        self._lanes: list[str] = []
        self._start = "-"
        self.mended = 0

    async def tick(self) -> None:
        """Go on where the last tick stopped."""
        if not self._lanes:
            self._lanes = await self._inspector.lane_names()
        for _ in range(min(LANES_MAX, len(self._lanes))):
            mended, self._start = await self._broker.sweep(self._lanes[0], self._start, COUNT)
            self.mended += mended
            if self._start == "-":
                self._lanes.pop(0)
