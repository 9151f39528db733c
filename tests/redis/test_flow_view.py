"""The read side of flows: states stage by stage, listings, results, what is forgotten."""

import asyncio
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from streams import flow_view
from streams.attempt import Attempt
from streams.broker import Broker
from streams.errors import Rejected, TooLarge
from streams.flow import Each, OnFailure, stage_job
from streams.flow_record import FlowRecord, FlowState
from streams.flow_view import FlowReader
from streams.inspector import Inspector
from streams.model import NewJob, State
from tests.redis.scenes import HOOK, KEYS
from tests.redis.stage import ended, in_state
from tests.redis.test_flow_items import ITEM, flow, stage
from tests.support.build import new_job
from tests.support.plain_worker import plain_worker
from tests.support.waiting import until


@pytest.fixture
def reader(redis: "Redis") -> FlowReader:
    return FlowReader(redis, KEYS)


class Gate:
    """Says its input back once it is open; fails for `bad`."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def __call__(self, attempt: Attempt) -> bytes:
        given = msgspec.json.decode(attempt.payload)
        if given == "bad":
            raise Rejected("as told")
        if given == "wait":
            attempt.progress(0.5, "half")
            await self.open.wait()
        return attempt.payload


def sample() -> NewJob:
    return flow(
        stage("first", payload="now"),
        stage("slow", "first", payload="wait"),
        stage("list", "first", payload=ITEM, each=Each(), on_failure=OnFailure.SKIP),
        stage("skipped", "list", payload="never"),
        stage("fanless", "slow", payload=ITEM, each=Each(), on_failure=OnFailure.CONTINUE),
        stage("last", "skipped", "fanless", payload="now", on_failure=OnFailure.CONTINUE),
        input=["a", "bad", "c"],
        result="fanless",
        name="sample",
    )


async def seen(reader: FlowReader, inspector: Inspector, job_id: str) -> FlowRecord:
    job = await inspector.job(job_id)
    assert job is not None
    return await reader.flow(job)


def states(record: FlowRecord) -> dict[str, str]:
    return {one.plan.name: str(one.state) for one in record.stages}


async def test_a_flow_is_seen_at_every_moment_of_its_life(
    redis: "Redis", redis_url: str, broker: Broker, inspector: Inspector, reader: FlowReader
) -> None:
    job, gate = sample(), Gate()
    await broker.submit([job])
    submitted = await seen(reader, inspector, job.id)
    assert submitted.summary.state is FlowState.WAITING
    assert (submitted.summary.name, submitted.summary.stages_left) == ("sample", 6)
    assert set(states(submitted).values()) == {"blocked"}
    async with plain_worker(broker, redis_url, gate):
        await in_state(inspector, stage_job(job.id, "slow"), State.ACTIVE)

        async def settled() -> Any:
            record = await seen(reader, inspector, job.id)
            slow = record.stages[1].job
            shown = states(record)["skipped"] == "skipped" and slow and slow.progress
            return record if shown else None

        record = await until(settled, what="the list to fail and the progress to show")
        assert record.summary.state is FlowState.RUNNING
        assert states(record) == {
            "first": "succeeded",
            "slow": "active",
            "list": "dead",
            "skipped": "skipped",
            "fanless": "blocked",
            "last": "blocked",
        }
        assert record.deadline_ms == 0  # this flow has none
        items = record.stages[2].items
        assert items is not None
        assert items.states == {"succeeded": 2, "dead": 1}
        assert items.fault is not None
        assert items.fault.message == "list:1: as told"
        assert 0 < items.started_ms <= items.ended_ms
        gate.open.set()
        await ended(inspector, job.id)
    record = await seen(reader, inspector, job.id)
    assert record.summary.state is FlowState.SUCCEEDED
    assert states(record)["fanless"] == "dead"
    assert states(record)["last"] == "skipped"  # it comes after a stage that was skipped


async def test_a_result_of_many_jobs_is_their_list(
    redis: "Redis",
    redis_url: str,
    broker: Broker,
    inspector: Inspector,
    reader: FlowReader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = flow(
        stage("list", payload=ITEM, each=Each(), on_failure=OnFailure.CONTINUE),
        input=["a", "bad", {"c": 1.0}],
        result="list",
    )
    job = msgspec.structs.replace(job, callback=HOOK)
    async with plain_worker(broker, redis_url, Gate()):
        await broker.submit([job])
        done = await ended(inspector, job.id)
    assert await reader.result(done) == b'["a",null,{"c":1.0}]'
    [told] = [key async for key in redis.scan_iter("{rn}:callback:*")]
    result, size = await redis.hmget(told, "result", "size")
    assert result == b""  # a link, since the callback is written before the list is put together
    assert int(size) > broker.settings.callback_inline_max_bytes
    monkeypatch.setattr(flow_view, "RESULT_MAX_BYTES", 3)
    with pytest.raises(TooLarge):
        await reader.result(done)


async def test_a_stopped_flow_says_so_and_what_never_began(
    redis: "Redis", redis_url: str, broker: Broker, inspector: Inspector, reader: FlowReader
) -> None:
    job, gate = sample(), Gate()
    async with plain_worker(broker, redis_url, gate):
        await broker.submit([job])
        await in_state(inspector, stage_job(job.id, "slow"), State.ACTIVE)
        await broker.cancel(job.id, "enough")
        await ended(inspector, job.id)
    record = await seen(reader, inspector, job.id)
    assert record.summary.state is FlowState.CANCELLED
    assert {states(record)[name] for name in ("slow", "fanless", "last")} == {"cancelled"}


async def test_listings_are_by_app_and_state_and_go_on_where_they_stopped(
    redis: "Redis", broker: Broker, reader: FlowReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_view, "SCAN_MAX", 7)
    jobs = [flow(stage("one"), name=f"f{number}") for number in range(10)]
    others = [new_job(job.payload, app="govejle", processor="flow") for job in jobs[:3]]
    for job in [*jobs, *others]:
        await broker.submit([job])
    await broker.cancel(jobs[4].id)

    async def walk(apps: list[str], state: FlowState | None, limit: int) -> list[str]:
        found, cursor, pages = [], "", 0
        while True:
            page = await reader.flows(apps, state, cursor, limit)
            found += [one.job.id for one in page.items]
            cursor, pages = page.cursor, pages + 1
            if not cursor:
                return found
            assert pages < 50

    own = {job.id for job in jobs}
    for limit in (1, 3, 10, 50):
        assert set(await walk(["etyde"], None, limit)) == own
        assert len(await walk(["etyde"], None, limit)) == 10
        assert len(await walk(["etyde", "govejle"], None, limit)) == 13
        assert await walk(["etyde"], FlowState.CANCELLED, limit) == [jobs[4].id]
    with pytest.raises(ValueError, match="invalid literal"):
        await reader.flows(["etyde"], None, "no cursor")


async def test_a_flow_is_forgotten_once_its_record_is_gone_and_not_before(
    redis: "Redis", broker: Broker
) -> None:
    kept, gone = flow(stage("one")), flow(stage("one"))
    key = KEYS.key("flows_", "etyde")
    await broker.submit([kept, gone])
    await redis.zadd(key, {kept.id: 1, gone.id: 1})
    await broker.cancel(gone.id)
    await redis.delete(KEYS.job(gone.id))
    await broker.trim()
    assert await redis.zrange(key, 0, -1) == [kept.id.encode()]
