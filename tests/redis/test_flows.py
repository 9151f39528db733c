"""Flows in the engine: stages start when those before them have ended, whoever ends them."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from streams.attempt import Attempt
from streams.broker import Broker
from streams.errors import Rejected
from streams.flow import Each, Limits, OnFailure, PlannedFlow, PlannedStage, stage_job
from streams.inspector import Inspector
from streams.keyspace import FLOW
from streams.model import NewJob, State
from tests.redis.scenes import KEYS
from tests.redis.stage import ended
from tests.support.build import lane, new_job
from tests.support.plain_worker import plain_worker
from tests.support.waiting import until

ONCE = Limits(attempts_max=1)


def stage(name: str, *after: str, payload: Any = None, **fields: Any) -> PlannedStage:
    return PlannedStage(name, lane(), ONCE, after=after, payload=payload, **fields)


def flow(*stages: PlannedStage, **fields: Any) -> NewJob:
    planned = PlannedFlow(stages, **fields)
    return new_job(msgspec.json.encode(planned), processor=FLOW)


async def act(attempt: Attempt) -> bytes:
    """Returns its input, or does what the input says."""
    given = msgspec.json.decode(attempt.payload)
    if given == "fail" or (isinstance(given, dict) and given.get("fail")):
        raise Rejected("as told")
    return attempt.payload


async def over(redis: "Redis", inspector: Inspector, flow_id: str, limit_s: float = 10) -> State:
    """How a flow ended, once nothing of it is left to do."""
    job = await ended(inspector, flow_id, limit_s)

    async def done() -> bool:
        return not await redis.exists(KEYS.key("flow_steps"), KEYS.key("flow_fans"))

    await until(done, what="the flow's last steps")
    assert await inspector.audit() == []
    return job.state


async def result(inspector: Inspector, job_id: str) -> Any:
    raw = await inspector.result(job_id)
    return None if raw is None else msgspec.json.decode(raw)


async def states(inspector: Inspector, flow_id: str, names: Sequence[str]) -> dict[str, str]:
    jobs = await inspector.jobs_by_id([stage_job(flow_id, name) for name in names])
    return {job.stage: str(job.state) for job in jobs}


async def test_results_travel_along_a_sequence(
    redis: "Redis", redis_url: str, broker: Broker, inspector: Inspector
) -> None:
    job = flow(
        stage("first", payload={"n": {"$input": "/n"}}),
        stage("second", "first", payload=[{"$result": "first", "path": "/n"}, 2]),
        stage("third", "second", payload={"all": {"$result": "second"}}),
        input={"n": 1},
        result="third",
    )
    async with plain_worker(broker, redis_url, act):
        await broker.submit([job])
        assert await over(redis, inspector, job.id) is State.SUCCEEDED
    assert await result(inspector, job.id) == {"all": [1, 2]}


@pytest.mark.parametrize("count", [0, 1, 7, 250])
async def test_a_list_is_fanned_out_and_joined(
    redis: "Redis", redis_url: str, broker: Broker, inspector: Inspector, count: int
) -> None:
    job = flow(
        stage("list", payload={"$input": ""}),
        stage("each", "list", payload={"page": {"$item": ""}}, each=Each("list")),
        stage("join", "each", payload={"$result": "each"}),
        input=list(range(count)),
        result="join",
    )
    async with plain_worker(broker, redis_url, act):
        await broker.submit([job])
        assert await over(redis, inspector, job.id, 20) is State.SUCCEEDED
    assert await result(inspector, job.id) == [{"page": number} for number in range(count)]


def chain(policy: OnFailure, what: Any) -> NewJob:
    return flow(
        stage("before", payload=1),
        stage("odd", "before", payload=what, on_failure=policy),
        stage("after", "odd", payload=[{"$result": "odd"}]),
        stage("last", "after", payload=[{"$result": "after"}], on_failure=OnFailure.CONTINUE),
        stage("beside", "before", payload=2),
        stage("end", "last", "beside", payload=[{"$result": "last"}, {"$result": "beside"}]),
        result="end",
    )


@pytest.mark.parametrize(
    ("policy", "flow_ends", "stages", "gives"),
    [
        (
            OnFailure.FAIL,
            State.DEAD,
            {"odd": "dead", "after": "cancelled", "end": "cancelled"},
            None,
        ),
        (OnFailure.CONTINUE, State.SUCCEEDED, {"odd": "dead", "after": "succeeded"}, [[[None]], 2]),
        (OnFailure.SKIP, State.SUCCEEDED, {"odd": "dead", "after": "cancelled"}, [None, 2]),
    ],
)
async def test_a_failed_stage_means_what_its_policy_says(
    redis: "Redis",
    redis_url: str,
    broker: Broker,
    inspector: Inspector,
    policy: OnFailure,
    flow_ends: State,
    stages: dict[str, str],
    gives: Any,
) -> None:
    job = chain(policy, "fail")
    async with plain_worker(broker, redis_url, act):
        await broker.submit([job])
        assert await over(redis, inspector, job.id) is flow_ends
    found = await states(inspector, job.id, ["before", "odd", "after", "last", "beside", "end"])
    assert {name: found[name] for name in stages} == stages
    assert await result(inspector, job.id) == gives
