"""`python -m tests.pictures`: the pictures of `roughneck top` in docs/pictures, from a real load.

Starts Redis, a gateway, a worker and a simulated Ollama as `roughneck demo` does, gives them work
of every kind, looks until all of it is under way, and writes one SVG for each tab. With `--hold` it
says where Redis is and waits, for looking with one's own eyes.
"""

import asyncio
import os
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import click
import httpx
import msgspec
import uvloop
from rich.console import Console

from gateway.auth import mint_key
from gateway.client import AsyncClient
from ops.demo.report import Report
from ops.demo.scene import Scene, opened
from ops.tui.app import Top
from ops.tui.from_redis import RedisSource
from ops.tui.state import TABS, State, Tab
from streams.clock import SystemClock
from streams.directory import ProcessorCard
from streams.model import ResourceClass

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
SIZE = (118, 32)
PROCESSORS = Path(__file__).parent / "support" / "pictured"
SETTLE_S = 75.0
LOOK_S = 2.5
APPS = ("etyde", "govejle")
SCOPES = ("submit", "read", "operate")
SCHEDULES: dict[str, dict[str, dict[str, Any]]] = {
    "etyde": {
        "pulse": {"every_s": 15},
        "nightly": {"cron": "30 2 * * *", "zone": "Europe/Copenhagen", "jitter_s": 600},
        "house-keeping": {"every_s": 3_600},
    },
    "govejle": {
        "monday": {"cron": "0 6 * * MON", "zone": "Europe/Copenhagen", "overlap": "skip"},
        "quarter": {"cron": "*/15 * * * *"},
    },
}
ERRORS = ("permanent", "raise", "bad_result")
SWEEP = ProcessorCard(
    name="archive-sweep",
    version="1.0.0",
    summary="Published once, and no living worker has it.",
    resource_class=ResourceClass.IO,
    model="",
    attempts_max=3,
    timeout_ms=60_000,
    backoff_ms=1_000,
    backoff_max_ms=60_000,
    input_schema=msgspec.Raw(b"{}"),
    output_schema=msgspec.Raw(b"{}"),
)
FLOW: list[dict[str, Any]] = [
    {"name": "pages", "processor": "echo", "payload": {"message": "six", "delay_ms": 700}},
    {
        "name": "read",
        "processor": "echo",
        "after": ["pages"],
        "each": {"path": "/pages"},
        "payload": {"message": {"$item": ""}, "delay_ms": 2_500},
        "priority": "high",
    },
    {
        "name": "cover",
        "processor": "echo",
        "after": ["pages"],
        "payload": {"message": "a cover", "delay_ms": 9_000, "progress_steps": 12},
        "priority": "high",
    },
    {
        "name": "sum-up",
        "processor": "ask",
        "after": ["read"],
        "payload": {"prompt": "Skriv et sammendrag.", "max_tokens": 200},
    },
    {
        "name": "send",
        "processor": "echo",
        "after": ["sum-up", "cover"],
        "payload": {"message": "sent"},
    },
]
PAGES = {"pages": [f"page {number}" for number in range(1, 7)]}


class Load:
    """Work of every kind, for two apps."""

    def __init__(self, clients: dict[str, AsyncClient], hooks: dict[str, str]) -> None:
        self._clients = clients
        self._hooks = hooks  # URLs that an app may be called back at

    async def begin(self) -> None:
        """What is there from the beginning."""
        for number in range(3):
            await self._submit("govejle", "archive-sweep", {"year": 2020 + number})
        for number in range(260):
            await self._echo(APPS[number % 2], "low", 900 + number % 7 * 150)
        for number in range(14):
            fail = ERRORS[number % 3]
            await self._echo("etyde", "normal", 100, fail=fail, attempts_max=1, callback=True)
        for _ in range(8):
            await self._echo("govejle", "normal", 100, fail="transient", attempts_max=8)
        for number in range(12):
            await self._echo("etyde", "normal", 100, delay_s=600 + 60 * number)
        for number in range(90):
            await self._ask(number)

    async def go_on(self) -> None:
        """What comes all the time."""
        number = 0
        while True:
            await self._echo("etyde", "high", 300, callback=number % 4 == 0)
            await self._echo("govejle", "low", 1_500, callback=number % 3 == 0)
            for _ in range(3):
                await self._ask(number)
                number += 1
            if number % 36 == 0:
                tag = f"week-{40 + number // 36}"
                await self._clients["etyde"].flow(FLOW, PAGES, tags=[tag], priority="high")
            await asyncio.sleep(0.9)

    async def _echo(
        self, app: str, priority: str, delay_ms: int, *, fail: str = "none", **fields: Any
    ) -> None:
        payload = {"message": "grød på ø", "delay_ms": delay_ms, "fail": fail}
        await self._submit(app, "echo", payload, priority=priority, **fields)

    async def _ask(self, number: int) -> None:
        app, priority = APPS[number % 2], "high" if number % 6 == 0 else "normal"
        if number % 3:
            payload = {"prompt": f"Hvad er en fjord? ({number})", "max_tokens": 400}
            await self._submit(app, "ask", payload, priority=priority)
        else:
            await self._submit(app, "note-kind", {"text": "Mødet er flyttet"}, priority=priority)

    async def _submit(self, app: str, name: str, payload: Any, **fields: Any) -> None:
        if fields.pop("callback", False):
            fields["callback"] = {"url": self._hooks[app]}
        await self._clients[app].submit(name, payload, **fields)


async def run(folder: Path, size: tuple[int, int], *, hold: bool) -> None:
    """Set the scene, load it, take the pictures."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="roughneck-pictures-") as home, Report(console) as said:
        async with opened(said, Path(home)) as scene, AsyncExitStack() as stack:
            load = await prepared(scene, stack)
            await load.begin()
            going_on = asyncio.ensure_future(load.go_on())
            try:
                if hold:
                    said.step(f"roughneck --redis {scene.processes.settings['redis.url']} top")
                    await asyncio.Event().wait()
                said.step(f"looking for {SETTLE_S:g} s")
                await take_pictures(scene, folder, size)
            finally:
                going_on.cancel()
                await asyncio.wait([going_on])


async def prepared(scene: Scene, stack: AsyncExitStack) -> Load:
    """Keys, endpoints, schedules, and a processor that nobody has."""
    engine = scene.engine
    (gateway,) = [one for one in scene.processes.started if one.name == "gateway"]
    url = (await gateway.record_of("gateway is ready"))["url"]
    await engine.directory.publish_processor(SWEEP)
    await engine.redis.config_set("maxmemory", 256_000_000)
    clients = {}
    for app in APPS:
        record, key = mint_key(app, SCOPES, now_ms=SystemClock().now_ms())
        await engine.directory.put_key(record)
        clients[app] = await stack.enter_async_context(AsyncClient(url, key))
        async with httpx.AsyncClient(
            base_url=url, headers={"authorization": f"Bearer {key}"}
        ) as http:
            if app == "etyde":
                origin = scene.hooks.rsplit("/", 1)[0]
                made = await http.post("/v1/endpoints", json={"url": f"{origin}/gone"})
                made.raise_for_status()
            for name, timing in SCHEDULES[app].items():
                job = {"processor": "echo", "payload": {"message": name}}
                body = {"name": name, "job": job, **timing}
                (await http.post("/v1/schedules", json=body)).raise_for_status()
            await http.post("/v1/schedules/house-keeping:pause")
    origin = scene.hooks.rsplit("/", 1)[0]
    return Load(clients, {"etyde": f"{origin}/gone/etyde", "govejle": f"{scene.hooks}/govejle"})


async def take_pictures(scene: Scene, folder: Path, size: tuple[int, int]) -> None:
    """One SVG for each tab, and one of a job's story."""
    source = RedisSource(scene.engine, "redis", lambda *_, **__: None)
    (gateway,) = [one for one in scene.processes.started if one.name == "gateway"]
    url = (await gateway.record_of("gateway is ready"))["url"]
    app = Top(source, State(where="redis"), gateway=url)
    async with app.run_test(size=size) as pilot:
        await pilot.pause(SETTLE_S)
        for number, tab in enumerate(TABS, 1):
            await pilot.press(str(number))
            await pilot.pause(LOOK_S)
            if tab is Tab.DEAD:
                await pilot.press("enter", "j", "j")
            await pilot.pause(0.5)
            write(app, folder / f"top-{tab}.svg")
        await pilot.press("2", "slash", *"retry:", "enter")
        await pilot.pause(LOOK_S)
        await pilot.press("enter")
        await pilot.pause(LOOK_S)
        write(app, folder / "top-story.svg")


def write(app: Top, path: Path) -> None:
    """Write what the screen shows."""
    path.write_text(app.export_screenshot(title="roughneck top", simplify=True), "utf-8")
    print(path)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=FOLDER)
@click.option("--width", default=SIZE[0], show_default=True)
@click.option("--height", default=SIZE[1], show_default=True)
@click.option("--hold", is_flag=True, help="Take no pictures: wait, with everything running.")
def main(folder: Path, width: int, height: int, *, hold: bool) -> None:
    """Take the pictures of `roughneck top` under a real load."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["ROUGHNECK_PROCESSORS__FOLDERS"] = str(PROCESSORS)
    uvloop.run(run(folder, (width, height), hold=hold))


if __name__ == "__main__":
    main()
