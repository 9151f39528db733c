"""The client's flows, and the examples of docs/flows.md, on a gateway with a worker."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from redis.asyncio import Redis

from gateway.app import build_app
from gateway.client import AsyncClient, Client, Refused
from processors.builtin.echo import echo
from processors.dependencies.flows import FlowsProvider
from processors.sdk.declaration import Processor
from processors.sdk.flows import discover_flows, flow_card
from processors.sdk.host import Host
from processors.sdk.registry import Registry
from streams.broker import Broker
from streams.directory import Directory
from streams.flow_record import FlowState, StageState
from streams.flow_view import FlowReader
from streams.flows import FlowStore
from streams.model import ResourceClass, State
from tests.http.edge import KEYS, Edge
from tests.http.served import Served
from tests.http.staged import Act, ad_hoc, publish, working
from tests.processors.support import processor_of
from tests.support.plain_worker import plain_worker

PAGE = (Path(__file__).parents[2] / "docs" / "flows.md").read_text("utf-8")
JSON = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def client_of(edge: Edge) -> AsyncClient:
    transport = httpx.ASGITransport(app=build_app(edge.parts))
    return AsyncClient(
        "http://gateway", edge.keys["app"], http=httpx.AsyncClient(transport=transport)
    )


async def test_a_flow_by_the_async_client(edge: Edge, redis_url: str) -> None:
    Act.reset()
    await publish(edge)
    Act.failing = {2}
    async with client_of(edge) as client, working(edge, redis_url):
        accepted = await client.flow(ad_hoc()["stages"], {"count": 3, "site": "s"}, tags=["t"])
        assert (accepted.created, accepted.warnings) == (True, ())
        dead = await client.flow_view(accepted.id, wait_s=20)
        assert (dead.state, dead.tags) == (FlowState.DEAD, ("t",))
        Act.failing = set()
        assert (await client.retry_flow(accepted.id)).id == accepted.id
        done = await client.wait(accepted.id, 20)
        assert done.state is State.SUCCEEDED
        view = await client.flow_view(accepted.id, wait_s=1)
        assert [stage.state for stage in view.stages] == [StageState.SUCCEEDED] * 3
        assert msgspec.json.decode(view.result) == await client.result(accepted.id)
        (listed,) = (await client.flows(state="succeeded")).items
        assert listed.id == accepted.id
        with pytest.raises(Refused) as refused:
            await client.cancel_flow(accepted.id)
        assert refused.value.code == "wrong_state"
        with pytest.raises(Refused) as refused:
            await client.flow("nowhere")
        assert refused.value.code == "unknown_processor"


@contextlib.asynccontextmanager
async def running(redis: Redis, url: str, processors: Sequence[Processor]) -> AsyncIterator[None]:
    """A worker of these processors, which it has published."""
    broker, directory = Broker(redis, KEYS), Directory(redis, KEYS)
    registry = Registry(processors)
    for card in registry.cards({}, 1):
        await directory.publish_processor(card)
    flows = FlowsProvider(FlowStore(redis, broker), FlowReader(redis, KEYS), directory)
    slots = {ResourceClass.IO: 4, ResourceClass.CPU: 2}
    names = [one.name for one in registry]
    async with (
        Host(registry, [flows]) as host,
        plain_worker(broker, url, host.run, slots=slots, processors=names),
    ):
        yield


async def test_the_first_flow_of_the_page_runs(edge: Edge, redis: Redis, redis_url: str) -> None:
    (body,) = JSON
    async with running(redis, redis_url, [processor_of(echo)]):
        await edge.parts.processors.refresh()  # the fixture's echo is another
        headers = {"prefer": "wait=20"}
        reply = await edge.post("/v1/flows", msgspec.json.decode(body), headers=headers)
    assert reply.status_code == 200, reply.text
    assert reply.json()["result"]["message"] == "Bo"


async def test_the_code_of_the_page_is_found_and_runs(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    named, adding, calling = PYTHON
    (tmp_path / "count_texts.py").write_text(named)
    (tmp_path / "plan_site.py").write_text(adding)
    found = [
        one
        for name in ("words-of", "sum-of", "plan-site")
        if (one := Registry.discover([tmp_path]).get(name)) is not None
    ]
    (flow,) = [one for one in discover_flows([tmp_path]) if one.name == "count-texts"]
    await Directory(redis, KEYS).publish_flow(flow_card(flow, 1))
    async with (
        Redis.from_url(redis_url) as reading,
        running(redis, redis_url, found),
        Served(redis, reading) as served,
    ):
        printed: list[tuple[Any, ...]] = []
        code = calling.replace("http://127.0.0.1:8470", served.server.url)
        names = {"key": served.key, "print": lambda *what: printed.append(what)}
        await asyncio.to_thread(exec, code, names)
        assert printed == [
            (State.SUCCEEDED, 6),
            ("count", StageState.SUCCEEDED),
            ("sum", StageState.SUCCEEDED),
        ]
        stages = [
            {"name": "plan", "processor": "plan-site", "payload": {"pages": ["a b", "c"]}},
            {
                "name": "end",
                "processor": "sum-of",
                "after": ["plan"],
                "payload": {"counts": [1]},
            },
        ]
        with Client(served.server.url, served.key) as client:
            accepted = await asyncio.to_thread(client.flow, stages)
            view = await asyncio.to_thread(client.flow_view, accepted.id, 20)
        assert {stage.name for stage in view.stages} == {"plan", "end", "page-0", "page-1"}
        assert view.state is FlowState.SUCCEEDED
