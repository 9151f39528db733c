"""Chores that need what only `ops` knows, and what runs chores in a process without Faust."""

import logging
import random
from collections.abc import Sequence

import msgspec
from mode import Service

from processors.dependencies.ollama import OllamaProvider, usable
from processors.dependencies.ollama_errors import HostAway
from streams.directory import Directory, FlowCard, HostCard, ProcessorCard
from streams.errors import Unavailable
from streams.loops import Chore
from streams.scripts import translated
from streams.worker import Worker

log = logging.getLogger(__name__)


class ManifestPublisher:
    """Publishes the worker's manifests and named flows, again now and then: Redis may forget."""

    name = "manifests"
    every_s = 60.0

    def __init__(
        self, directory: Directory, cards: Sequence[ProcessorCard], flows: Sequence[FlowCard] = ()
    ) -> None:
        self._directory = directory
        self._cards = cards
        self._flows = flows

    async def tick(self) -> None:
        """Publish all."""
        with translated():
            for card in self._cards:
                await self._directory.publish_processor(card)
            for flow in self._flows:
                await self._directory.publish_flow(flow)


class OllamaWatch:
    """Asks the worker's Ollama which models it has and which is in memory."""

    name = "ollama"
    every_s = 2.0

    def __init__(self, ollama: OllamaProvider, worker: Worker) -> None:
        self._ollama = ollama
        self._worker = worker
        self.host = HostCard(ollama.host)
        ollama.told = self._told

    async def tick(self) -> None:
        """Ask. While Ollama is away or left alone, its jobs are not taken: they wait."""
        try:
            self.host = await self._ollama.survey()
            self._worker.resident = await self._ollama.resident()
        except HostAway as error:
            self.host = msgspec.structs.replace(self.host, trouble=str(error))
            raise Unavailable(f"Ollama: {error}") from error
        finally:
            self._worker.models = list(usable(self.host))

    def _told(self, resident: str) -> None:
        self._worker.resident = resident


class Minder(Service):
    """Runs chores in a gateway, so that nothing waits for a worker to be there.

    Each at its own pace, up to a tenth earlier: gateways shall not all come at once. A failure is
    told once.
    """

    def __init__(self, chores: Sequence[Chore]) -> None:
        super().__init__()
        self._chores = chores
        self._failing: set[str] = set()

    async def on_started(self) -> None:
        """Begin."""
        for chore in self._chores:
            self.add_future(self._mind(chore))

    async def _mind(self, chore: Chore) -> None:
        while not self.should_stop:
            await self.sleep(chore.every_s * random.uniform(0.9, 1.0))
            try:
                await chore.tick()
            except Unavailable as error:
                self._told(chore, str(error))
            except Exception:
                log.exception("chore failed", extra={"chore": chore.name})
            else:
                self._failing.discard(chore.name)

    def _told(self, chore: Chore, reason: str) -> None:
        if chore.name not in self._failing:
            self._failing.add(chore.name)
            log.warning("chore waits for Redis", extra={"chore": chore.name, "reason": reason})
