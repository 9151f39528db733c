"""The gateway in process over a real Redis, with keys, processors and a worker's hand."""

import contextlib
import tempfile
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
from redis.asyncio import Redis

from gateway.app import build_app
from gateway.auth import mint_key
from gateway.parts import GatewayParts, Stores
from gateway.sealing import Seals
from gateway.settings import GatewaySettings
from streams.broker import Broker
from streams.callbacks import CallbackStore
from streams.circumstances import CircumstanceReader
from streams.clock import SystemClock
from streams.control import Control
from streams.directory import Directory, ProcessorCard
from streams.events import EventReader
from streams.flow_view import FlowReader
from streams.inspector import Inspector
from streams.keyspace import Keyspace
from streams.learned import read_learned
from streams.model import Again, Dead, Done, Fault, Lease, ResourceClass, Settlement, Verdict
from streams.overview import OverviewReader
from streams.rates import RateStore
from streams.schedules import ScheduleStore
from streams.tokens import TokenReader
from streams.usage_sums import UsageSums
from streams.windows import WindowStore
from tests.support.build import Hand

KEYS = Keyspace()
CLOCK = SystemClock()


class Page(msgspec.Struct):
    url: str
    depth: int = 0


class EchoInput(msgspec.Struct, forbid_unknown_fields=True):
    """What the test's echo takes."""

    text: str
    pages: list[Page] = []
    times: int = 1


def card(name: str = "echo", kind: type = EchoInput, **fields: Any) -> ProcessorCard:
    given: dict[str, Any] = {
        "version": "1",
        "summary": "Says it again.",
        "resource_class": ResourceClass.IO,
        "model": "",
        "attempts_max": 3,
        "timeout_ms": 60_000,
        "backoff_ms": 1_000,
        "backoff_max_ms": 300_000,
        "input_schema": msgspec.Raw(msgspec.json.encode(msgspec.json.schema(kind))),
        "output_schema": msgspec.Raw(b"{}"),
        **fields,
    }
    return ProcessorCard(name=name, **given)


class Edge:
    """A started gateway, an HTTP client on it, and keys by what they may do."""

    def __init__(self, parts: GatewayParts, keys: dict[str, str]) -> None:
        self.parts = parts
        self.seals = parts.registrar.seals
        self.keys = keys
        self.broker = parts.broker
        self.hand = Hand(parts.broker)
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=build_app(parts)), base_url="http://localhost"
        )

    async def call(
        self, method: str, path: str, json: Any = None, *, key: str = "app", **given: Any
    ) -> httpx.Response:
        headers = dict(given.pop("headers", {}))
        if key:
            headers.setdefault("authorization", f"Bearer {self.keys.get(key, key)}")
        if json is not None:
            given["content"] = msgspec.json.encode(json)
            headers.setdefault("content-type", "application/json")
        return await self.http.request(method, path, headers=headers, **given)

    async def get(self, path: str, **given: Any) -> httpx.Response:
        return await self.call("GET", path, **given)

    async def post(self, path: str, json: Any = None, **given: Any) -> httpx.Response:
        return await self.call("POST", path, json, **given)

    async def submit(self, **given: Any) -> str:
        """Submit an echo job; its id."""
        key = given.pop("key", "app")
        reply = await self.post("/v1/jobs", echo(**given), key=key)
        assert reply.status_code == 202, reply.text
        return str(reply.json()["id"])

    async def take(self) -> Lease:
        (lease,) = await self.hand.take()
        return lease

    async def settle(self, lease: Lease, verdict: Verdict) -> None:
        await self.broker.settle(self.hand.id, [Settlement(lease.job_id, lease.token, verdict)])

    async def succeed(self, result: bytes = b'{"said":"hi"}') -> str:
        """Run the next job to its end; its id."""
        lease = await self.take()
        await self.settle(lease, Done(result))
        return lease.job_id

    async def die(self, code: str = "boom") -> str:
        """Make the next job a dead letter; its id."""
        lease = await self.take()
        await self.settle(lease, Dead(Fault(code, "it broke")))
        return lease.job_id

    async def fail(self) -> str:
        """Make the next job wait for another attempt; its id."""
        lease = await self.take()
        await self.settle(lease, Again(60_000, Fault("retry", "later")))
        return lease.job_id


def echo(**fields: Any) -> dict[str, Any]:
    return {"processor": "echo", "payload": {"text": "hi"}, **fields}


def stores(redis: Redis, reading: Redis) -> Stores:
    broker = Broker(redis, KEYS)
    return Stores(
        broker=broker,
        inspector=Inspector(redis, KEYS),
        directory=Directory(redis, KEYS),
        callbacks=CallbackStore(redis, KEYS),
        events=EventReader(reading, KEYS),
        tokens=TokenReader(reading, KEYS),
        rates=RateStore(redis, KEYS, broker.scripts),
        schedules=ScheduleStore(redis, KEYS, broker.scripts),
        flows=FlowReader(redis, KEYS),
        control=Control(redis, KEYS, broker.scripts),
        circumstances=CircumstanceReader(redis, KEYS),
        overview=OverviewReader(redis, KEYS),
        usage=UsageSums(redis, KEYS),
        windows=WindowStore(redis, KEYS),
        learned=partial(read_learned, redis, KEYS),
    )


async def make_keys(directory: Directory) -> dict[str, str]:
    """A key for each role: an app, its operator, another app, operators of all."""
    owners = {
        "app": ("etyde", ("submit", "read")),
        "reader": ("etyde", ("read",)),
        "app-operator": ("etyde", ("submit", "operate")),
        "other": ("govejle", ("submit", "read", "operate")),
        "operator": ("*", ("operate",)),
        "admin": ("*", ("admin",)),
        "app-admin": ("etyde", ("admin",)),
        "metrics": ("*", ("metrics",)),
    }
    keys = {}
    for role, (app, scopes) in owners.items():
        record, keys[role] = mint_key(app, scopes, now_ms=CLOCK.now_ms(), note=role)
        await directory.put_key(record)
    return keys


@contextlib.asynccontextmanager
async def started_edge(
    redis: Redis, redis_url: str, settings: GatewaySettings | None = None
) -> AsyncIterator[Edge]:
    async with Redis.from_url(redis_url) as reading:
        made = stores(redis, reading)
        keys = await make_keys(made.directory)
        await made.directory.publish_processor(card())
        seals = Seals(Path(tempfile.mkdtemp(prefix="rn-seals-")) / "secrets.key")
        seals.ensure()
        parts = GatewayParts(
            settings or GatewaySettings(), made, checks={"redis": redis.ping}, seals=seals
        )
        async with parts:
            edge = Edge(parts, keys)
            async with edge.http:
                yield edge
