"""The read side: jobs, listings, lanes, and an audit that finds what is wrong."""

import msgspec
import pytest
from redis.asyncio import Redis

from streams.broker import Broker
from streams.inspector import Inspector, PoolView
from streams.listing import JobFilter
from streams.model import Dead, Job, Lane, Page, Priority, ResourceClass, State
from tests.redis.scenes import FAULT, HOOK, KEYS, leased, run_out, settle, state_of, succeed
from tests.support.build import Hand, new_job


async def test_a_job_is_shown_as_it_was_submitted(broker: Broker, inspector: Inspector) -> None:
    job = new_job(
        b"[1]", callback=HOOK, tags=("a",), trace="00-1", attempts_max=7, expires_at_ms=10**13
    )
    await broker.submit([job])
    found = await inspector.job(job.id)
    assert found is not None
    assert found.submitted_ms > 0
    assert msgspec.structs.replace(found, submitted_ms=0) == Job(
        id=job.id,
        lane=job.lane,
        state=State.WAITING,
        submitted_ms=0,
        attempt=0,
        failures=0,
        crashes=0,
        attempts_max=7,
        timeout_ms=60_000,
        expires_at_ms=10**13,
        payload_bytes=3,
        callback=HOOK,
        tags=("a",),
        trace="00-1",
    )
    assert await inspector.payload(job.id) == b"[1]"
    assert await inspector.result(job.id) is None
    assert await inspector.job("0-none") is None


async def one_of_each(broker: Broker) -> dict[State, str]:
    """A job in every state that one can be in, of app `a`, and a waiting one of `b`."""
    jobs = {
        state: new_job(app="a", processor="echo")
        for state in (State.SUCCEEDED, State.DEAD, State.ACTIVE)
    }
    for name, (state, job) in enumerate(jobs.items()):
        lease = await leased(broker, job, f"w{name}")
        if state is State.SUCCEEDED:
            await succeed(broker, [lease])
        elif state is State.DEAD:
            await settle(broker, lease, Dead(FAULT))
    jobs[State.EXPIRED] = new_job(app="a", expires_at_ms=1)
    jobs[State.CANCELLED] = new_job(app="a", processor="fetch")
    await broker.submit([jobs[State.EXPIRED], jobs[State.CANCELLED]])
    await broker.expire()
    await broker.cancel(jobs[State.CANCELLED].id)
    jobs[State.DELAYED] = new_job(app="a", delay_ms=60_000)
    jobs[State.WAITING] = new_job(app="a")
    await broker.submit([jobs[State.DELAYED], jobs[State.WAITING], new_job(app="b")])
    return {state: job.id for state, job in jobs.items()}


async def test_listings_filter_by_app_state_and_processor(
    broker: Broker, inspector: Inspector
) -> None:
    jobs = await one_of_each(broker)
    for state, job_id in jobs.items():
        page = await inspector.jobs(JobFilter("a", state))
        assert [job.id for job in page.items] == [job_id], state
    assert len((await inspector.jobs()).items) == len(jobs) + 1
    assert {job.id for job in (await inspector.jobs(JobFilter("a"))).items} == set(jobs.values())
    fetched = await inspector.jobs(JobFilter(processor="fetch"))
    assert [job.id for job in fetched.items] == [jobs[State.CANCELLED]]
    assert (await inspector.jobs(JobFilter("b", State.DEAD))).items == []
    assert await inspector.audit() == []


async def all_pages(inspector: Inspector, limit: int) -> list[str]:
    seen: list[str] = []
    page: Page[Job] = await inspector.jobs(limit=limit)
    while True:
        assert len(page.items) <= limit
        seen += [job.id for job in page.items]
        if not page.cursor:
            return seen
        page = await inspector.jobs(cursor=page.cursor, limit=limit)


async def test_pages_hold_every_job_once(broker: Broker, inspector: Inspector) -> None:
    jobs = [new_job(app=f"app{n % 3}", delay_ms=60_000 * (n % 2)) for n in range(23)]
    await broker.submit(jobs)
    await succeed(broker, await Hand(broker).take(5))
    seen = await all_pages(inspector, 4)
    assert len(seen) == 23
    assert set(seen) == {job.id for job in jobs}


async def test_classes_show_lanes_pools_and_ages(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    jobs = [new_job(app="a") for _ in range(3)] + [new_job(app="b", priority="high")]
    await broker.submit(jobs)
    await broker.submit([new_job(delay_ms=60_000)])
    await broker.set_limit("io", 8)
    first, second = await Hand(broker).take(2)
    await run_out(redis, second)
    await redis.hset(KEYS.key("clock_", "io"), "open", 60_000)
    await broker.pause(ResourceClass.CPU)
    views = {view.name: view for view in await inspector.classes()}
    view = views[ResourceClass.IO]
    assert (view.waiting, view.active, view.delayed, view.paused) == (2, 2, 1, False)
    assert view.pools == {"io": PoolView(leases=2, expired=1, limit=8)}
    lanes = {each.lane: (each.waiting, each.active) for each in view.lanes}
    assert lanes == {
        Lane(ResourceClass.IO, "a", Priority.NORMAL, "echo"): (2, 1),
        Lane(ResourceClass.IO, "b", Priority.HIGH, "echo"): (0, 1),
    }
    ages = {each.lane.app: each.oldest_age_ms for each in view.lanes}
    assert 59_000 < ages["a"] <= 60_000
    assert ages["b"] == 0
    assert view.oldest_age_ms == ages["a"]
    assert views[ResourceClass.CPU].paused
    assert await inspector.lane_names() == sorted(lane.name for lane in lanes)
    await succeed(broker, [first, second])


async def test_looking_changes_nothing(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    await one_of_each(broker)
    before = await state_of(redis)
    await inspector.classes()
    await all_pages(inspector, 3)
    await inspector.audit()
    await inspector.counts()
    assert await state_of(redis) == before


@pytest.mark.may_leak
@pytest.mark.parametrize(
    "damage", ["count", "entry", "lease", "due", "pending", "submitted", "blocked"]
)
async def test_the_audit_finds_what_is_wrong(
    redis: "Redis", broker: Broker, inspector: Inspector, damage: str
) -> None:
    jobs = await one_of_each(broker)
    lane = "io:a:normal:echo:"
    match damage:
        case "count":
            await redis.hincrby(KEYS.key("counts"), "io|waiting", 1)
        case "entry":
            found = await redis.hget(KEYS.job(jobs[State.WAITING]), "entry")
            await redis.xdel(KEYS.stream(lane), found)
        case "lease":
            await redis.delete(KEYS.key("leases_", "io"))
        case "due":
            await redis.delete(KEYS.key("due_", "io"))
        case "pending":
            found = await redis.hget(KEYS.job(jobs[State.ACTIVE]), "entry")
            await redis.xack(KEYS.stream(lane), "workers", found)
        case "submitted":
            await redis.hincrby(KEYS.key("counts"), "io|submitted", -1)
        case "blocked":
            await redis.sadd(KEYS.key("blocked"), "0-x")
    assert await inspector.audit() != []
