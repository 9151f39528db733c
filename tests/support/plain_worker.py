"""A worker without Faust: plain loops as actors around the same engine."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from streams.blobs import Blobs
from streams.broker import Broker
from streams.intake import Closed
from streams.journal import VerdictJournal
from streams.model import ResourceClass
from streams.telemetry import Telemetry
from streams.worker import Run, Worker, WorkerPlan
from tests.support.build import PROCESSORS


def client(url: str, **fields: Any) -> Redis:
    return Redis.from_url(url, retry=Retry(NoBackoff(), 0), **fields)


async def act(worker: Worker, resource_class: ResourceClass) -> None:
    try:
        while True:
            await worker.execute(await worker.pull(resource_class))
    except Closed:
        return


@asynccontextmanager
async def plain_worker(
    broker: Broker,
    url: str,
    run: Run,
    *,
    name: str = "w",
    slots: dict[ResourceClass, int] | None = None,
    processors: Sequence[str] = PROCESSORS,
    ollama: tuple[str, Sequence[str]] = ("", ()),  # the host, and the models it has
    telemetry: Telemetry | None = None,
    grace_s: float = 5.0,
    journal: Path | None = None,
    blobs: Blobs | None = None,
) -> AsyncIterator[Worker]:
    slots = slots or {ResourceClass.IO: 10}
    plan = WorkerPlan(f"host-1-{name}", slots, dict.fromkeys(slots, processors), *ollama)
    control, bell = client(url), client(url)
    verdicts = VerdictJournal(journal) if journal else None
    if verdicts is not None:
        await verdicts.start()
    worker = Worker(
        broker,
        plan,
        run,
        control=control,
        bell=bell,
        telemetry=telemetry,
        journal=verdicts,
        blobs=blobs,
    )
    await worker.start()
    async with asyncio.TaskGroup() as actors:
        for resource_class, count in slots.items():
            for _ in range(count):
                actors.create_task(act(worker, resource_class))
        try:
            yield worker
        finally:
            await worker.drain(grace_s)
    await worker.stop()
    if verdicts is not None:
        await verdicts.stop()
    await control.aclose()
    await bell.aclose()
