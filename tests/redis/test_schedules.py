"""Schedules in Redis: written where they were seen to stand, fired once a tick by whoever comes."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from streams.broker import Broker
from streams.errors import InvalidInput, NameTaken, OutOfMemory, TooLarge, Unavailable
from streams.ids import job_id_for_tick
from streams.inspector import Inspector
from streams.keyspace import Keyspace
from streams.loops import scheduler
from streams.loops.scheduler import Scheduler
from streams.model import Again, CallbackRequest, Done, Fault, Job, Settlement, State
from streams.schedule import Misfire, Overlap, Plan, plan
from streams.schedules import SCHEDULES_MAX, Fired, ScheduleStore, Standing
from tests.support.build import Hand, new_job
from tests.support.redis_state import whole_state
from tests.support.schedules import schedule

MINUTE = 60_000
LATER = Again(60_000, Fault("retry", "later"))


class Times(ScheduleStore):
    """A store that believes another server time, as after a step of its clock."""

    def __init__(self, redis: "Redis", broker: Broker) -> None:
        super().__init__(redis, broker.keyspace, broker.scripts)
        self.at_ms = 0  # 0: the server's own

    async def now_ms(self) -> int:
        return self.at_ms or await super().now_ms()


@pytest.fixture
def store(redis: "Redis", broker: Broker) -> Times:
    return Times(redis, broker)


async def made(inspector: Inspector) -> list[Job]:
    """Every job there is, oldest first."""
    page = await inspector.jobs(limit=1_000)
    return sorted(page.items, key=lambda job: job.submitted_ms)


async def created(store: Times, now_ms: int, **fields: Any) -> Standing:
    """A schedule of every minute from `now_ms` on, seen from just before it."""
    store.at_ms = now_ms - 1
    return await store.create(schedule(every_ms=MINUTE, starts_ms=now_ms, **fields))


@pytest.fixture
async def now(store: Times) -> int:
    return await store.now_ms() // MINUTE * MINUTE


async def look(store: Times, at_ms: int) -> None:
    store.at_ms = at_ms
    await Scheduler(store).tick()


async def test_a_schedules_life(redis: "Redis", store: Times, now: int) -> None:
    given = schedule(every_ms=MINUTE, starts_ms=now, created_ms=now)
    store.at_ms = now - 1
    made = await store.create(given)
    assert made == Standing(given, revision=1, next_ms=now)
    assert await store.get(given.key) == msgspec.structs.replace(made, payload_bytes=7)
    assert await store.put(msgspec.structs.replace(given, created_ms=5)) == await store.get(
        given.key
    )
    with pytest.raises(NameTaken):
        await store.create(given)
    changed = await store.put(msgspec.structs.replace(given, overlap=Overlap.SKIP))
    assert (changed.revision, changed.next_ms) == (2, now)
    paused = await store.pause(given.key)
    assert paused
    assert (paused.revision, paused.paused) == (3, True)
    assert await store.due(now + MINUTE, 0, 10) == []
    store.at_ms = now + 3 * MINUTE
    resumed = await store.resume(given.key)
    assert resumed
    assert (resumed.revision, resumed.next_ms) == (4, now + 4 * MINUTE)
    assert await store.resume(given.key) == msgspec.structs.replace(resumed, payload_bytes=7)
    assert await store.remove(given.key)
    assert not await store.remove(given.key)
    assert await store.get(given.key) is None
    assert (await store.find(given.key), await store.pause(given.key)) == (None, None)
    assert await whole_state(redis) == {}


async def test_a_tick_makes_the_whole_job_once(
    store: Times, inspector: Inspector, broker: Broker, now: int
) -> None:
    callback = CallbackRequest("https://a.example/hook", "ep_1", (State.DEAD,))
    job = new_job(b'{"a":1}', id="", attempts_max=7, callback=callback, tags=("x", "y"))
    standing = await created(store, now, job=job, expires_ms=90_000)
    await look(store, now)
    await look(store, now)
    (found,) = await made(inspector)
    assert found.id == job_id_for_tick("etyde|nightly", now)
    assert (found.state, found.attempts_max, found.lane) == (State.WAITING, 7, job.lane)
    assert (found.callback, found.tags) == (callback, ("x", "y"))
    assert found.expires_at_ms == found.submitted_ms + 90_000
    (lease,) = await Hand(broker).take()
    assert lease.payload == b'{"a":1}'
    after = await store.find(standing.schedule.key)
    assert after
    assert (after.next_ms, after.until_ms, after.last_ms) == (now + MINUTE, now, now)
    assert (after.last_job, after.fired, after.missed, after.skipped) == (found.id, 1, 0, 0)
    assert await inspector.audit() == []


async def test_a_plan_from_before_a_change_does_nothing(
    redis: "Redis", store: Times, now: int
) -> None:
    standing = await created(store, now)
    planned = plan(standing.schedule, now, now)
    assert planned
    for change in (store.pause, store.resume):
        await change(standing.schedule.key)
        before = await whole_state(redis)
        assert await store.fire(standing, planned) is None
        assert await whole_state(redis) == before
    await store.remove(standing.schedule.key)
    assert await store.fire(standing, planned) is None
    assert await whole_state(redis) == {}


async def test_a_change_from_before_a_tick_does_not_bring_it_back(
    redis: "Redis", broker: Broker, store: Times, now: int
) -> None:
    seen = await created(store, now)
    await look(store, now)

    class Slow(Times):
        saw: Standing | None = seen

        async def get(self, key: str) -> Standing | None:
            saw, self.saw = self.saw, None
            return saw or await super().get(key)

    changed = msgspec.structs.replace(seen.schedule, overlap=Overlap.SKIP)
    for change in (
        Slow(redis, broker).put(changed),
        Slow(redis, broker).pause(changed.key),
    ):
        standing = await change
        assert standing
        assert (standing.next_ms, standing.fired) == (now + MINUTE, 1)


async def test_another_job_at_the_same_times_loses_no_tick(store: Times, now: int) -> None:
    seen = await created(store, now)
    store.at_ms = now + 5 * MINUTE
    job = new_job(b"[]", id="")
    changed = await store.put(msgspec.structs.replace(seen.schedule, job=job))
    assert (changed.revision, changed.next_ms) == (2, now)


async def test_a_paused_one_is_not_fired_by_one_who_did_not_know(store: Times, now: int) -> None:
    standing = await created(store, now)
    paused = await store.pause(standing.schedule.key)
    assert paused
    assert await store.fire(paused, Plan((now,), 0, now, now + MINUTE)) is None


@pytest.mark.parametrize("lost", ["record", "job"])
async def test_a_tick_that_redis_forgot_is_fired_again_as_the_same_job(
    redis: "Redis", store: Times, inspector: Inspector, now: int, lost: str
) -> None:
    """The job id is the second fence: with the job still there nothing new is made."""
    standing = await created(store, now)
    planned = plan(standing.schedule, now, now)
    assert planned
    assert await store.fire(standing, planned) == Fired(1, 0)
    if lost == "record":  # it stands where it stood
        await redis.hset(Keyspace().key("schedule_", standing.schedule.key), "next", now)
        assert await store.fire(standing, planned) == Fired(0, 0)
    else:  # the record is the truth, however long ago the job ended
        await redis.delete(Keyspace().job((await made(inspector))[0].id))
        assert await store.fire(standing, planned) is None
    stream = Keyspace().stream(standing.schedule.job.lane.name)
    assert await redis.xlen(stream) == 1
    await redis.flushall()


async def test_steps_of_the_clock(store: Times, inspector: Inspector, now: int) -> None:
    await created(store, now, misfire=Misfire.SKIP)
    await look(store, now)
    await look(store, now - 30 * MINUTE)  # back: those instants have been
    await look(store, now - 29 * MINUTE)
    assert len(await made(inspector)) == 1
    await look(store, now + 10 * MINUTE)  # ahead: a misfire of nine; two are within the minute
    assert len(await made(inspector)) == 3
    standing = await store.find("etyde|nightly")
    assert standing
    assert (standing.missed, standing.next_ms) == (8, now + 11 * MINUTE)
    await look(store, now + MINUTE)
    assert len(await made(inspector)) == 3


async def test_another_timing_makes_no_tick_twice(
    store: Times, inspector: Inspector, now: int
) -> None:
    first = (await created(store, now)).schedule
    await look(store, now + MINUTE)
    timing = msgspec.structs.replace(first.timing, every_ms=30_000)
    store.at_ms = now - MINUTE  # the clock went back, and then somebody changed it
    changed = await store.put(msgspec.structs.replace(first, timing=timing))
    assert changed.next_ms == now + MINUTE + 30_000
    await look(store, now + 2 * MINUTE)
    ticks = [now, now + MINUTE, now + 90_000, now + 2 * MINUTE]
    ids = {job_id_for_tick(first.key, at) for at in ticks}
    assert {job.id for job in await made(inspector)} == ids


@pytest.mark.parametrize("state", ["waiting", "active", "delayed"])
async def test_overlap(store: Times, broker: Broker, now: int, state: str) -> None:
    """While its job has not ended, whatever it does, the next tick makes none."""
    await created(store, now, overlap=Overlap.SKIP)
    await look(store, now)
    hand = Hand(broker)
    if state != "waiting":
        (lease,) = await hand.take()
    if state == "delayed":
        await broker.settle(hand.id, [Settlement(lease.job_id, lease.token, LATER)])
    await look(store, now + MINUTE)
    standing = await store.find("etyde|nightly")
    assert standing
    assert (standing.fired, standing.skipped, standing.last_ms) == (1, 1, now)
    assert standing.next_ms == now + 2 * MINUTE
    await broker.cancel(standing.last_job)
    if state == "active":
        await broker.settle(hand.id, [Settlement(lease.job_id, lease.token, Done(b"1"))])
    await look(store, now + 2 * MINUTE)
    standing = await store.find("etyde|nightly")
    assert standing
    assert (standing.fired, standing.skipped) == (2, 1)


async def test_several_ticks_at_once_do_not_overlap(
    store: Times, inspector: Inspector, now: int
) -> None:
    await created(store, now, overlap=Overlap.SKIP, misfire=Misfire.ALL)
    await look(store, now + 5 * MINUTE)
    standing = await store.find("etyde|nightly")
    assert standing
    assert (standing.fired, standing.skipped, standing.missed) == (1, 5, 0)
    assert len(await made(inspector)) == 1


async def test_one_that_cannot_be_read_is_passed_by(
    redis: "Redis",
    store: Times,
    inspector: Inspector,
    now: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scheduler, "COUNT", 2)
    for number in range(3):
        await created(store, now, name=f"broken-{number}")
        key = Keyspace().key("schedule_", f"etyde|broken-{number}")
        await redis.hset(key, "definition", "{}")
    await created(store, now, name="whole")
    await look(store, now)
    (job,) = await made(inspector)
    assert job.id == job_id_for_tick("etyde|whole", now)


async def test_a_backlog_of_large_payloads_goes_in_bounded_calls(
    redis: "Redis", store: Times, inspector: Inspector, now: int
) -> None:
    large = new_job(b'"' + b"x" * 400_000 + b'"', id="")
    await created(store, now, job=large, misfire=Misfire.ALL)
    await redis.config_resetstat()
    await look(store, now + 6 * MINUTE)
    assert len(await made(inspector)) == 7
    calls = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert calls >= 4  # two jobs a call


async def test_at_maxmemory_a_tick_waits_whole(
    redis: "Redis", store: Times, inspector: Inspector, now: int
) -> None:
    await created(store, now)
    before = await whole_state(redis)
    await redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(OutOfMemory):
            await look(store, now)
    finally:
        await redis.config_set("maxmemory", 0)
    assert await whole_state(redis) == before
    await look(store, now)
    assert len(await made(inspector)) == 1


async def test_listing(redis: "Redis", store: Times) -> None:
    for app in ("b", "a", "a-1"):
        for name in ("two", "one", "three"):
            await store.create(schedule(name, app))
    names: list[str] = []
    cursor, pages = "", 0
    while pages == 0 or cursor:
        page = await store.page(None, cursor, 2)
        names += [each.schedule.key for each in page.items]
        cursor, pages = page.cursor, pages + 1
    keys = [f"{app}|{name}" for app in ("a", "a-1", "b") for name in ("one", "three", "two")]
    assert sorted(names) == sorted(keys)
    assert (len(names), pages) == (9, 5)
    own = await store.page("a")
    assert [each.schedule.key for each in own.items] == ["a|one", "a|three", "a|two"]
    assert {each.schedule.job.payload for each in own.items} == {b""}
    assert {each.payload_bytes for each in own.items} == {7}
    for wrong in ("b|one", "nonsense"):
        with pytest.raises(ValueError, match=wrong.replace("|", ".")):
            await store.page("a", wrong)


async def test_an_app_has_at_most_a_thousand(redis: "Redis", store: Times) -> None:
    names = Keyspace().key("schedules")
    await redis.zadd(names, {f"etyde|{number}": 0 for number in range(SCHEDULES_MAX - 1)})
    await store.create(schedule("last"))
    with pytest.raises(TooLarge):
        await store.create(schedule("one-more"))
    await store.create(schedule("another", "govejle"))


async def test_a_timing_is_checked_at_the_servers_time(store: Times, now: int) -> None:
    store.at_ms = now
    with pytest.raises(InvalidInput):
        await store.create(schedule(ends_ms=now))


async def test_one_that_changes_all_the_time_is_given_up(store: Times, now: int) -> None:
    standing = await created(store, now)

    class Late(Times):
        async def get(self, key: str) -> Standing | None:
            found = await super().get(key)
            return found and msgspec.structs.replace(found, revision=found.revision - 1)

    late = Late(store._redis, Broker(store._redis, Keyspace()))
    with pytest.raises(Unavailable):
        await late.pause(standing.schedule.key)
    with pytest.raises(Unavailable):
        await late.put(msgspec.structs.replace(standing.schedule, overlap=Overlap.SKIP))


class Killed(BaseException):
    """The process died."""


class Mortal(Times):
    """A firer whose clock is wrong and who dies now and then, before the call or after it."""

    def __init__(self, redis: "Redis", broker: Broker, deaths: Sequence[str]) -> None:
        super().__init__(redis, broker)
        self.deaths = list(deaths)

    async def fire(self, standing: Standing, planned: Plan) -> Fired | None:
        await asyncio.sleep(0)
        dies = self.deaths.pop() if self.deaths else ""
        if dies == "before":
            raise Killed
        fired = await super().fire(standing, planned)
        if dies == "after":
            raise Killed
        return fired


async def test_three_firers_that_die_and_a_clock_that_steps(
    redis: "Redis", broker: Broker, inspector: Inspector, now: int
) -> None:
    """Every tick makes exactly one job, whoever fires it, however often, at what time it may be."""
    seconds = 300
    store = Times(redis, broker)
    store.at_ms = now - 1
    lines = {"interval": {"every_ms": 1_000, "starts_ms": now}, "cron": {"cron": "*/2 * * * * *"}}
    for name, timing in lines.items():
        await store.create(schedule(name, misfire=Misfire.ALL, misfire_max=1_000, **timing))
    steps = [0, 7, 3, 40, 41, 12, 90, 60, 180, 100, 260, seconds, 20, seconds]  # forth and back

    async def firer(number: int) -> None:
        deaths = ["", "before", "", "after"] * (20 + number)
        for step in steps:
            own = Mortal(redis, broker, deaths)
            own.at_ms = now + step * 1_000 + 999
            try:
                await Scheduler(own).tick()
            except Killed:
                continue
            finally:
                deaths = own.deaths

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(firer(number))
    await look(store, now + seconds * 1_000 + 999)
    ticks = {
        "interval": {now + 1_000 * number for number in range(seconds + 1)},
        "cron": {now + 2_000 * number for number in range(seconds // 2 + 1)},
    }
    expected = [job_id_for_tick(f"etyde|{name}", at) for name in ticks for at in ticks[name]]
    assert sorted(job.id for job in await made(inspector)) == sorted(expected)
    for name in ticks:
        standing = await store.find(f"etyde|{name}")
        assert standing
        assert (standing.fired, standing.missed) == (len(ticks[name]), 0)
    counts = await inspector.counts()
    assert counts["io|submitted"] == len(expected)
    assert await inspector.audit() == []
