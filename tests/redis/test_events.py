"""The event stream: everything that happens, in order, readable whatever processors say."""

from redis.asyncio import Redis

from streams.broker import Broker
from streams.events import EventReader, parse_entry
from streams.model import Again, Done, HandedBack, Lane, State
from tests.redis.scenes import FAULT, KEYS, events, kinds, leased, settle
from tests.support.build import Hand, new_job


async def test_a_life_is_told_in_order(redis: "Redis", broker: Broker) -> None:
    job = new_job(app="cnc")
    lease = await leased(broker, job, "a")
    await settle(broker, lease, HandedBack())
    [lease] = await Hand(broker, "b").take()
    await broker.report([(job.id, lease.token, None, "half")])
    await settle(broker, lease, Again(0, FAULT))
    [lease] = await Hand(broker, "c").take()
    await broker.cancel(job.id)
    await settle(broker, lease, Done(b"1"))
    told = [(each.kind, each.state, each.attempt) for each in await events(redis)]
    assert told == [
        ("submitted", State.WAITING, 0),
        ("active", State.ACTIVE, 1),
        ("handed_back", State.ACTIVE, 1),
        ("active", State.ACTIVE, 2),
        ("progress", State.ACTIVE, 2),
        ("retrying", State.DELAYED, 2),
        ("active", State.ACTIVE, 3),
        ("cancelling", State.ACTIVE, 3),
        ("ended", State.SUCCEEDED, 3),
    ]
    assert {(each.job_id, each.app) for each in await events(redis)} == {(job.id, "cnc")}


async def test_reading_goes_on_after_the_last_id(redis: "Redis", broker: Broker) -> None:
    reader = EventReader(redis, KEYS)
    assert await reader.latest_id() == await reader.oldest_id() == "0-0"
    await broker.submit([new_job() for _ in range(3)])
    first = await reader.read("0-0")
    assert [each.kind for each in first] == ["submitted"] * 3
    assert len({each.id for each in first}) == 3
    assert await reader.read(first[-1].id) == []
    job = new_job()
    await broker.submit([job])
    [following] = await reader.read(first[-1].id)
    assert following.job_id == job.id
    assert following.at_ms > 0
    assert await reader.oldest_id() <= await reader.latest_id()
    assert await reader.read(await reader.latest_id(), block_ms=1) == []


async def test_a_note_cannot_break_the_stream(redis: "Redis", broker: Broker) -> None:
    job = new_job()
    lease = await leased(broker, job)
    note = "ended\tx\ty\nsubmitted\t0\r\v\f\x1c\x85\u2028\u2029\udc80 end"
    assert await broker.report([(job.id, lease.token, 0.5, note)]) == 1
    [event] = [each for each in await events(redis) if each.kind == "progress"]
    assert event.fields == {"fraction": "0.5", "note": "ended x y submitted 0 ? end"}
    assert await kinds(redis, job) == ["submitted", "active", "progress"]


async def test_progress_of_an_attempt_that_is_over_is_refused(broker: Broker) -> None:
    job = new_job()
    lease = await leased(broker, job)
    await settle(broker, lease, Done(b"1"))
    assert await broker.report([(job.id, lease.token, 1.0, ""), ("0-none", "t", 1.0, "")]) == 0


async def test_an_entry_may_hold_many_lines() -> None:
    lines = "submitted\t0-a\tio:etyde:high:echo:\twaiting\t0\n"
    lines += "ended\t0-b\tollama:x:low:ask:m:7b\tdead\t3\tcode=boom"
    first, second = parse_entry("17-4", lines.encode())
    assert (first.id, first.kind, first.job_id, first.at_ms) == ("17-4-0", "submitted", "0-a", 17)
    assert second.lane == Lane.parse("ollama:x:low:ask:m:7b")
    assert (second.id, second.state, second.fields) == ("17-4-1", State.DEAD, {"code": "boom"})


async def test_a_thousand_endings_are_all_told(redis: "Redis", broker: Broker) -> None:
    await broker.submit([new_job() for _ in range(1_000)])
    assert len(await Hand(broker).take(1_000)) == 1_000
    told = await events(redis)
    assert [each.kind for each in told] == ["submitted"] * 1_000 + ["active"] * 1_000
