"""Another app whose jobs go on while the first one's go wrong."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streams.model import Job, State
from tests.e2e.platform import Platform, accepted, ended

PACE_S = 0.02


class Bystander:
    """Submits good jobs of both classes, one after the other."""

    def __init__(self, stage: Platform) -> None:
        self.ids: list[str] = []
        self._stage = stage
        self._left = asyncio.Event()

    async def work(self) -> None:
        http = await self._stage.app("bystander")
        while not self._left.is_set():
            payload = {"ms": len(self.ids) % 50}
            processor = "gate" if len(self.ids) % 5 else "gate-cpu"
            self.ids.append(await accepted(http, processor, payload))
            await asyncio.sleep(PACE_S)
        for job_id in self.ids:
            await ended(http, job_id)

    def leave(self) -> None:
        self._left.set()

    async def jobs(self) -> list[Job]:
        return list((await self._stage.jobs(self.ids)).values())


@asynccontextmanager
async def undisturbed(stage: Platform, *, attempts_max: int = 1) -> AsyncIterator[Bystander]:
    """While the block runs another app's jobs go on; all succeed, within `attempts_max`."""
    bystander = Bystander(stage)
    async with asyncio.TaskGroup() as group:
        group.create_task(bystander.work())
        yield bystander
        bystander.leave()
    jobs = await bystander.jobs()
    assert len(jobs) == len(bystander.ids) > 0
    assert [job for job in jobs if job.state is not State.SUCCEEDED] == []
    assert max(job.attempt for job in jobs) <= attempts_max
