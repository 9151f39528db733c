"""Pages of jobs: every job once, in order, at the cost of what they show."""

from collections.abc import Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from streams import listing, shelves
from streams.broker import Broker
from streams.inspector import Inspector
from streams.listing import JobFilter
from streams.merging import Found, Place, SortedSource, StreamSource, merged
from streams.model import Dead, State
from tests.redis.scenes import FAULT, KEYS, leased, settle, store, succeed
from tests.support.build import Hand, new_job

ENDED = KEYS.key("ended_", "etyde")


async def pages(
    inspector: Inspector, limit: int, wanted: JobFilter = listing.EVERY_JOB
) -> list[list[str]]:
    found: list[list[str]] = []
    cursor = ""
    while True:
        page = await inspector.jobs(wanted, cursor, limit)
        assert len(page.items) <= limit
        found.append([job.id for job in page.items])
        cursor = page.cursor
        if not cursor:
            return found


def flat(found: Sequence[Sequence[str]]) -> list[str]:
    return [job_id for page in found for job_id in page]


async def ended(broker: Broker, count: int, **fields: Any) -> list[str]:
    """Jobs that succeeded, oldest end first."""
    jobs = [new_job(**fields) for _ in range(count)]
    await broker.submit(jobs)
    hand = Hand(broker, jobs[0].id)
    while leases := await hand.take(50):
        await succeed(broker, leases)
    return [job.id for job in jobs]


@pytest.mark.parametrize("limit", [1, 3, 50])
async def test_ended_jobs_of_many_apps_come_by_the_time_of_their_end(
    redis: "Redis", broker: Broker, inspector: Inspector, limit: int
) -> None:
    for app in ("a", "b", "c"):
        await ended(broker, 6, app=app)
    times: dict[str, int] = {}
    for number, app in enumerate(("a", "b", "c")):
        key = KEYS.key("ended_", app)
        for index, raw in enumerate(await redis.zrange(key, 0, -1)):
            times[raw.decode()] = 1_000 + 10 * index + number // 2  # a and b share their moments
            await redis.zadd(key, {raw: times[raw.decode()]})
    expected = sorted(times, key=lambda job_id: (times[job_id], job_id), reverse=True)
    assert flat(await pages(inspector, limit)) == expected


async def test_a_page_goes_on_amid_many_that_ended_at_once(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    ids = await ended(broker, 40)
    await redis.zadd(ENDED, dict.fromkeys(ids, 5_000))
    found = flat(await pages(inspector, 7))
    assert found == sorted(ids, reverse=True)
    first = await inspector.jobs(limit=7)
    await redis.zrem(ENDED, first.items[-1].id)  # the one that the cursor names
    second = await inspector.jobs(cursor=first.cursor, limit=7)
    assert [job.id for job in second.items] == found[7:14]


async def test_what_ends_while_somebody_pages_moves_nothing(
    broker: Broker, inspector: Inspector
) -> None:
    ids = await ended(broker, 10)
    first = await inspector.jobs(limit=4)
    await ended(broker, 5)
    rest = await inspector.jobs(cursor=first.cursor, limit=50)
    seen = [job.id for job in (*first.items, *rest.items)]
    assert sorted(seen) == sorted(ids)


async def test_live_jobs_come_first_and_every_shelf_is_visited(
    broker: Broker, inspector: Inspector
) -> None:
    dead = new_job(priority="high")
    lease = await leased(broker, dead)
    await settle(broker, lease, Dead(FAULT))
    (succeeded,) = await ended(broker, 1)
    active, waiting, late = (
        new_job(priority="high"),
        new_job(priority="low"),
        new_job(delay_ms=9**6),
    )
    await leased(broker, active, "second")
    await broker.submit([waiting, late])
    expected = [waiting.id, active.id, late.id, dead.id, succeeded]
    for limit in (1, 2, 50):
        assert flat(await pages(inspector, limit)) == expected
    for state, job_id in zip(
        (State.WAITING, State.ACTIVE, State.DELAYED, State.DEAD, State.SUCCEEDED),
        expected,
        strict=True,
    ):
        assert flat(await pages(inspector, 2, JobFilter(state=state))) == [job_id]


async def test_blocked_jobs_are_listed(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    jobs = [new_job(delay_ms=60_000) for _ in range(30)]
    await broker.submit(jobs)
    for job in jobs:  # as stages of a flow would stand
        await redis.zrem(KEYS.key("due_", "io"), job.id)
        await redis.sadd(KEYS.key("blocked"), job.id)
        await redis.hset(KEYS.job(job.id), "state", "blocked")
    for limit in (4, 100):
        found = flat(await pages(inspector, limit, JobFilter(state=State.BLOCKED)))
        assert sorted(found) == sorted(job.id for job in jobs)
    await redis.delete(KEYS.key("blocked"))
    await redis.flushall()


async def test_filters_by_tag_processor_and_time(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    tagged, fetched = new_job(tags=("red", "a")), new_job(processor="fetch", tags=("blue",))
    await broker.submit([tagged, fetched, new_job()])
    await redis.hset(KEYS.job(tagged.id), "at", 1_000)

    async def ids(**fields: Any) -> list[str]:
        return flat(await pages(inspector, 1, JobFilter(**fields)))

    assert await ids(tag="red") == [tagged.id]
    assert await ids(tag="re") == []
    assert await ids(processor="fetch") == [fetched.id]
    assert await ids(processor="fetch", tag="red") == []
    assert await ids(until_ms=1_001) == [tagged.id]
    assert await ids(until_ms=1_000) == []
    assert tagged.id not in await ids(since_ms=1_001)
    assert tagged.id in await ids(since_ms=1_000)
    assert await ids(app="other") == []


async def test_a_narrow_filter_brings_a_short_page_and_a_cursor(
    broker: Broker, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelves, "SCAN_MAX", 20)
    monkeypatch.setattr(shelves, "CHUNK_MAX", 10)
    needle = new_job(tags=("needle",))
    await broker.submit([needle, *(new_job() for _ in range(60))])
    found = await pages(inspector, 5, JobFilter(tag="needle"))
    assert flat(found) == [needle.id]
    assert len(found) >= 3


async def test_old_jobs_are_not_walked_for_new_ones(
    redis: "Redis", broker: Broker, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await ended(broker, 30)
    await redis.zadd(ENDED, dict.fromkeys(ids, 1_000))
    read: list[str] = []
    whole = inspector.jobs_by_id

    async def counted(job_ids: Sequence[str]) -> Any:
        read.extend(job_ids)
        return await whole(job_ids)

    monkeypatch.setattr(inspector, "jobs_by_id", counted)
    assert (await inspector.jobs(JobFilter(since_ms=2_000))).items == []
    assert read == []


async def test_a_page_costs_what_it_shows(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    """However many jobs there are, and wherever the cursor stands."""
    moment = {f"0-{number:026d}": 5_000 for number in range(20_000)}
    await redis.zadd(KEYS.key("due_", "io"), moment)
    jobs = [new_job(delay_ms=60_000) for _ in range(10)]
    await broker.submit(jobs)
    cursor = f"u 5000 0 0-{10_000:026d}"
    before = (await redis.info("stats"))["total_net_output_bytes"]
    page = await inspector.jobs(cursor=cursor, limit=1)
    cost = (await redis.info("stats"))["total_net_output_bytes"] - before
    assert page.items == []
    assert cost < 300_000  # SCAN_MAX members without a record, and not 20,000
    await redis.flushall()


async def test_a_page_of_callbacks_costs_what_it_shows(redis: "Redis", broker: Broker) -> None:
    done = {f"msg_{number:026d}": 1_000 + number for number in range(20_000)}
    await redis.zadd(KEYS.key("callback_done"), done)
    before = (await redis.info("stats"))["total_net_output_bytes"]
    page = await store(redis, broker).page(cursor=f"d 11000 0 msg_{10_000:026d}", limit=1)
    cost = (await redis.info("stats"))["total_net_output_bytes"] - before
    assert (page.items, page.cursor.split()[1]) == ([], "8999")
    assert cost < 300_000
    await redis.flushall()


@pytest.mark.parametrize(
    "cursor", ["x", "x 1 2 3", "e 1", "e a 0 0-x", "e -1 0 0-x", "l 1 2", "e 1 -2 x", "5"]
)
async def test_what_no_page_gave_out_is_no_cursor(inspector: Inspector, cursor: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - several kinds of nonsense
        await inspector.jobs(cursor=cursor)


async def test_sources_of_both_kinds_begin_behind_any_place(redis: "Redis") -> None:
    places = [(ms, name) for ms in range(1, 8) for name in ("x", "y", "z")]
    for ms, name in places:
        await redis.zadd(f"set:{name}", {f"{ms}{name}": ms})
        await redis.xadd(f"stream:{name}", {"j": f"{ms}{name}"}, id=f"{ms}-0")

    async def read(kind: str, after: Place | None) -> list[Found]:
        sources: list[Any] = [
            SortedSource(redis, f"set:{name}")
            if kind == "set"
            else StreamSource(f"stream:{name}", name, b"j")
            for name in ("x", "y", "z")
        ]
        return [found async for found in merged(redis, sources, after, 2)]

    for kind in ("set", "stream"):
        everything = await read(kind, None)
        assert [found.id for found in everything] == [f"{ms}{n}" for ms, n in places[::-1]]
        for index, found in enumerate(everything):
            assert await read(kind, found.place) == everything[index + 1 :]
        assert [one.id for one in await read(kind, Place(4, 0, "4w"))][:1] == ["3z"]
    await redis.flushall()
