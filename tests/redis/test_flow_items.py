"""Flows in the engine: items of failed jobs, and retries that find other items or a later hour."""

from collections.abc import Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from streams.attempt import Attempt
from streams.broker import Broker, submit_row
from streams.errors import Rejected
from streams.flow import Each, Limits, OnFailure, PlannedFlow, PlannedStage, stage_job
from streams.flows import FlowStore
from streams.inspector import Inspector
from streams.keyspace import FLOW
from streams.model import Dead, NewJob, Parked, State
from tests.redis.scenes import FAULT, KEYS, settle
from tests.redis.stage import ended
from tests.support.build import PROCESSORS, Hand, lane, new_job
from tests.support.plain_worker import plain_worker

ONCE = Limits(attempts_max=1)
ITEM = {"$item": ""}


def stage(name: str, *after: str, payload: Any = None, **fields: Any) -> PlannedStage:
    return PlannedStage(name, lane(), ONCE, after=after, payload=payload, **fields)


def flow(*stages: PlannedStage, **fields: Any) -> NewJob:
    return new_job(msgspec.json.encode(PlannedFlow(stages, **fields)), processor=FLOW)


class Acting:
    """Says its input back; fails for the inputs in `bad`."""

    def __init__(self, *bad: Any) -> None:
        self.bad: Sequence[Any] = bad
        self.given: list[Any] = []

    async def __call__(self, attempt: Attempt) -> bytes:
        given = msgspec.json.decode(attempt.payload)
        self.given.append(given)
        if given in self.bad:
            raise Rejected("as told")
        return attempt.payload


def pages(policy: OnFailure = OnFailure.FAIL) -> NewJob:
    return flow(
        stage("fetch", payload={"page": ITEM}, each=Each(), on_failure=OnFailure.CONTINUE),
        stage("read", "fetch", payload=[ITEM], each=Each("fetch"), on_failure=policy),
        stage("all", "read", payload={"$result": "read"}),
        input=["a", "b", "c"],
        result="all",
    )


async def result(inspector: Inspector, job_id: str) -> Any:
    raw = await inspector.result(job_id)
    return None if raw is None else msgspec.json.decode(raw)


async def test_what_failed_is_no_item_of_the_next_fan_out_and_keeps_its_place(
    redis: "Redis", redis_url: str, broker: Broker, inspector: Inspector
) -> None:
    job, act = pages(), Acting({"page": "b"})
    async with plain_worker(broker, redis_url, act):
        await broker.submit([job])
        assert (await ended(inspector, job.id)).state is State.SUCCEEDED
    assert await result(inspector, job.id) == [[{"page": "a"}], None, [{"page": "c"}]]
    assert [given for given in act.given if given == [None]] == []
    assert await inspector.job(stage_job(job.id, "read", 1)) is None
    assert await inspector.audit() == []


async def test_a_retry_gives_an_item_what_there_is_now(
    redis: "Redis", redis_url: str, broker: Broker, inspector: Inspector
) -> None:
    """Items that were made of nothing, or of something else, are not run with what they had."""
    job, act = pages(), Acting({"page": "b"}, [{"page": "c"}])
    async with plain_worker(broker, redis_url, act):
        await broker.submit([job])
        assert (await ended(inspector, job.id)).state is State.DEAD
        act.bad = ()
        assert await broker.replay([job.id]) == ["replayed"]
        assert (await ended(inspector, job.id)).state is State.SUCCEEDED
    assert await result(inspector, job.id) == [[{"page": page}] for page in "abc"]
    assert act.given.count({"page": "a"}) == 1  # what succeeded stays
    assert await inspector.audit() == []


async def test_the_failures_of_a_fan_out_count_when_its_last_place_is_empty(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    """The job of the first item ends before the second, which is none, is looked at."""
    job = flow(
        stage("read", payload=[ITEM], each=Each(), on_failure=OnFailure.SKIP),
        stage("all", "read", payload={"$result": "read"}),
        result="all",
    )
    store, hand = FlowStore(redis, broker), Hand(broker, processors=(*PROCESSORS, FLOW))
    await broker.submit([job])
    [lease] = await hand.take()
    await store.plant(lease, job.payload)
    await settle(broker, lease, Parked())
    item = new_job(b'"a"', id=stage_job(job.id, "read", 0))
    expand = ("flow_expand", job.id, 0, "read", 2)
    assert await broker.scripts.run(*expand, 0, *submit_row(item)) == 1
    [lease] = await hand.take()
    await settle(broker, lease, Dead(FAULT))
    none = msgspec.structs.replace(item, id="")
    assert await broker.scripts.run(*expand, 1, *submit_row(none)) == 2
    assert (await ended(inspector, job.id)).state is State.SUCCEEDED
    last = await inspector.job(stage_job(job.id, "all"))
    assert last is not None
    assert last.fault is not None
    assert last.fault.code == "skipped"


async def test_a_retry_has_the_whole_deadline_again(
    redis: "Redis", redis_url: str, broker: Broker, inspector: Inspector
) -> None:
    job, act = flow(stage("one", payload="no"), deadline_s=60.0), Acting("no")
    async with plain_worker(broker, redis_url, act):
        await broker.submit([job])
        assert (await ended(inspector, job.id)).state is State.DEAD
        long_ago = int(await redis.hget(KEYS.job(job.id), "at")) - 3_600_000
        await redis.hset(KEYS.job(job.id), "at", str(long_ago))
        act.bad = ()
        await broker.replay([job.id])
        done = await ended(inspector, job.id)
    assert done.state is State.SUCCEEDED
    until_ms = await redis.zscore(KEYS.key("expiring"), job.id)
    assert until_ms is None or until_ms > done.ended_ms


async def test_what_a_stopped_flow_left_over_is_nothing_to_its_retry(
    redis: "Redis", broker: Broker
) -> None:
    many = [stage(f"s{n}") for n in range(150)]  # more than one call takes
    job = flow(*many, stage("fan", each=Each(path="/list")), input={"list": ["a"]})
    store, hand = FlowStore(redis, broker), Hand(broker, processors=(*PROCESSORS, FLOW))

    async def plant() -> None:
        [lease] = await hand.take()
        await store.plant(lease, job.payload)
        await settle(broker, lease, Parked())

    await broker.submit([job])
    await plant()
    await broker.cancel(job.id)
    assert await broker.scripts.run("flow_step", 1) == 1  # it has ended, and is not yet tidied up
    assert await redis.scard(KEYS.key("flow_fans")) == 1
    await broker.replay([job.id])
    await plant()
    await store.tick()
    for job_id in [stage_job(job.id, one.name) for one in many] + [stage_job(job.id, "fan", 0)]:
        key = KEYS.job(job_id)
        assert (await redis.hget(key, "state"), await redis.ttl(key)) == (b"waiting", -1)
    assert await redis.exists(KEYS.key("flow_steps"), KEYS.key("flow_fans")) == 0


async def test_a_flow_is_listed_from_its_submit_on(redis: "Redis", broker: Broker) -> None:
    job = flow(stage("one"))
    await broker.submit([job, new_job()])
    assert await redis.zrange(KEYS.key("flows_", job.lane.app), 0, -1) == [job.id.encode()]
