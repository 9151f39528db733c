"""Keeps an app's ended jobs within a number and a size: the oldest are forgotten first.

Age is Redis' own business: every ended job has a lifetime. This is for apps that end more than
there is room for. Counters stay as they are.
"""

from collections.abc import AsyncIterator

import msgspec

from streams.control import Control
from streams.merging import Place
from streams.retention import Heap, KeptJobs
from streams.settings import EngineSettings

PURGE_MAX = 5_000  # jobs that one tick forgets of one heap
PURGE_CALL = 200
WALK_MAX = 10_000  # jobs that one tick measures of one heap


class _Walk(msgspec.Struct):
    """How far a heap has been measured, from its newest job on."""

    size: int = 0
    after: Place | None = None
    full: bool = False  # what is older than `after` is too much


class Discarder:
    """Looks at every app's ended jobs and dead letters, each a heap of its own.

    The number is exact at every tick. The size is measured job by job over as many ticks as it
    takes, so that it is held about.
    """

    name = "discarder"
    every_s = 30.0

    def __init__(self, kept: KeptJobs, control: Control, settings: EngineSettings) -> None:
        self._kept = kept
        self._control = control
        self._jobs_max = settings.retention_jobs_max
        self._bytes_max = settings.retention_bytes_max
        self._walks: dict[Heap, _Walk] = {}
        self.discarded = 0

    async def tick(self) -> None:
        """One bounded round over all heaps."""
        heaps = await self._kept.heaps()
        self._walks = {heap: self._walks.get(heap, _Walk()) for heap in heaps}
        for heap in heaps:
            over = await self._kept.count(heap) - self._jobs_max
            if self._jobs_max and over > 0:
                await self._discard(heap, None, over)
            if self._bytes_max:
                await self._weigh(heap)

    async def _weigh(self, heap: Heap) -> None:
        """Measure on; once it is too much, forget all that is older than that place."""
        walk = self._walks[heap]
        if not walk.full:
            await self._walk_on(heap, walk)
        if walk.full and await self._discard(heap, walk.after, PURGE_MAX):
            self._walks[heap] = _Walk()

    async def _walk_on(self, heap: Heap, walk: _Walk) -> None:
        async for place, size in self._sizes(heap, walk.after):
            walk.size += size
            if walk.size > self._bytes_max:
                walk.full, walk.after = True, walk.after or place
                return
            walk.after = place

    async def _sizes(self, heap: Heap, after: Place | None) -> AsyncIterator[tuple[Place, int]]:
        left = WALK_MAX
        while left > 0:
            sizes = await self._kept.sizes(heap, after)
            for place, size in sizes:
                yield place, size
                after, left = place, left - 1
            if not sizes:
                self._walks[heap] = _Walk()  # the end: it all fits
                return

    async def _discard(self, heap: Heap, newer: Place | None, count: int) -> bool:
        """Forget the oldest ones, those before `newer` where it is given; whether all are gone.

        Those that a flow holds stay, and what is beyond them is looked at all the same.
        """
        count, passed = min(count, PURGE_MAX), 0
        while count > 0:
            oldest = await self._kept.oldest(heap, passed, min(PURGE_CALL, count))
            ids = [found.id for found in oldest if newer is None or found.place < newer]
            answers = await self._control.purge(ids) if ids else []
            gone = answers.count("purged")
            self.discarded += gone
            passed += len(answers) - gone
            count -= len(answers)
            if len(ids) < PURGE_CALL:
                return True
        return False
