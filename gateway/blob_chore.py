"""Blobs go when their jobs are gone; workers are told where this gateway's are."""

from collections.abc import Callable

from gateway.acceptor import Acceptor
from gateway.blob_keeper import BlobKeeper
from gateway.blob_store import Owner
from streams.clock import Clock
from streams.directory import Directory
from streams.inspector import Inspector

PAGE = 500
GONE_MS = 3_600_000  # a job must be missing for that long: Redis may have lost its tail


class BlobMinder:
    """Announces the store, and walks over the owners of blobs, a page at a time."""

    name = "blobs"
    every_s = 30.0

    def __init__(
        self,
        keeper: BlobKeeper,
        url: Callable[[], str],
        directory: Directory,
        inspector: Inspector,
        acceptor: Acceptor,
        clock: Clock,
    ) -> None:
        """`url` is where workers reach this gateway."""
        self._keeper = keeper
        self._url = url
        self._directory = directory
        self._inspector = inspector
        self._acceptor = acceptor
        self._clock = clock
        self._after: Owner | None = None
        self._missing: dict[Owner, int] = {}  # since when

    async def tick(self) -> None:
        """Announce; look at one page of owners; after the last, drop what nobody refers to."""
        now_ms, store = self._clock.now_ms(), self._keeper.store
        await self._directory.announce_blobs(store.name, self._keeper.place(self._url(), now_ms))
        page = await store.owners(self._after, now_ms - GONE_MS, PAGE)
        jobs = {job.id for job in await self._inspector.jobs_by_id([one.job for one in page])}
        gone: list[Owner] = []
        for owner in page:
            if owner.job in jobs or await self._acceptor.find(owner.job) is not None:
                self._missing.pop(owner, None)
            elif self._missing.setdefault(owner, now_ms) <= now_ms - GONE_MS:
                gone.append(owner)
        await store.release(gone)
        for owner in gone:
            del self._missing[owner]
        self._after = page[-1] if len(page) == PAGE else None
        if self._after is None:
            await store.sweep(now_ms - self._keeper.orphan_ms)
