"""Forgets what is past its retention, and workers that are gone."""

from streams.broker import Broker
from streams.directory import Directory
from streams.model import ResourceClass


class Janitor:
    """Trims the listings of ended jobs and callbacks whose records have run out."""

    name = "janitor"
    every_s = 60.0

    def __init__(self, broker: Broker, directory: Directory) -> None:
        self._broker = broker
        self._directory = directory

    async def tick(self) -> None:
        """One round of forgetting."""
        await self._broker.trim()
        for worker_id in await self._directory.gone_workers():
            held = 0
            for resource_class in ResourceClass:
                held += await self._broker.drop_consumer(
                    worker_id, resource_class, str(resource_class)
                )
            if not held:
                await self._directory.withdraw_worker(worker_id)
