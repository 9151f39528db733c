"""Results of the same input, where a processor says that they are the same: no model is asked."""

import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from processors.dependencies import Attempt
from processors.sdk.declaration import Processor
from streams.errors import Trouble
from streams.usage import Usage

log = logging.getLogger(__name__)

Fingerprint = Callable[[str], Awaitable[str]]  # of a model by its alias; empty: not known now


class Results(Protocol):
    """Where results are kept; `streams.results.KeptResults` is it."""

    async def find(self, asked: str) -> bytes | None:
        """The result that is kept for what was asked, if one is."""
        ...

    async def keep(self, asked: str, result: bytes, ttl_ms: int) -> None:
        """Keep a result for a time."""
        ...


class Remembered:
    """Runs attempts, or answers them from what was kept.

    A result is kept by everything it depends on: app, processor with its versions, the model's
    digest and load-time options, and the whole input. What goes wrong with keeping is no matter of
    the job: then a model is asked.
    """

    def __init__(self, results: Results, fingerprint: Fingerprint) -> None:
        self._results = results
        self._fingerprint = fingerprint

    async def run(
        self, processor: Processor, attempt: Attempt, ask: Callable[[], Awaitable[bytes]]
    ) -> bytes:
        """The result that is kept, else that of `ask`, which is kept then."""
        asked = await self._asked(processor, attempt)
        if asked and not attempt.lease.fresh:
            found = await self._found(asked)
            if found is not None:
                attempt.spend(Usage(cached=1))
                return found
        result = await ask()
        if asked:
            await self._kept(asked, result, round(processor.manifest.cache_s * 1_000))
        return result

    async def _asked(self, processor: Processor, attempt: Attempt) -> str:
        """What the result depends on, as a key; empty while the model cannot be told."""
        model = await self._fingerprint(attempt.lease.lane.model)
        if not model:
            return ""
        manifest = processor.manifest
        given = msgspec.json.encode(processor.decode(attempt.payload), order="sorted")
        parts = (
            *(attempt.lease.lane.app, manifest.name, manifest.version, manifest.prompt_version),
            model,
        )
        said = "\0".join(parts).encode() + b"\0" + given
        return hashlib.sha256(said).hexdigest()

    async def _found(self, asked: str) -> bytes | None:
        try:
            return await self._results.find(asked)
        except Trouble as error:
            log.info("kept results cannot be read", extra={"reason": str(error)})
            return None

    async def _kept(self, asked: str, result: bytes, ttl_ms: int) -> None:
        try:
            await self._results.keep(asked, result, ttl_ms)
        except Trouble as error:
            log.info("a result could not be kept", extra={"reason": str(error)})
