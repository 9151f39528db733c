"""`python -m ops.bench.scrape`: what a scrape of a gateway costs while many jobs wait."""

import asyncio
import itertools
import statistics
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console

from gateway.metrics import GatewayMetrics
from ops.bench.stage import BATCH, PAYLOAD
from ops.embedded import EmbeddedRedis
from ops.links import Engine, engine_over, open_redis
from ops.settings import RedisSettings, Settings
from streams.directory import WorkerCard
from streams.ids import new_job_id
from streams.model import Lane, NewJob, Priority, ResourceClass

APPS = ("etyde", "govejle", "cnc", "web", "shop")
PROCESSORS = ("echo", "fetch", "resize", "report")
WORKERS = 5

LANES = [
    Lane(ResourceClass.IO, app, priority, processor)
    for app, priority, processor in itertools.product(APPS, Priority, PROCESSORS)
]


@click.command(help="Measure a scrape of the gateway's metrics with many jobs waiting in 60 lanes.")
@click.option("--waiting", default=100_000, show_default=True, help="Waiting jobs.")
@click.option("--scrapes", default=200, show_default=True, help="Scrapes, one after another.")
def scrape(waiting: int, scrapes: int) -> None:
    """Measure and print."""
    out = Console()
    with (
        tempfile.TemporaryDirectory(prefix="rn-bench-") as folder,
        EmbeddedRedis(Path(folder)) as server,
    ):
        settings = Settings(redis=RedisSettings(url=server.url))
        took_ms, cpu_ms, size = asyncio.run(_measure(settings, waiting, scrapes))
    cuts = statistics.quantiles(took_ms, n=100)
    out.print(
        f"{waiting:,} jobs waiting in {len(LANES)} lanes, {scrapes} scrapes of {size:,} bytes: "
        f"median {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms, "
        f"{cpu_ms:.1f} ms of the gateway's processor",
        soft_wrap=True,
    )


async def _measure(
    settings: Settings, waiting: int, scrapes: int
) -> tuple[list[float], float, int]:
    engine = engine_over(open_redis(settings.redis, "bench"), settings)
    await _fill(engine, waiting)
    metrics, took_ms, size = GatewayMetrics(), [], 0
    cpu_s = time.process_time()
    for _ in range(scrapes):
        began = time.monotonic()
        size = len(
            await metrics.render(
                engine.inspector, engine.callbacks, engine.directory, engine.windows
            )
        )
        took_ms.append((time.monotonic() - began) * 1_000)
    cpu_s = time.process_time() - cpu_s
    await engine.redis.aclose()
    return took_ms, cpu_s * 1_000 / scrapes, size


async def _fill(engine: Engine, waiting: int) -> None:
    lanes = itertools.cycle(LANES)
    for at in range(0, waiting, BATCH):
        count = min(BATCH, waiting - at)
        await engine.broker.submit([_job(next(lanes)) for _ in range(count)])
    for number in range(WORKERS):
        card = WorkerCard(f"w{number}", "host", 1, "0", {}, {"io": 10}, {"io": 3}, PROCESSORS)
        await engine.directory.announce_worker(card)


def _job(lane: Lane) -> NewJob:
    return NewJob(id=new_job_id(time.time_ns() // 1_000_000), lane=lane, payload=PAYLOAD)


if __name__ == "__main__":
    scrape()
