"""Makes due jobs runnable, also in classes that no worker takes from just now."""

from streams.broker import Broker
from streams.model import ResourceClass

CALLS_MAX = 10
COUNT = 100


class Promoter:
    """A due job becomes runnable within a second of its time, at 1,000 jobs a class and tick."""

    name = "promoter"
    every_s = 1.0

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def tick(self) -> None:
        """Promote what is due, in bounded calls."""
        for resource_class in ResourceClass:
            for _ in range(CALLS_MAX):
                if await self._broker.promote(resource_class, COUNT) < COUNT:
                    break
