"""Every panel has data, and an alert comes when lag builds: a real Prometheus over a real run."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ops.dashboards import DASHBOARDS
from ops.dashboards.overview import OVERVIEW
from ops.redis_binary import RedisBinary
from tests.e2e.platform import DURABLE
from tests.monitoring.prometheus import needs_prometheus, shown
from tests.monitoring.scene import WAVES, Scene, scene
from tests.support.redis_server import RedisServer
from tests.support.waiting import until

pytestmark = [needs_prometheus, pytest.mark.asyncio(loop_scope="module")]
CROWD = 80  # jobs of a second each in ten slots
LAG = 4_000  # jobs at one a second: over an hour of work


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run(
    redis_binary: RedisBinary, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    server = RedisServer(redis_binary, *DURABLE, "maxmemory 1gb")
    folder: Path = tmp_path_factory.mktemp("run")
    try:
        async with scene(server, folder) as made:
            yield made
    finally:
        server.stop()


async def test_every_panel_has_data(run: Scene) -> None:
    await run.batch(CROWD, "gate", {"ms": 1_000})  # some wait, so that their start is foretold
    for _ in range(WAVES):
        await run.wave()
        await run.prometheus.scraped()
    queries = {
        f"{one.title}: {panel.title}: {query.expr}": shown(query.expr)
        for one in DASHBOARDS
        for panel in one.panels
        for query in panel.queries
        if "ALERTS" not in query.expr  # of these the other test makes one
    }
    empty: list[str] = []

    async def complete() -> bool:
        empty[:] = [
            name for name, expr in queries.items() if not any(await run.prometheus.series(expr))
        ]
        return not empty

    try:
        await until(complete, what="data in every panel", limit_s=40)
    except AssertionError:
        assert not empty, "\n".join(empty)
    assert await run.prometheus.down() == []
    assert "raises processor_failed" in await told(run, "status")


async def test_lag_builds_an_alert_fires_and_its_cause_is_named(run: Scene) -> None:
    """One attempt at a time, and four thousand jobs of a second each."""
    await told(run, "classes", "limit", "io", "1")
    last = ""
    for _ in range(0, LAG, 1_000):
        last = await run.batch(1_000, "gate", {"ms": 1_000})

    async def backlog() -> dict[str, Any] | None:
        return (await run.prometheus.firing()).get("RoughneckBacklog")

    alert = await until(backlog, what="the alert", limit_s=60)
    assert alert["labels"]["resource_class"] == "io"
    assert "will take 1h" in alert["annotations"]["summary"]
    assert any(await run.prometheus.series(shown(overview("Alerts")), over_s=5))

    explained = json.loads(await told(run, "jobs", "explain", last, "-o", "json"))
    reasons = {one["code"]: one["text"] for one in explained["reasons"]}
    assert "io 1 of 1" in reasons["pool_full"]
    assert "behind" in reasons
    seen = json.loads(await told(run, "top", "--once", "-o", "json"))
    assert "pool_full" in json.dumps(seen)

    await told(run, "classes", "limit", "io", "none")

    async def silent() -> bool:
        return await backlog() is None

    await until(silent, what="the alert to go when its cause is gone", limit_s=40)


async def told(run: Scene, *arguments: str) -> str:
    """What a command prints."""
    ran = await asyncio.to_thread(run.platform.cli, *arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def overview(title: str) -> str:
    """The query of a panel of the overview."""
    return next(panel.queries[0].expr for panel in OVERVIEW.panels if panel.title == title)
