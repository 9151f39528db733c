"""Processors for flows, and a real worker in process that runs them for a started gateway."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from processors.dependencies.flows import FlowsProvider
from processors.sdk import Context, Each, Flows, Manifest, NamedFlow, Rejected, Stage, processor
from processors.sdk.flows import flow_card
from processors.sdk.host import Host
from processors.sdk.registry import Registry
from streams.directory import WorkerCard
from streams.flow_view import FlowReader
from streams.flows import FlowStore
from streams.model import ResourceClass
from streams.worker import Worker
from tests.http.edge import KEYS, Edge
from tests.processors.support import processor_of
from tests.support.plain_worker import client, plain_worker


class Act:
    """What a test makes of the running processors; `reset` before each."""

    failing: set[int]
    hold: asyncio.Event
    ran: list[str]

    @classmethod
    def reset(cls) -> None:
        cls.failing, cls.hold, cls.ran = set(), asyncio.Event(), []
        cls.hold.set()


class Page(msgspec.Struct):
    url: str
    number: int


class ListIn(msgspec.Struct, forbid_unknown_fields=True):
    """How many pages there are."""

    count: int
    site: str = "example.org"


class ListOut(msgspec.Struct):
    pages: list[Page]
    title: str
    more: str | None = None


class ReadIn(msgspec.Struct, forbid_unknown_fields=True):
    url: str
    number: int = 0


class ReadOut(msgspec.Struct):
    text: str
    words: int


class JoinIn(msgspec.Struct, forbid_unknown_fields=True):
    title: str
    parts: list[ReadOut | None]


class JoinOut(msgspec.Struct):
    title: str
    words: int
    missing: int


class PlanIn(msgspec.Struct):
    names: list[str]
    before: str = ""


@processor(Manifest(name="list-pages", version="1", summary="Lists pages."))
async def list_pages(given: ListIn) -> ListOut:
    Act.ran.append("list")
    await Act.hold.wait()
    return ListOut([Page(f"http://{given.site}/{n}", n) for n in range(given.count)], "Pages")


@processor(Manifest(name="read-page", version="1", summary="Reads one.", attempts_max=1))
async def read_page(given: ReadIn) -> ReadOut:
    Act.ran.append(f"read {given.number}")
    await Act.hold.wait()
    if given.number in Act.failing:
        raise Rejected("cannot be read")
    return ReadOut(given.url, given.number)


@processor(Manifest(name="join-pages", version="1", summary="Joins what was read."))
async def join_pages(given: JoinIn) -> JoinOut:
    Act.ran.append("join")
    read = [one for one in given.parts if one is not None]
    return JoinOut(given.title, sum(one.words for one in read), len(given.parts) - len(read))


@processor(
    Manifest(name="plan-pages", version="1", summary="Adds stages.", dependencies=("flows",))
)
async def plan_pages(given: PlanIn, context: Context) -> int:
    before = (given.before,) if given.before else ()
    stages = [
        Stage(name, "read-page", payload={"url": name, "number": n}, before=before)
        for n, name in enumerate(given.names)
    ]
    await context.need("flows", Flows).add(*stages)
    return len(stages)


WEEKLY = NamedFlow(
    name="weekly",
    version="1",
    summary="All pages of a site, read and joined.",
    input=ListIn,
    stages=(
        Stage(
            "list",
            "list-pages",
            payload={"count": {"$input": "/count"}, "site": {"$input": "/site"}},
        ),
        Stage(
            "read",
            "read-page",
            each=Each("list", "/pages"),
            payload={"url": {"$item": "/url"}, "number": {"$item": "/number"}},
        ),
        Stage(
            "join",
            "join-pages",
            payload={"title": {"$result": "list", "path": "/title"}, "parts": {"$result": "read"}},
        ),
    ),
)
PROCESSORS = [processor_of(one) for one in (list_pages, read_page, join_pages, plan_pages)]


async def publish(edge: Edge) -> None:
    directory = edge.parts.directory
    for card in Registry(PROCESSORS).cards({}, 1):
        await directory.publish_processor(card)
    await directory.publish_flow(flow_card(WEEKLY, 1))
    names = tuple(one.name for one in PROCESSORS)
    pools, slots = {"io": "io"}, {"io": 10}
    worker = WorkerCard("host-1-staged", "host", 1, "0", pools, slots, {}, (*names, "echo"))
    await directory.announce_worker(worker)


@contextlib.asynccontextmanager
async def working(
    edge: Edge, url: str, *, more: Sequence[Any] = (), name: str = "staged"
) -> AsyncIterator[Worker]:
    """A worker that runs these processors."""
    registry = Registry([*PROCESSORS, *more])
    async with client(url) as control:
        flows = FlowsProvider(
            FlowStore(control, edge.broker), FlowReader(control, KEYS), edge.parts.directory
        )
        async with Host(registry, [flows]) as host:
            names = [one.name for one in registry]
            slots = {ResourceClass.IO: 10}
            async with plain_worker(
                edge.broker, url, host.run, name=name, slots=slots, processors=names
            ) as worker:
                yield worker


def ad_hoc(**fields: Any) -> dict[str, Any]:
    """The flow `weekly` with its stages spelled out."""
    stages = [msgspec.json.decode(msgspec.json.encode(stage)) for stage in WEEKLY.stages]
    return {"stages": stages, "input": {"count": 3, "site": "s"}, **fields}


def one(*stages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"stages": list(stages), **fields}


READ = {"processor": "read-page", "payload": {"url": "u"}}


def read(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, **READ, **fields}


async def emptied(redis: Redis) -> bool:
    """Whether nothing of any flow is left to do."""
    return not await redis.exists(KEYS.key("flow_steps"), KEYS.key("flow_fans"))
