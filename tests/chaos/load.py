"""A steady stream of submits through the gateway, and a ledger of what was acknowledged."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from tests.e2e.platform import Platform
from tests.support.waiting import until

SUBMITTERS = 4
REFUSED_PAUSE_S = 0.05
BURST = 50  # jobs between two blows
RESUME_S = 5.0  # work resumes by itself within


class Load:
    """Submits jobs one after the other until it is stopped; only a 202 counts as accepted."""

    def __init__(self, stage: Platform, http: httpx.AsyncClient) -> None:
        self.stage = stage
        self.http = http
        self.accepted: dict[str, float] = {}  # job → when it was acknowledged
        self.statuses: Counter[int] = Counter()  # 0: no answer
        self.states: Counter[str] = Counter()  # of the accepted, as their answers told
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        number = 0
        while not self._stopped.is_set():
            number += 1
            processor = "gate" if number % 10 else "gate-cpu"
            job = {"processor": processor, "payload": {"ms": number % 40}}
            try:
                reply = await self.http.post("/v1/jobs", json=job)
            except httpx.TransportError:
                reply = httpx.Response(0)
            self.statuses[reply.status_code] += 1
            if reply.status_code == 202:
                told = reply.json()
                self.accepted[told["id"]] = time.monotonic()
                self.states[told["state"]] += 1
            else:
                await asyncio.sleep(REFUSED_PAUSE_S)

    def stop(self) -> None:
        self._stopped.set()

    async def flows(self, jobs: int = 1, limit_s: float = RESUME_S) -> float:
        """Wait until so many jobs accepted from now on have ended; the seconds that it took."""
        began = time.monotonic()

        async def ended() -> bool:
            fresh = [job_id for job_id, at in self.accepted.items() if at > began]
            found = await self.stage.jobs(fresh)
            return sum(job.state.ended for job in found.values()) >= jobs

        await until(ended, what=f"{jobs} new jobs to be accepted and to end", limit_s=limit_s)
        return time.monotonic() - began


@asynccontextmanager
async def load(stage: Platform) -> AsyncIterator[Load]:
    """A load on the stage's gateway while the block runs."""
    running = Load(stage, await stage.app("etyde"))
    async with asyncio.TaskGroup() as group:
        for _ in range(SUBMITTERS):
            group.create_task(running.run())
        try:
            await running.flows(BURST, limit_s=30)
            yield running
        finally:
            running.stop()
