"""Ends jobs that did not start in time."""

from streams.broker import Broker

CALLS_MAX = 10
COUNT = 100


class Expirer:
    """A job expires within a second of its time, at 1,000 jobs a tick."""

    name = "expirer"
    every_s = 1.0

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def tick(self) -> None:
        """Expire what is late, in bounded calls."""
        for _ in range(CALLS_MAX):
            if await self._broker.expire(COUNT) < COUNT:
                break
