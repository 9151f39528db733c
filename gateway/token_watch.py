"""Tells viewers that a job says something: one reader per process waits for all of them."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from mode import Service

from gateway.problems import is_outage
from streams.tokens import TokenReader

BLOCK_MS = 250  # a job that somebody begins to watch meanwhile is waited for from then on
RETRY_S = 0.5


class TokenWatch(Service):
    """Waits while somebody watches; viewers read for themselves."""

    def __init__(self, reader: TokenReader) -> None:
        super().__init__()
        self.reader = reader
        self._viewers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._heard: dict[str, str] = {}
        self._somebody = asyncio.Event()

    @contextmanager
    def watching(self, job_id: str, heard: str, news: asyncio.Event) -> Iterator[None]:
        """Set `news` whenever the job has said more than what the id `heard` ends with."""
        self._viewers[job_id].add(news)
        self._heard.setdefault(job_id, heard or "0-0")
        self._somebody.set()
        try:
            yield
        finally:
            self._viewers[job_id].discard(news)
            if not self._viewers[job_id]:
                del self._viewers[job_id], self._heard[job_id]
            if not self._viewers:
                self._somebody.clear()

    @Service.task
    async def _wait_for_news(self) -> None:
        while not self.should_stop:
            await self._somebody.wait()
            try:
                heard = await self.reader.news(self._heard, BLOCK_MS)
            except Exception as error:  # the reader must outlive whatever Redis does
                if not is_outage(error):
                    self.log.exception("the token streams could not be read")
                await self.sleep(RETRY_S)
                continue
            for job_id, newest in heard.items():
                if job_id in self._heard:
                    self._heard[job_id] = newest
                for news in self._viewers.get(job_id, ()):
                    news.set()
