"""Taking: numbered calls, limits, pause, bytes, open time."""

from collections import Counter

import msgspec
import pytest
from redis.asyncio import Redis

from streams.broker import Broker
from streams.inspector import Inspector
from streams.model import Again, Done, HandedBack, ResourceClass, State
from tests.redis.scenes import FAULT, KEYS, leased, run_out, settle, state_of, succeed
from tests.support.build import Hand, new_job
from tests.support.redis_state import whole_state

IO = ResourceClass.IO


async def test_a_take_that_is_repeated_changes_nothing(redis: "Redis", broker: Broker) -> None:
    await broker.submit([new_job(), new_job(), new_job(delay_ms=60_000)])
    hand = Hand(broker)
    first = await hand.ask(5)
    before = await state_of(redis)
    for _ in range(3):
        again = await broker.take(hand.call(5))
        assert list(again.leases) == list(first.leases)
    assert await state_of(redis) == before


async def test_a_repeat_gives_only_what_is_still_the_workers(
    redis: "Redis", broker: Broker
) -> None:
    await broker.submit([new_job() for _ in range(4)])
    hand = Hand(broker)
    done, lost, back, kept = await hand.take(4)
    await settle(broker, done, Done(b"1"))
    await settle(broker, back, HandedBack())
    await run_out(redis, lost)
    await Hand(broker, "other").take(4)
    assert list((await broker.take(hand.call(4))).leases) == [kept]


async def test_a_late_packet_leases_nothing(redis: "Redis", broker: Broker) -> None:
    """A call of a dead link that arrives after three newer ones."""
    await broker.submit([new_job() for _ in range(5)])
    hand = Hand(broker)
    late = hand.call(1)
    for _ in range(3):
        await hand.take()
    before = await state_of(redis)
    late = msgspec.structs.replace(late, sequence=1)
    answer = await broker.take(late)
    assert (answer.stale, list(answer.leases)) == (True, [])
    assert await state_of(redis) == before


async def test_a_number_that_was_skipped_is_stale(broker: Broker) -> None:
    await broker.submit([new_job() for _ in range(5)])
    hand = Hand(broker)
    await hand.take()
    hand.sequence += 1  # this one is on its way, slowly
    skipped = hand.call(1)
    await hand.take()
    assert (await broker.take(skipped)).stale


async def test_workers_and_pools_number_their_calls_apart(broker: Broker) -> None:
    await broker.submit([new_job(), new_job(), new_job(resource_class="cpu")])
    assert len(await Hand(broker, "a").take()) == 1
    assert len(await Hand(broker, "b").take()) == 1
    assert len(await Hand(broker, "a", "cpu").take()) == 1


async def test_no_token_is_ever_given_twice(redis: "Redis", broker: Broker) -> None:
    await broker.submit([new_job(), new_job(resource_class="cpu")])
    seen: Counter[str] = Counter()
    hands = [Hand(broker, name, kind) for name in ("a", "b") for kind in ("io", "cpu")]
    for _ in range(5):
        for hand in hands:
            leases = await hand.take(2)
            seen.update(lease.token for lease in leases)
            for lease in leases:
                await settle(broker, lease, HandedBack())
    assert seen.total() == 20
    assert set(seen.values()) == {1}


async def test_no_slot_no_lease(broker: Broker) -> None:
    await broker.submit([new_job()])
    assert await Hand(broker).take(0) == []


async def test_a_pool_never_runs_more_than_its_total(broker: Broker) -> None:
    await broker.submit([new_job() for _ in range(10)])
    await broker.set_limit("io", 3)
    one, two = Hand(broker, "one"), Hand(broker, "two")
    held = [*await one.take(2), *await two.take(5)]
    assert len(held) == 3
    assert await one.take(5) == []
    await succeed(broker, held[:1])
    assert len(await two.take(5)) == 1
    await broker.set_limit("io", None)
    assert len(await two.take(50)) == 6


async def test_an_ollama_host_runs_one_job_unless_told_otherwise(broker: Broker) -> None:
    jobs = [new_job(resource_class="ollama", processor="ask", model="m") for _ in range(4)]
    await broker.submit(jobs)
    mac = Hand(broker, "mac", "ollama", pool="ollama@mac", models=("m",))
    other = Hand(broker, "linux", "ollama", pool="ollama@linux", models=("m",))
    assert len(await mac.take(3)) == 1
    assert await mac.take(3) == []
    assert len(await other.take(3)) == 1
    await broker.set_limit("ollama@linux", 2)
    assert len(await other.take(3)) == 1


async def test_a_dead_hosts_job_goes_to_another_host_that_has_the_model(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    job = new_job(resource_class="ollama", processor="ask", model="m:7b")
    lease = await leased(broker, job, "mac", pool="ollama@mac", models=("m:7b",))
    await run_out(redis, lease)
    lacking = Hand(broker, "lacking", "ollama", pool="ollama@small", models=("tiny",))
    assert await lacking.take(3) == []
    other = Hand(broker, "linux", "ollama", pool="ollama@linux", models=("m:7b",))
    [again] = await other.take(3)
    assert (again.job_id, again.pool, again.attempt) == (job.id, "ollama@linux", 2)
    assert await inspector.audit() == []
    assert await redis.zcard(KEYS.key("leases_", "ollama@mac")) == 0


async def test_an_app_never_runs_more_than_its_limit(broker: Broker) -> None:
    await broker.submit([new_job(app="big") for _ in range(6)] + [new_job(app="small")])
    await broker.set_app_limit(IO, "big", 2)
    hand = Hand(broker)
    held = await hand.take(10)
    assert Counter(lease.lane.app for lease in held) == {"big": 2, "small": 1}
    assert await hand.take(10) == []
    await succeed(broker, [lease for lease in held if lease.lane.app == "big"])
    assert len(await hand.take(10)) == 2
    await broker.set_app_limit(IO, "big", None)
    assert len(await hand.take(10)) == 2


async def test_a_sole_lane_keeps_to_its_apps_limit(broker: Broker) -> None:
    await broker.submit([new_job() for _ in range(6)])
    await broker.set_app_limit(IO, "etyde", 4)
    hand = Hand(broker)
    assert [len(await hand.take(3)) for _ in range(3)] == [3, 1, 0]


async def test_a_worker_without_the_processor_disturbs_nothing(
    redis: "Redis", broker: Broker
) -> None:
    await run_out(redis, await leased(broker, new_job(processor="fetch")))
    await broker.submit([new_job(processor="fetch"), new_job(processor="ask")])
    before = await state_of(redis, KEYS.key("calls_"))
    assert await Hand(broker, "lacking", processors=("echo",)).take(5) == []
    assert await state_of(redis, KEYS.key("calls_")) == before


async def test_a_paused_class_leases_nothing_and_its_time_stands(
    redis: "Redis", broker: Broker
) -> None:
    await broker.submit([new_job()])
    hand = Hand(broker)
    assert await broker.pause(IO)
    assert not await broker.pause(IO)
    clock = KEYS.key("clock_", "io")
    await redis.hset(clock, "open", 5_000)
    seen = int(await redis.hget(clock, "seen") or 0)
    await redis.hset(clock, "seen", seen - 10_000)
    answer = await hand.ask()
    assert (answer.paused, list(answer.leases)) == (True, [])
    assert await broker.resume(IO)
    assert not await broker.resume(IO)
    assert int(await redis.hget(clock, "open") or 0) < 6_000
    assert len(await hand.take()) == 1


async def test_open_time_goes_on_while_a_worker_serves_and_stands_while_none_does(
    redis: "Redis", broker: Broker
) -> None:
    hand, clock = Hand(broker), KEYS.key("clock_", "io")
    await hand.take()

    async def after(away_ms: int) -> int:
        seen = int(await redis.hget(clock, "seen") or 0)
        await redis.hset(clock, mapping={"open": 1_000_000, "seen": seen - away_ms})
        await hand.take()
        return int(await redis.hget(clock, "open") or 0) - 1_000_000

    assert 10_000 <= await after(10_000) < 12_000
    assert await after(3_600_000) == 0  # nobody was there for an hour


async def test_after_an_outage_urgent_work_overtakes_the_backlog(
    redis: "Redis", broker: Broker
) -> None:
    """Hours without a worker do not make a normal backlog more urgent than a new high job."""
    backlog = [new_job() for _ in range(50)]
    await broker.submit(backlog)
    await Hand(broker).take(0)
    clock = KEYS.key("clock_", "io")
    seen = int(await redis.hget(clock, "seen") or 0)
    await redis.hset(clock, "seen", seen - 8 * 3_600_000)
    urgent = new_job(priority="high")
    await broker.submit([urgent])
    [first] = await Hand(broker, "back").take()
    assert first.job_id == urgent.id


async def test_payloads_in_an_answer_stay_within_their_budget(broker: Broker) -> None:
    size = broker.settings.payload_inline_max_bytes
    body = b'"' + b"x" * (size - 2) + b'"'
    jobs = [new_job(body) for _ in range(12)]
    await broker.submit(jobs)
    leases = await Hand(broker).take(12)
    assert len(leases) == 12
    inline = [lease for lease in leases if lease.payload is not None]
    assert sum(lease.payload_bytes for lease in inline) == broker.settings.take_payload_max_bytes
    for lease in leases:
        assert lease.payload_bytes == size
        assert (lease.payload or await broker.payload(lease.job_id, lease.payload_bytes)) == body


async def test_a_payload_over_the_inline_limit_travels_apart(broker: Broker) -> None:
    body = b'"' + b"x" * broker.settings.payload_inline_max_bytes + b'"'
    lease = await leased(broker, new_job(body))
    assert lease.payload is None
    assert await broker.payload(lease.job_id, lease.payload_bytes) == body


async def test_it_says_when_to_look_again(redis: "Redis", broker: Broker) -> None:
    ceiling = broker.settings.poll_ceiling_ms
    hand = Hand(broker)
    assert (await hand.ask()).look_again_ms == ceiling
    await broker.submit([new_job(delay_ms=300)])
    assert 0 < (await hand.ask()).look_again_ms <= 300
    lease = await leased(broker, new_job(), "other")
    member = f"{lease.lane.name}|{lease.entry_id}"
    now_ms = int((await redis.time())[0]) * 1_000
    await redis.zadd(KEYS.key("leases_", "io"), {member: now_ms + 60_000})
    assert (await hand.ask()).look_again_ms <= 300


async def test_a_retry_is_seated_by_the_time_it_became_due(redis: "Redis", broker: Broker) -> None:
    first, second = new_job(), new_job()
    lease = await leased(broker, first)
    await broker.submit([second])
    await settle(broker, lease, Again(0, FAULT))
    again = await Hand(broker, "x").take(2)
    assert [(lease.job_id, lease.failures) for lease in again] == [(second.id, 0), (first.id, 1)]


async def test_a_place_without_its_job_is_cleared_away(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    """An operator deleted the record: the entry is dropped and the next job is served."""
    gone, there = new_job(), new_job()
    await broker.submit([gone, there])
    await redis.delete(KEYS.job(gone.id), KEYS.payload(gone.id))
    hand = Hand(broker)
    assert await hand.take() == []
    assert [lease.job_id for lease in await hand.take()] == [there.id]
    [lane] = next(view.lanes for view in await inspector.classes() if view.lanes)
    assert (lane.waiting, lane.active) == (0, 1)


@pytest.mark.parametrize("tags", [(), ("a",)], ids=["bare", "not bare"])
async def test_an_entry_that_is_not_its_jobs_place_leases_nothing(
    redis: "Redis", broker: Broker, inspector: Inspector, tags: tuple[str, ...]
) -> None:
    """Such as somebody adds by hand, or a Redis that lost its tail has twice."""
    ended, waiting = (new_job(tags=tags) for _ in range(2))
    stream = KEYS.stream(ended.lane.name)
    await broker.submit([ended])
    place = await redis.xadd(stream, {"j": ended.id, "t": 0})
    await redis.xadd(stream, {"j": waiting.id, "t": 0})
    await broker.submit([waiting])
    await broker.cancel(ended.id)
    await redis.hset(KEYS.job(ended.id), "entry", place)
    assert [lease.job_id for lease in await Hand(broker).take(5)] == [waiting.id]
    assert await redis.xlen(stream) == 1
    assert await inspector.audit() == []


@pytest.mark.parametrize("held", [False, True])
async def test_a_group_that_was_destroyed_is_made_anew(
    redis: "Redis", broker: Broker, inspector: Inspector, held: bool
) -> None:
    waiting = new_job()
    leases = [await leased(broker, new_job(), f"w{n}") for n in range(3)] if held else []
    await broker.submit([waiting])
    await redis.xgroup_destroy(KEYS.stream(waiting.lane.name), "workers")
    for lease in leases:
        told = await broker.renew("host-1-w0", [(lease.job_id, lease.token)], 30_000)
        assert not told.lost
    hand = Hand(broker, "other")
    found = [lease.job_id for _ in range(3) for lease in await hand.take(2)]
    assert found == [waiting.id]
    assert await inspector.audit() == []
    await succeed(broker, leases)
    assert await inspector.audit() == []


async def test_a_dead_workers_job_outlives_its_group(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    job = new_job()
    lease = await leased(broker, job)
    await redis.xgroup_destroy(KEYS.stream(job.lane.name), "workers")
    await run_out(redis, lease)
    hand = Hand(broker, "other")
    [again] = await hand.take(2)
    assert (again.job_id, again.attempt) == (job.id, 2)
    await broker.sweep(job.lane.name)
    assert await hand.take(2) == []  # delivered once more, leased already
    assert await inspector.audit() == []
    await succeed(broker, [again])
    assert await inspector.audit() == []


async def test_flushed_scripts_are_sent_again(redis: "Redis", broker: Broker) -> None:
    await broker.submit([new_job()])
    await redis.script_flush()
    [lease] = await Hand(broker).take()
    await redis.script_flush()
    await succeed(broker, [lease])


async def test_after_flushall_everything_begins_anew(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    hand = Hand(broker)
    await broker.submit([new_job(), new_job()])
    [lease] = await hand.take()
    await redis.flushall()
    told = await broker.renew(hand.id, [(lease.job_id, lease.token)], 30_000)
    assert told.lost == {lease.job_id}
    assert await settle(broker, lease, Done(b"1")) == "lost"
    assert await hand.take(5) == []
    job = new_job()
    await broker.submit([job])
    assert [found.job_id for found in await hand.take(5)] == [job.id]
    assert await inspector.audit() == []


async def test_a_whole_life_leaves_no_place_behind(redis: "Redis", broker: Broker) -> None:
    jobs = [new_job(app=f"app{n % 3}", processor=("echo", "fetch")[n % 2]) for n in range(20)]
    await broker.submit(jobs)
    hand = Hand(broker)
    while leases := await hand.take(4):
        await succeed(broker, leases)
    state = await whole_state(redis)
    kept = {
        "job",
        "payload",
        "ended",
        "counts",
        "tallies",
        "events",
        "apps",
        "turns",
        "clock",
    }
    kept |= {"doorbell", "calls"}
    assert {key.split(":")[1] for key in state} == kept
    assert state[KEYS.key("counts")] == {
        "io|submitted": "20",
        "io|waiting": "0",
        "io|active": "0",
        f"io|{State.SUCCEEDED}": "20",
    }
