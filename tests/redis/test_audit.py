"""The audit: counters beside structures at one moment; every job in its one place, or put there."""

import asyncio
import logging

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.metrics import GatewayMetrics
from streams.attempt import Attempt
from streams.audit import Audit, Misplaced
from streams.broker import Broker
from streams.flow import Limits, PlannedFlow, PlannedStage, stage_job
from streams.inspector import Inspector
from streams.keyspace import FLOW, lease_member
from streams.loops.auditor import HOLD_MS, Auditor
from streams.loops.sweeper import Sweeper
from streams.model import Dead, Done, Job, Lease, NewJob, ResourceClass, Settled, State
from tests.redis.scenes import FAULT, KEYS, events, leased, run_out, settle, state_of, succeed, told
from tests.redis.stage import ended, in_state
from tests.support.build import Hand, lane, new_job
from tests.support.plain_worker import plain_worker

LANE = "io:a:normal:echo:"
ROUNDS = 25
FINDINGS = KEYS.key("audit")


@pytest.fixture
def audit(redis: "Redis") -> Audit:
    return Audit(redis, KEYS)


async def walked(audit: Audit, *, mend: bool, keys: int = 50) -> list[Misplaced]:
    """What a whole walk finds."""
    found: list[Misplaced] = []
    cursor = -1
    while cursor:
        stretch = await audit.walk(max(cursor, 0), keys, mend=mend)
        found += stretch.misplaced
        cursor = stretch.cursor
    return found


async def one_of_each(broker: Broker) -> dict[State, NewJob]:
    """A job in every state that one can be in, each with a callback that it may owe."""
    jobs = {state: told(app="a") for state in (State.SUCCEEDED, State.DEAD, State.ACTIVE)}
    for name, (state, job) in enumerate(jobs.items()):
        lease = await leased(broker, job, f"w{name}")
        if state is State.SUCCEEDED:
            await succeed(broker, [lease])
        elif state is State.DEAD:
            await settle(broker, lease, Dead(FAULT))
    jobs[State.EXPIRED] = told(app="a", expires_at_ms=1)
    jobs[State.CANCELLED] = told(app="a")
    await broker.submit([jobs[State.EXPIRED], jobs[State.CANCELLED]])
    await broker.expire()
    await broker.cancel(jobs[State.CANCELLED].id)
    jobs[State.DELAYED] = told(app="a", delay_ms=60_000)
    jobs[State.WAITING] = told(app="a")
    await broker.submit([jobs[State.DELAYED], jobs[State.WAITING]])
    return jobs


async def entry_of(redis: "Redis", job: NewJob) -> str:
    return str((await redis.hget(KEYS.job(job.id), "entry")).decode())


async def damage(redis: "Redis", jobs: dict[State, NewJob], what: str) -> NewJob:
    """Break one thing, as an operator's hand might; the job that it concerns."""
    job = jobs[State(what.partition(":")[0])]
    entry, stream = await entry_of(redis, job) if "delayed" not in what else "", KEYS.stream(LANE)
    match what.partition(":")[2]:
        case "entry deleted":
            assert await redis.xdel(stream, entry) == 1
        case "entry acknowledged":
            assert await redis.xack(stream, "workers", entry) == 1
        case "entry read":
            assert await redis.xreadgroup("workers", "me", {stream: ">"}, count=100)
        case "entry read for good":
            await redis.xreadgroup("workers", "me", {stream: ">"}, count=100, noack=True)
        case "lease removed":
            await redis.delete(KEYS.key("leases_", "io"))
        case "not due":
            assert await redis.zrem(KEYS.key("due_", "io"), job.id) == 1
        case "due again":
            await redis.zadd(KEYS.key("due_", "io"), {job.id: 10**13})
        case "appended again":
            again = await redis.xadd(stream, {"j": job.id, "t": 0})
            await redis.hset(KEYS.job(job.id), "entry", again)
        case "leased again":
            await redis.hset(KEYS.job(job.id), "entry", "1-1")
            await redis.zadd(KEYS.key("leases_", "io"), {lease_member(LANE, "1-1"): 10**13})
        case "lane not listed":
            await redis.delete(KEYS.key("streams_", "io"))
        case "kept for ever":
            assert await redis.persist(KEYS.job(job.id)) == 1
        case other:
            raise AssertionError(other)
    return job


MENDABLE = {
    "waiting:entry deleted": "entry gone",
    "waiting:entry read": "entry pending",
    "waiting:entry read for good": "entry delivered",
    "waiting:lane not listed": "lane not listed",
    "active:entry deleted": "entry gone",
    "active:entry acknowledged": "entry not pending",
    "active:lease removed": "no lease",
    "delayed:not due": "not due",
    "succeeded:due again": "ended, is due",
    "succeeded:appended again": "ended, has an entry",
    "dead:leased again": "ended, has a lease",
    "dead:kept for ever": "no lifetime",
}


async def test_what_is_well_is_found_well(redis: "Redis", broker: Broker, audit: Audit) -> None:
    await one_of_each(broker)
    before = await state_of(redis)
    assert await audit.differences() == []
    assert await walked(audit, mend=True) == []
    assert await audit.drop_leases(ResourceClass.IO) == 0
    assert await state_of(redis) == before
    held = {(one.resource_class, one.what): one.held for one in await audit.balances()}
    assert held["io", "submitted"] == 7
    assert [held["io", each] for each in ("waiting", "active", "leased", "running", "delayed")] == (
        [1] * 5
    )
    assert (held["", "recorded"], held["", "waiting"]) == (4, 4)


@pytest.mark.may_leak
@pytest.mark.parametrize("what", MENDABLE)
async def test_a_job_out_of_its_place_is_found_and_put_back(
    redis: "Redis", broker: Broker, audit: Audit, what: str
) -> None:
    job = await damage(redis, await one_of_each(broker), what)
    broken = await state_of(redis)
    expected = Misplaced(job.id, MENDABLE[what], mended=False)
    assert expected in await walked(audit, mend=False)
    assert await state_of(redis) == broken
    mended = await walked(audit, mend=True)
    assert (MENDABLE[what], True) in {(one.what, one.mended) for one in mended}
    assert await walked(audit, mend=True) == []
    assert await audit.differences() == []
    assert (await audit.findings()).mended[MENDABLE[what]] >= 1


async def test_an_entry_id_that_was_given_again_is_the_new_jobs(
    redis: "Redis", broker: Broker, audit: Audit
) -> None:
    """A lane that is dropped and made anew within a millisecond gives the same id twice."""
    jobs = await one_of_each(broker)
    again = await entry_of(redis, jobs[State.ACTIVE])
    await redis.hset(KEYS.job(jobs[State.SUCCEEDED].id), "entry", again)
    before = await state_of(redis)
    assert await walked(audit, mend=True) == []
    assert await state_of(redis) == before


@pytest.mark.may_leak
@pytest.mark.parametrize(
    ("state", "key", "what"),
    [
        (State.SUCCEEDED, "result", "no result"),
        (State.SUCCEEDED, "callback_", "no callback"),
        (State.DEAD, "", "no error"),
    ],
)
async def test_an_end_that_lacks_what_it_promises_is_said(
    redis: "Redis", broker: Broker, audit: Audit, state: State, key: str, what: str
) -> None:
    job = (await one_of_each(broker))[state]
    if key == "callback_":
        for name in [each async for each in redis.scan_iter(match=KEYS.key(key, "*"))]:
            if await redis.hget(name, "job") == job.id.encode():
                await redis.delete(name)
    elif key:
        await redis.hdel(KEYS.job(job.id), "result")
    else:
        await redis.hdel(KEYS.job(job.id), "code")
    assert await walked(audit, mend=True) == [Misplaced(job.id, what, mended=False)]


@pytest.mark.may_leak
async def test_a_record_that_is_none_stops_no_walk(
    redis: "Redis", broker: Broker, audit: Audit
) -> None:
    await redis.set(KEYS.job("0-text"), "x")
    await redis.hset(KEYS.job("0-empty"), "state", "waiting")
    await redis.hset(KEYS.job("0-nowhere"), mapping={"state": "waiting", "lane": "nonsense"})
    found = {(one.job_id, one.what) for one in await walked(audit, mend=True)}
    assert found == {("0-text", "no record"), ("0-empty", "no lane"), ("0-nowhere", "no lane")}


@pytest.mark.parametrize("group", [True, False], ids=["", "group destroyed too"])
async def test_an_attempt_goes_on_when_its_entry_is_deleted_and_settles(
    redis: "Redis", broker: Broker, audit: Audit, *, group: bool
) -> None:
    job, beside = new_job(), new_job()
    lease = await leased(broker, job)
    await broker.submit([beside])
    await redis.xdel(KEYS.stream(lease.lane.name), lease.entry_id)
    if not group:
        await redis.xgroup_destroy(KEYS.stream(lease.lane.name), "workers")
    assert await audit.differences() != []
    assert [one.what for one in await walked(audit, mend=True)] == ["entry gone"]
    await Sweeper(broker, Inspector(redis, KEYS)).tick()
    assert await audit.differences() == []
    (other,) = await taken(broker, "other", 2)
    assert other.job_id == beside.id, "what is under way is not given to a second worker"
    renewed = await broker.renew("host-1-w", [(job.id, lease.token)], 30_000)
    assert (renewed.lost, renewed.cancel) == (frozenset(), frozenset())
    assert await settle(broker, lease, Done(b"1")) is Settled.SETTLED
    await succeed(broker, [other])
    assert await audit.differences() == []


async def taken(broker: Broker, name: str, slots: int) -> list[Lease]:
    """What a worker gets that asks twice: an entry that is no work costs one of its slots."""
    hand = Hand(broker, name)
    return [*await hand.take(slots), *await hand.take(slots)]


async def test_a_job_whose_entry_and_worker_are_gone_runs_again(
    redis: "Redis", broker: Broker, audit: Audit, inspector: Inspector
) -> None:
    job = new_job()
    lease = await leased(broker, job)
    await redis.xdel(KEYS.stream(lease.lane.name), lease.entry_id)
    await run_out(redis, lease)
    assert await taken(broker, "other", 1) == [], "a take cannot see a lease without an entry"
    assert await audit.drop_leases(ResourceClass.IO) == 1
    await walked(audit, mend=True)
    assert await audit.differences() == []
    (again,) = await taken(broker, "third", 1)
    assert (again.job_id, again.attempt) == (job.id, 2)
    found: Job | None = await inspector.job(job.id)
    assert found is not None
    assert found.crashes == 1
    assert await settle(broker, lease, Done(b"1")) is Settled.LOST
    await succeed(broker, [again])
    assert [event.kind for event in await events(redis) if event.kind == "ended"] == ["ended"]


async def test_a_busy_system_shows_no_difference(
    redis: "Redis", broker: Broker, audit: Audit
) -> None:
    """Jobs come and go while the counters are compared, over and over."""

    async def work(name: str) -> None:
        hand = Hand(broker, name)
        for _ in range(ROUNDS):
            await broker.submit([new_job(app=f"a{n % 3}", delay_ms=n % 2) for n in range(5)])
            await succeed(broker, await hand.take(4))

    workers = asyncio.gather(*(work(f"w{n}") for n in range(4)))
    looks, cursor = 0, 0
    while not workers.done():
        assert await audit.differences() == []
        stretch = await audit.walk(cursor, 100, mend=True)
        assert stretch.misplaced == []
        looks, cursor = looks + 1, stretch.cursor
    await workers
    assert looks >= ROUNDS


async def test_a_class_of_very_many_lanes_is_left_out(broker: Broker, audit: Audit) -> None:
    await broker.submit([new_job(app=f"app{n}") for n in range(3)])
    assert [one.what for one in await audit.balances() if one.resource_class == "io"] != []
    assert await audit._scripts.run("audit_balance", "io", 2) == []


async def test_what_a_living_flow_left_is_let_be(
    redis: "Redis", redis_url: str, broker: Broker, audit: Audit, inspector: Inspector
) -> None:
    """A stage that has ended keeps its result without a TTL, since those after it may read it."""
    stages = [PlannedStage(name, lane(), Limits()) for name in ("first", "second")]
    stages[1] = msgspec.structs.replace(stages[1], after=("first",), payload="stay")
    flow = new_job(msgspec.json.encode(PlannedFlow(tuple(stages))), processor=FLOW)
    go = asyncio.Event()

    async def act(attempt: Attempt) -> bytes:
        if attempt.payload == b'"stay"':
            await go.wait()
        return attempt.payload

    async with plain_worker(broker, redis_url, act):
        await broker.submit([flow])
        await in_state(inspector, stage_job(flow.id, "second"), State.ACTIVE)
        assert await redis.pttl(KEYS.job(stage_job(flow.id, "first"))) == -1
        assert await walked(audit, mend=True) == []
        assert await redis.pttl(KEYS.job(stage_job(flow.id, "first"))) == -1
        go.set()
        await ended(inspector, flow.id)
        assert await walked(audit, mend=True) == []
        assert await audit.differences() == []


# ---------------------------------------------------------------- the chore


async def test_one_worker_audits_at_a_time(redis: "Redis", audit: Audit) -> None:
    assert await audit.begin_turn("a", HOLD_MS) == 0
    assert await audit.end_turn("a", HOLD_MS, 17, 5)
    assert await audit.begin_turn("b", HOLD_MS) is None
    assert not await audit.end_turn("b", HOLD_MS, 99, 1)
    await redis.hset(FINDINGS, "until", 1)  # `a` fell silent
    assert await audit.begin_turn("b", HOLD_MS) == 17
    assert await audit.end_turn("b", HOLD_MS, 0, 2)
    assert (await audit.findings()).looked == 7


@pytest.mark.may_leak
async def test_the_chore_mends_tells_and_counts(
    redis: "Redis", broker: Broker, audit: Audit, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = await one_of_each(broker)
    await damage(redis, jobs, "active:entry deleted")
    await redis.hdel(KEYS.job(jobs[State.SUCCEEDED].id), "result")
    chore = Auditor(audit, "w")
    with caplog.at_level(logging.ERROR):
        await chore.tick()
    said = [record.message for record in caplog.records]
    assert said.count("counters differ from the structures") == 1
    assert said.count("a job is not as it should be") == 2
    found = await audit.findings()
    assert (found.looked, found.broken, found.mended) == (7, {"no result": 1}, {"entry gone": 1})
    assert found.ended_ms > 0
    caplog.clear()
    await redis.delete(KEYS.job(jobs[State.SUCCEEDED].id))
    await chore.tick()
    assert caplog.records == []
    assert (await audit.findings()).broken == {}


@pytest.mark.may_leak
async def test_a_difference_is_told_once_for_as_long_as_it_stands(
    redis: "Redis", broker: Broker, audit: Audit, caplog: pytest.LogCaptureFixture
) -> None:
    await broker.submit([new_job()])
    await redis.hincrby(KEYS.key("counts"), "io|waiting", 1)
    chore = Auditor(audit, "w")
    with caplog.at_level(logging.ERROR):
        await chore.tick()
        await chore.tick()
    (record,) = caplog.records
    assert "io: waiting is counted as 2, the structures hold 1" in vars(record)["differences"]


@pytest.mark.may_leak
async def test_a_scrape_tells_what_differs_and_what_was_found(
    redis: "Redis", broker: Broker, audit: Audit, inspector: Inspector
) -> None:
    jobs = await one_of_each(broker)

    async def scraped(name: str) -> dict[str, float]:
        text = (await GatewayMetrics().render(inspector)).decode()
        lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith(name)]
        return {series.removeprefix(name): float(value) for series, _, value in lines}

    differences = await scraped("roughneck_audit_difference")
    assert '{resource_class="io",what="waiting"}' in differences
    assert '{resource_class="",what="recorded"}' in differences
    assert set(differences.values()) == {0.0}
    assert await scraped("roughneck_audit_walk_timestamp_seconds") == {"": 0.0}
    await damage(redis, jobs, "waiting:entry deleted")
    await redis.hdel(KEYS.job(jobs[State.SUCCEEDED].id), "result")
    differences = await scraped("roughneck_audit_difference")
    assert differences['{resource_class="io",what="waiting"}'] == 1
    await Auditor(audit, "w").tick()
    assert set((await scraped("roughneck_audit_difference")).values()) == {0.0}
    assert await scraped("roughneck_audit_broken_jobs") == {'{what="no result"}': 1}
    assert await scraped("roughneck_audit_mended_jobs_total") == {'{what="entry gone"}': 1}
    assert (await scraped("roughneck_audit_walk_timestamp_seconds"))[""] > 1e9
