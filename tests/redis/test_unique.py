"""Unique keys: one job of an app at a time has one, and every ending lets it go."""

import asyncio

import msgspec
import pytest
from redis.asyncio import Redis

from streams.broker import Broker
from streams.inspector import Inspector
from streams.model import Again, Conflict, Done, NewJob, State, Submitted, UniqueKey
from tests.redis.scenes import FAULT, KEYS, leased, settle, state_of
from tests.redis.test_endings import ENDINGS, Ending
from tests.support.build import Hand, new_job
from tests.support.waiting import until

KEY = KEYS.key("unique_", "etyde|order-17")


def unique(on_conflict: str = "refuse", window_ms: int = 0, **fields: object) -> NewJob:
    key = UniqueKey("order-17", Conflict(on_conflict), window_ms)
    return new_job(unique=key, **fields)


async def submit(broker: Broker, job: NewJob) -> Submitted:
    (answer,) = await broker.submit([job])
    return answer


@pytest.mark.parametrize("mode", ["refuse", "existing"])
async def test_a_second_job_is_not_stored_and_the_first_is_named(
    redis: "Redis", broker: Broker, inspector: Inspector, mode: str
) -> None:
    first, second = unique(), unique(mode)
    await submit(broker, first)
    before = await state_of(redis)
    answer = Submitted(second.id, State.WAITING, created=False, holder=first.id)
    assert [await submit(broker, second) for _ in range(3)] == [answer] * 3
    assert await state_of(redis) == before
    assert (await inspector.jobs_by_id([first.id]))[0].unique == first.unique


async def test_a_key_belongs_to_one_app(broker: Broker) -> None:
    assert (await submit(broker, unique())).created
    assert (await submit(broker, unique(app="other"))).created
    assert not (await submit(broker, unique(app="other"))).created


async def test_two_jobs_of_one_call_cannot_share_a_key(broker: Broker) -> None:
    first, second = unique(), unique()
    answers = await broker.submit([first, second])
    assert [answer.holder for answer in answers] == ["", first.id]


async def test_submitting_the_holder_again_changes_nothing(redis: "Redis", broker: Broker) -> None:
    first = unique("replace")
    await submit(broker, first)
    before = await state_of(redis)
    assert await submit(broker, first) == Submitted(first.id, State.WAITING, created=False)
    assert await state_of(redis) == before


async def test_retries_keep_the_key(redis: "Redis", broker: Broker) -> None:
    first = unique()
    lease = await leased(broker, first)
    assert not (await submit(broker, unique())).created
    await settle(broker, lease, Again(0, FAULT))
    assert (await submit(broker, unique())).holder == first.id
    (lease,) = await Hand(broker, "second").take()
    await settle(broker, lease, Done(b"1"))
    assert not await redis.exists(KEY)
    assert (await submit(broker, unique())).created


@pytest.mark.parametrize(
    "end", [row[0] for row in ENDINGS], ids=[row[0].__name__[3:] for row in ENDINGS]
)
async def test_every_ending_lets_the_key_go(
    redis: "Redis", broker: Broker, monkeypatch: pytest.MonkeyPatch, end: Ending
) -> None:
    key = UniqueKey("order-17")

    def told(**fields: object) -> NewJob:
        return new_job(unique=key, **fields)

    monkeypatch.setattr("tests.redis.test_endings.told", told)
    job = await end(redis, broker)
    assert await redis.hget(KEYS.job(job.id), "unique") == b"refuse 0 order-17"
    assert not await redis.exists(KEY)


async def test_a_job_that_has_not_started_is_replaced(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    first = unique(delay_ms=60_000)
    second, third = (unique("replace", payload=payload) for payload in (b"2", b"3"))
    await submit(broker, first)
    for job in (second, second, third):
        await submit(broker, job)
    found = {job.id: job for job in (await inspector.jobs()).items}
    assert found[first.id].fault is not None
    assert found[first.id].fault.code == "replaced"
    assert found[first.id].fault.message == f"{second.id} took its place"
    assert [found[job.id].state for job in (first, second, third)] == [
        State.CANCELLED,
        State.CANCELLED,
        State.WAITING,
    ]
    assert await redis.get(KEY) == third.id.encode()
    (lease,) = await Hand(broker).take(5)
    assert lease.payload == b"3"
    assert await inspector.audit() == []


async def test_the_newer_delay_wins(broker: Broker, inspector: Inspector) -> None:
    await submit(broker, unique())
    late = unique("replace", delay_ms=60_000)
    await submit(broker, late)
    assert await Hand(broker).take(5) == []
    assert (await inspector.counts())["io|delayed"] == 1


async def test_what_has_started_is_not_replaced_but_followed(
    redis: "Redis", broker: Broker
) -> None:
    lease = await leased(broker, unique())
    second = unique("replace")
    assert (await submit(broker, second)).created
    await settle(broker, lease, Done(b"1"))
    assert await redis.get(KEY) == second.id.encode()
    assert (await submit(broker, unique())).holder == second.id


async def test_a_window_holds_beyond_the_end_and_no_longer(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    first = unique("existing", 60_000)
    lease = await leased(broker, first)
    await settle(broker, lease, Done(b"1"))
    answer = await submit(broker, unique("existing", 60_000))
    assert (answer.holder, answer.state) == (first.id, State.SUCCEEDED)
    assert 0 < await redis.pttl(KEY) <= 60_000
    await redis.pexpire(KEY, 1)

    async def over() -> bool:
        return not await redis.exists(KEY)

    await until(over, what="the window's end")
    assert (await submit(broker, unique("existing", 60_000))).created


async def test_a_window_may_end_before_the_job(redis: "Redis", broker: Broker) -> None:
    first, second = unique("refuse", 60_000), unique()
    lease = await leased(broker, first)
    await redis.delete(KEY)
    assert (await submit(broker, second)).created
    await settle(broker, lease, Done(b"1"))
    assert await redis.get(KEY) == second.id.encode()


async def test_a_job_that_runs_again_needs_its_key(broker: Broker, redis: "Redis") -> None:
    first, second = unique(), unique()
    await submit(broker, first)
    await broker.cancel(first.id)
    await submit(broker, second)
    assert await broker.replay([first.id]) == ["taken"]
    await broker.cancel(second.id)
    assert await broker.replay([first.id]) == ["replayed"]
    assert await redis.get(KEY) == first.id.encode()
    assert (await submit(broker, unique())).holder == first.id


async def test_a_key_whose_job_is_gone_is_free(redis: "Redis", broker: Broker) -> None:
    await redis.set(KEY, "0-gone")
    assert (await submit(broker, unique())).created


async def test_of_many_at_once_one_is_stored(broker: Broker, inspector: Inspector) -> None:
    jobs = [unique() for _ in range(40)]
    answers = await asyncio.gather(*(submit(broker, job) for job in jobs))
    (winner,) = [answer.id for answer in answers if answer.created]
    assert {answer.holder for answer in answers if not answer.created} == {winner}
    assert (await inspector.counts())["io|submitted"] == 1


async def test_redis_without_memory_replaces_nothing(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    first = unique()
    await submit(broker, first)
    await redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(Exception, match="memory"):
            await submit(broker, unique("replace"))
    finally:
        await redis.config_set("maxmemory", 0)
    found = await inspector.job(first.id)
    assert found is not None
    assert found.state is State.WAITING
    assert await redis.get(KEY) == first.id.encode()


async def test_a_key_survives_the_journal(broker: Broker) -> None:
    job = unique("replace")
    encoded = msgspec.msgpack.encode(job)
    assert msgspec.msgpack.decode(encoded, type=NewJob) == job
