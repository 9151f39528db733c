"""`govejle-weekly` on processes that are killed: one newsletter, with every page in it.

`python -m tests.e2e.test_weekly --pages 30 --kills 5` is the longer run.
"""

import argparse
import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from ops.redis_binary import installed
from streams.flow import stage_job
from tests.e2e.platform import DURABLE, START_LIMIT_S, Command, Platform, platform
from tests.support.redis_server import RedisServer, free_port
from tests.support.waiting import until

SPEED = 60  # of the simulated models


@asynccontextmanager
async def staged(server: RedisServer, folder: Path) -> AsyncIterator[Platform]:
    """Redis, a gateway, and a simulated Ollama."""
    port = free_port()
    settings = {"ollama__url": f"http://127.0.0.1:{port}", "worker__io_slots": 4}
    async with platform(server, folder, **settings) as running:
        running.command("sim", "sim-ollama", "--port", str(port), "--speed", str(SPEED))
        await running.gateway()
        yield running


async def worker(stage: Platform, number: int) -> Command:
    """A worker that serves io and ollama."""
    name = f"w{number}"
    started = stage.command(name, "worker", "--class", "io", "--class", "ollama")

    async def announced() -> bool:
        assert started.running, started.tail()
        return any(card.pid == started.pid for card in await stage.directory.workers())

    await until(announced, what=f"{name} to be ready", limit_s=START_LIMIT_S)
    return started


def page(number: int) -> dict[str, str]:
    html = (
        f"<title>Nr. {number}</title><main><h1>Nr. {number}</h1>"
        "<p>Lørdag d. 5. december 2026 kl. 11.00 synger vi på Bygningen.</p>"
        "<p>Der er kaffe og kage til alle, når koret har sunget, og bagefter er der fællessang.</p>"
        "<p>Fri entré</p></main>"
    )
    return {"event_id": f"gv-{number:02}", "url": f"https://vejle.example/{number}", "html": html}


async def test_one_newsletter_although_workers_are_killed(
    server: RedisServer, tmp_path: Path
) -> None:
    await run(server, tmp_path, pages=12, kills=1)


async def run(server: RedisServer, folder: Path, *, pages: int, kills: int) -> None:
    """One issue, its worker killed again and again while it works."""
    async with staged(server, folder) as stage:
        http = await stage.app("govejle")
        working = await worker(stage, 0)
        given = {
            "issue_date": "2026-11-27",
            "max_items": pages,
            "pages": [page(n) for n in range(pages)],
        }
        body = {"name": "govejle-weekly", "input": given}
        accepted = (await http.post("/v1/flows", json=body)).json()
        assert accepted["warnings"] == []
        for number in range(1, kills + 1):
            await until(
                partial(has_ended, stage, number * 3 * pages // (kills + 1)),
                what="work to be done",
                limit_s=60,
            )
            working.kill()
            working = await worker(stage, number)
        await ended_well(stage, http, accepted["id"], pages)
        await stage.audited()


async def has_ended(stage: Platform, jobs: int) -> bool:
    """Whether so many jobs have."""
    return sum(event.kind == "ended" for event in await stage.events()) >= jobs


async def ended_well(stage: Platform, http: httpx.AsyncClient, flow_id: str, pages: int) -> None:
    """One newsletter, all pages in it, every job ended once."""

    async def over() -> dict[str, Any] | None:
        found: dict[str, Any] = (await http.get(f"/v1/flows/{flow_id}")).json()
        return found if found["ended_at"] else None

    flow = await until(over, what="the flow to end", limit_s=60)
    assert flow["state"] == "succeeded", flow["error"]
    result = (await http.get(f"/v1/jobs/{flow_id}/result")).json()
    assert sorted(result["used_event_ids"]) == [f"gv-{number:02}" for number in range(pages)]
    assert result["html"].count("Saturday 5 December, 11:00") == pages
    assert result["text"].count("everybody") >= pages  # it is in English
    assert result["dropped"] == []
    ended = Counter(event.job_id for event in await stage.events() if event.kind == "ended")
    fans = {
        stage_job(flow_id, name, number)
        for name in ("fetch", "extract", "translate")
        for number in range(pages)
    }
    assert ended == dict.fromkeys({flow_id, stage_job(flow_id, "newsletter"), *fans}, 1)


def main() -> None:
    """A longer run, by hand."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pages", type=int, default=30)
    parser.add_argument("--kills", type=int, default=5)
    given = parser.parse_args()
    server = RedisServer(installed()[0], *DURABLE)
    try:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(run(server, Path(folder), pages=given.pages, kills=given.kills))
    finally:
        server.stop()
    print(f"one newsletter of {given.pages} pages, {given.kills} workers killed")


if __name__ == "__main__":
    main()
