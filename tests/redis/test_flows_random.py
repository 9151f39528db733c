"""Random flows with random endings on two workers, of which one stops: all end, joins are exact.

`python -m tests.redis.test_flows_random --flows 1000 --seed 7` runs more of them.
"""

import argparse
import asyncio
import random
from collections import Counter
from typing import Any

import msgspec
from redis.asyncio import Redis

from ops.redis_binary import installed
from streams.attempt import Attempt
from streams.broker import Broker
from streams.errors import Rejected, Retry
from streams.flow import Each, Limits, OnFailure, PlannedFlow, PlannedStage
from streams.inspector import Inspector
from streams.keyspace import FLOW, Keyspace
from streams.model import NewJob, State
from tests.support.build import lane, new_job
from tests.support.plain_worker import client, plain_worker
from tests.support.redis_server import RedisServer
from tests.support.waiting import until

KEYS = Keyspace()
FLOWS = 60
GOOD, BAD = "good", "bad"


class Plan(msgspec.Struct, frozen=True):
    """A flow, and how each of its stages is going to end when it is run."""

    job: NewJob
    stages: tuple[PlannedStage, ...]
    fails: frozenset[str]  # a stage, or `stage:index`
    lists: dict[str, int]


def drawn(rng: random.Random) -> Plan:
    """A flow of up to twelve stages; a third of them fan out, some fail, some are tried again."""
    stages: list[PlannedStage] = []
    fails, lists = set[str](), dict[str, int]()
    for number in range(rng.randint(1, 12)):
        name = f"s{number}"
        before = [each.name for each in stages]
        parents = tuple(rng.sample(before, min(len(before), rng.randint(0, 3))))
        policy = rng.choice(
            [OnFailure.FAIL, OnFailure.CONTINUE, OnFailure.SKIP, OnFailure.CONTINUE]
        )
        count = rng.choice([0, 1, 2, 5, 130]) if rng.random() < 0.3 else None
        if count is not None:
            lists[name] = count
        ends = [name] if count is None else [f"{name}:{index}" for index in range(count)]
        fails |= {
            each for each in ends if rng.random() < (0.1 if count is None else 0.5 / (count + 1))
        }
        said: dict[str, Any] = {"fails": sorted(fails & set(ends)), "again": rng.random() < 0.1}
        said |= {parent: {"$result": parent} for parent in parents}
        stages.append(
            PlannedStage(
                name,
                lane(priority=rng.choice(["high", "normal", "low"])),
                Limits(attempts_max=3, backoff_ms=1, backoff_max_ms=2),
                after=parents,
                payload=said | ({"index": {"$item": ""}} if count is not None else {}),
                each=None if count is None else Each(path=f"/{name}"),
                on_failure=policy,
            )
        )
    given = {name: list(range(count)) for name, count in lists.items()}
    planned = PlannedFlow(tuple(stages), input=given, result=stages[-1].name)
    job = new_job(msgspec.json.encode(planned), processor=FLOW)
    return Plan(job, tuple(stages), frozenset(fails), lists)


def expected(plan: Plan) -> tuple[State, dict[str, str]]:
    """How the flow ends, and how each stage does where nothing stops the flow."""
    ends: dict[str, str] = {}
    goes: dict[str, bool] = {}
    for stage in plan.stages:
        if not all(goes[parent] for parent in stage.after):
            ends[stage.name] = "skipped"
        else:
            jobs = (
                [stage.name]
                if stage.each is None
                else [f"{stage.name}:{index}" for index in range(plan.lists[stage.name])]
            )
            bad = any(job in plan.fails for job in jobs)
            ends[stage.name] = BAD if bad else GOOD
            if bad and stage.on_failure is OnFailure.FAIL:
                return State.DEAD, {}
        goes[stage.name] = ends[stage.name] == GOOD or stage.on_failure is OnFailure.CONTINUE
    return State.SUCCEEDED, ends


class Ledger:
    """What ran, kept apart from the platform's own counters."""

    def __init__(self) -> None:
        self.ran = Counter[str]()
        self.succeeded = Counter[tuple[str, str]]()
        self.inputs: dict[tuple[str, str], Any] = {}

    async def act(self, attempt: Attempt) -> bytes:
        lease, given = attempt.lease, msgspec.json.decode(attempt.payload)
        self.ran[lease.job_id] += 1
        await asyncio.sleep(0)
        if given["again"] and lease.attempt == 1:
            raise Retry("once more", after_s=0.001)
        if lease.stage in given["fails"]:
            raise Rejected("as drawn")
        self.succeeded[lease.flow, lease.stage] += 1
        self.inputs[lease.flow, lease.stage] = given
        return msgspec.json.encode(lease.stage)


async def played(redis: "Redis", url: str, plans: list[Plan], limit_s: float) -> Ledger:
    """Runs the flows with two workers, of which one is replaced amid work."""
    broker, inspector, ledger = Broker(redis, KEYS), Inspector(redis, KEYS), Ledger()
    jobs = [plan.job for plan in plans]
    open_ids = [job.id for job in jobs]

    async def ended() -> bool:
        for job_id in list(open_ids[:100]):
            job = await inspector.job(job_id)
            if job is None or not job.state.ended:
                return False
            open_ids.remove(job_id)
        left = await redis.exists(KEYS.key("flow_steps"), KEYS.key("flow_fans"))
        return not open_ids and not left

    async with plain_worker(broker, url, ledger.act, name="steady"):
        async with plain_worker(broker, url, ledger.act, name="leaves", grace_s=0.0):
            for start in range(0, len(jobs), 500):
                await broker.submit(jobs[start : start + 500])
            await until(lambda: len(ledger.ran) > len(jobs), what="some work", limit_s=limit_s)
        await until(ended, what="all flows to end", limit_s=limit_s)
    return ledger


async def judged(redis: "Redis", plans: list[Plan], ledger: Ledger) -> Counter[str]:
    """Compares every flow with what was to come of it; how many ended how."""
    inspector, outcomes = Inspector(redis, KEYS), Counter[str]()
    for plan in plans:
        state, ends = expected(plan)
        job = await inspector.job(plan.job.id)
        assert job is not None
        assert job.state is state, (plan.job.id, job.fault)
        outcomes[str(state)] += 1
        stored = await redis.hgetall(KEYS.key("flow_", plan.job.id))
        found = {
            key.decode()[2:]: value.decode().split()[1]
            for key, value in stored.items()
            if key.startswith(b"e:")
        }
        if state is State.SUCCEEDED:
            assert found == ends, plan.job.id
            _check_inputs(plan, ends, ledger)
        assert int(stored[b"open"]) == 0
    assert max(ledger.succeeded.values()) == 1  # each stage once in effect
    assert await inspector.audit() == []
    return outcomes


def _check_inputs(plan: Plan, ends: dict[str, str], ledger: Ledger) -> None:
    """A join was given exactly what its parents gave, null for those that failed."""

    def gave(name: str) -> Any:
        if name in plan.lists:
            ids = [f"{name}:{index}" for index in range(plan.lists[name])]
            return [None if each in plan.fails else each for each in ids]
        return name if ends[name] == GOOD else None

    for stage in plan.stages:
        if ends[stage.name] == GOOD and stage.each is None:
            given = ledger.inputs[plan.job.id, stage.name]
            for parent in stage.after:
                skipped = ends[parent] == "skipped"
                assert given[parent] == ([] if skipped and parent in plan.lists else gave(parent))


async def test_random_flows_all_end_as_their_plan_says(redis: "Redis", redis_url: str) -> None:
    rng = random.Random(20261123)
    plans = [drawn(rng) for _ in range(FLOWS)]
    outcomes = await judged(redis, plans, await played(redis, redis_url, plans, 60))
    assert len(outcomes) == 2


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    plans = [drawn(rng) for _ in range(options.flows)]
    for binary in installed():
        server = RedisServer(binary)
        try:
            async with client(server.url) as redis:
                ledger = await played(redis, server.url, plans, 600)
                outcomes = await judged(redis, plans, ledger)
        finally:
            server.stop()
        jobs, runs = len(ledger.ran), sum(ledger.ran.values())
        shown = f"{dict(outcomes)}, {jobs} jobs, {runs} runs"
        print(f"redis {binary.version}, seed {options.seed}: {shown}")


if __name__ == "__main__":
    asyncio.run(main())
