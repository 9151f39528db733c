"""A worker over a broker for one test, and what tests wait for."""

import asyncio

from streams.attempt import Attempt
from streams.inspector import Inspector
from streams.model import Job, State
from tests.support.waiting import until


class Stage:
    """A processor that waits to be told, and what it saw."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.stopped: list[str] = []
        self.go = asyncio.Event()

    async def run(self, attempt: Attempt) -> bytes:
        self.started.append(attempt.lease.job_id)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.stopped.append(attempt.lease.job_id)
            raise
        return b'"done"'


async def ended(inspector: Inspector, job_id: str, limit_s: float = 5.0) -> Job:
    async def look() -> Job | None:
        found = await inspector.job(job_id)
        return found if found is not None and found.state.ended else None

    return await until(look, what=f"{job_id} to end", limit_s=limit_s)


async def in_state(inspector: Inspector, job_id: str, state: State) -> Job:
    async def look() -> Job | None:
        found = await inspector.job(job_id)
        return found if found is not None and found.state is state else None

    return await until(look, what=f"{job_id} to be {state}")


async def echo(attempt: Attempt) -> bytes:
    return attempt.payload
