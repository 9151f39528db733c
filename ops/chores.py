"""Chores of a worker that need what only `ops` knows: manifests, and what its Ollama has."""

import logging
from collections.abc import Sequence

from processors.dependencies.ollama import OllamaProvider
from processors.dependencies.ollama_errors import HostAway
from streams.directory import Directory, ProcessorCard
from streams.errors import Unavailable
from streams.scripts import translated
from streams.worker import Worker

log = logging.getLogger(__name__)


class ManifestPublisher:
    """Publishes the worker's manifests at start, and again now and then: Redis may forget."""

    name = "manifests"
    every_s = 60.0

    def __init__(self, directory: Directory, cards: Sequence[ProcessorCard]) -> None:
        self._directory = directory
        self._cards = cards

    async def tick(self) -> None:
        """Publish all."""
        with translated():
            for card in self._cards:
                await self._directory.publish_processor(card)


class OllamaWatch:
    """Asks the worker's Ollama which models it has and which is in memory."""

    name = "ollama"
    every_s = 2.0

    def __init__(self, ollama: OllamaProvider, worker: Worker) -> None:
        self._ollama = ollama
        self._worker = worker

    async def tick(self) -> None:
        """Ask; while Ollama is away the worker believes what it knew."""
        try:
            self._worker.models = list(await self._ollama.models())
            self._worker.resident = await self._ollama.resident()
        except HostAway as error:
            raise Unavailable(f"Ollama: {error}") from error
