"""A Redis with something of everything, and the terminal UI over it as a person sees it."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from redis.asyncio import Redis
from rich.console import Console
from textual.pilot import Pilot

from gateway.flow_checks import unserved
from gateway.planning import Catalog, flow_job
from gateway.schemas import PayloadSchemas
from gateway.submission import Origin
from gateway.wire_flows import FlowRequest, StageRequest
from ops.links import Engine, engine_over
from ops.settings import Settings
from ops.tui.app import Top
from ops.tui.from_redis import RedisSource
from ops.tui.source import Source
from ops.tui.state import State
from streams.deliveries import DeadDelivery
from streams.directory import Endpoint, WorkerCard
from streams.model import (
    Again,
    CallbackRequest,
    Dead,
    Done,
    Fault,
    Lease,
    Settlement,
    Verdict,
)
from streams.model import State as JobState
from tests.http.edge import card
from tests.support.build import Hand, new_job
from tests.support.schedules import schedule
from tests.support.waiting import until

BOOM, SLOW = Fault("boom", "it broke in two"), Fault("timed_out", "ran longer than 60 s")
WORKER = WorkerCard(
    id="mac-77-abc",
    host="mac",
    pid=77,
    version="1.2.3",
    pools={"ollama": "ollama@mac"},
    slots={"ollama": 1},
    running={"ollama": 0},
    processors=("ask",),
    models=("llama", "qwen"),
    resident="llama",
)
LIMIT_S = 20.0  # a screen is drawn in one process with all that it shows, on a busy machine
HOOK = CallbackRequest("https://app.example/hook", "ep_1")


class Ids(msgspec.Struct):
    """What there is, by what it is for."""

    waiting: list[str]
    delayed: str
    retrying: str
    dead: list[str]
    slow: str
    active: str
    told: str
    flow: str


async def everything(engine: Engine) -> Ids:
    """Jobs in every state, a callback that is dead, a schedule, a flow, a worker."""
    broker, hand = engine.broker, Hand(engine.broker)
    await engine.directory.publish_processor(card())
    now_ms = await engine.schedules.now_ms()
    await engine.directory.announce_worker(msgspec.structs.replace(WORKER, seen_ms=now_ms))

    async def end(verdict: Verdict, **fields: Any) -> str:
        job = new_job(**fields)
        await broker.submit([job])
        (lease,) = await hand.take()
        await settled(engine, hand, lease, verdict)
        return job.id

    dead = [await end(Dead(BOOM)) for _ in range(2)]
    slow = await end(Dead(SLOW))
    told = await end(Done(b'{"said":"hi"}'), callback=HOOK, tags=("order-17",))
    retrying = await end(Again(600_000, SLOW))
    await _give_up_callback(engine)
    active, delayed = new_job(), new_job(delay_ms=600_000)
    await broker.submit([active, delayed])
    await hand.take()
    waiting = [new_job(app="web") for _ in range(3)]
    asked = new_job(resource_class="ollama", processor="ask", model="qwen")
    await broker.submit([*waiting, asked])
    await engine.schedules.create(schedule("nightly", "etyde"))
    ids = [job.id for job in waiting]
    flow = await submit_flow(engine)
    return Ids(ids, delayed.id, retrying, dead, slow, active.id, told, flow)


async def settled(engine: Engine, hand: Hand, lease: Lease, verdict: Verdict) -> None:
    await engine.broker.settle(hand.id, [Settlement(lease.job_id, lease.token, verdict)])


async def _give_up_callback(engine: Engine) -> None:
    events = (JobState.SUCCEEDED,)
    await engine.callbacks.endpoints.put(
        Endpoint("ep_1", "etyde", "https://app.example/", (), events, 1)
    )
    (lease,) = (await engine.callbacks.take("courier-a", 1, 10)).leases
    await engine.callbacks.settle(lease.id, lease.token, DeadDelivery("it said 410", 410))


async def submit_flow(engine: Engine) -> str:
    stages = (
        StageRequest("gather", "echo", payload={"text": "a"}),
        StageRequest("sum-up", "echo", after=("gather",), payload={"text": "b"}),
    )
    catalog = Catalog({"echo": card()}, {}, {}, PayloadSchemas())
    plan = flow_job(FlowRequest(stages=stages), Origin("etyde", "", 1), catalog)
    assert unserved(plan.stages, []) != []
    await engine.broker.submit([plan.job])
    return plan.job.id


def engine_of(redis: "Redis") -> Engine:
    return engine_over(redis, Settings())


class Screen:
    """The terminal: keys in, text out."""

    def __init__(self, app: Top, pilot: "Pilot[None]") -> None:
        self.app = app
        self.pilot = pilot

    @property
    def text(self) -> str:
        """What is on the screen, line by line."""
        width, height = self.app.size
        console = Console(
            file=io.StringIO(), width=width, height=height, record=True, color_system=None
        )
        console.print(self.app.screen._compositor.render_update(full=True))
        return console.export_text()

    def line(self, *words: str) -> str:
        """The first line that has all these words, empty where there is none."""
        return next((one for one in self.text.splitlines() if all(w in one for w in words)), "")

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def sees(self, *words: str) -> str:
        """Wait for a line with these words; the line."""

        async def look() -> str:
            await self.pilot.pause()
            return self.line(*words)

        try:
            return await until(look, what=f"{words} on the screen", limit_s=LIMIT_S)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.text}") from None

    async def misses(self, *words: str) -> None:
        """Wait until no line has these words."""

        async def look() -> bool:
            await self.pilot.pause()
            return not self.line(*words)

        await until(look, what=f"{words} to be gone from\n{self.text}", limit_s=LIMIT_S)


@asynccontextmanager
async def shown(
    source: Source, *, size: tuple[int, int] = (140, 40), every: float = 0.1, **state: Any
) -> AsyncIterator[Screen]:
    """The terminal UI over a source, which looks again ten times a second."""
    app = Top(source, State(where=source.where, **state), every_s=every)
    async with app.run_test(size=size) as pilot:
        yield Screen(app, pilot)


def source_of(engine: Engine, noted: list[Any] | None = None) -> RedisSource:
    """Redis as the source; what is done is noted."""

    def note(action: str, subject: str, **fields: object) -> None:
        if noted is not None:
            noted.append((action, subject))

    return RedisSource(engine, "redis", note)
