"""What the engine promises, each with a scenario that can fail, on every installed server."""

import pytest

from streams.broker import Broker
from streams.callbacks import CallbackStore
from streams.errors import OutOfMemory
from streams.events import EventReader
from streams.inspector import Inspector
from streams.keyspace import Keyspace
from streams.model import (
    Again,
    CallbackRequest,
    Cancelled,
    Dead,
    Done,
    Fault,
    HandedBack,
    Settled,
    Settlement,
    State,
    Stopped,
)
from tests.support.build import Hand, new_job
from tests.support.plain_worker import client
from tests.support.redis_server import RedisServer
from tests.support.redis_state import whole_state

KEYS = Keyspace()
FAULT = Fault("boom", "it broke")


@pytest.fixture
def broker(redis):
    return Broker(redis, KEYS)


@pytest.fixture
def inspector(redis):
    return Inspector(redis, KEYS)


def settlement(lease, verdict):
    return Settlement(lease.job_id, lease.token, verdict)


async def expire(redis, lease):
    """Lets a lease run out now."""
    member = f"{lease.lane.name}|{lease.entry_id}"
    await redis.zadd(KEYS.key("leases_", lease.pool), {member: 1}, xx=True)


async def fits(broker, count):
    """Submits jobs of 900 bytes each; False once Redis refuses them."""
    try:
        await broker.submit([new_job(b'"' + b"x" * 900 + b'"') for _ in range(count)])
    except OutOfMemory:
        return False
    return True


async def state_of(inspector, job):
    found = await inspector.job(job.id)
    return found.state


async def test_a_dead_entry_behind_two_thousand_live_ones_is_leased_by_one_take(redis, broker):
    await broker.submit([new_job() for _ in range(1000)])
    await broker.submit([new_job() for _ in range(1000)])
    alive = Hand(broker, "alive")
    for _ in range(2):
        assert len(await alive.take(1000)) == 1000
    last = new_job()
    await broker.submit([last])
    [lease] = await Hand(broker, "dead").take(1)
    assert lease.job_id == last.id
    await expire(redis, lease)
    [again] = await Hand(broker, "other").take(1)
    assert (again.job_id, again.attempt) == (last.id, 2)


async def test_ten_thousand_jobs_of_one_app_delay_another_by_one_turn(broker):
    for _ in range(10):
        await broker.submit([new_job(app="many") for _ in range(1000)])
    hand = Hand(broker)
    await hand.take(10)
    single = new_job(app="few")
    await broker.submit([single])
    order = [lease.job_id for lease in await hand.take(10)]
    assert order.index(single.id) <= 1


async def test_a_worker_without_the_processor_leaves_its_jobs_and_takes_what_lies_behind(broker):
    foreign, own = new_job(processor="fetch"), new_job(processor="echo")
    await broker.submit([foreign, own])
    lacking = Hand(broker, "lacking", processors=["echo"])
    assert [lease.job_id for lease in await lacking.take(10)] == [own.id]
    having = Hand(broker, "having", processors=["fetch"])
    assert [lease.job_id for lease in await having.take(10)] == [foreign.id]


@pytest.mark.parametrize(
    "verdict",
    [Done(b'"late"'), Again(0, FAULT), Dead(FAULT), Stopped(), HandedBack()],
    ids=lambda verdict: type(verdict).__name__,
)
async def test_a_token_that_is_not_the_newest_changes_nothing(redis, broker, verdict):
    job = new_job(callback=CallbackRequest("https://app.example/hook", "ep"))
    await broker.submit([job])
    [old] = await Hand(broker, "old").take(1)
    await expire(redis, old)
    [new] = await Hand(broker, "new").take(1)
    await broker.renew("host-1-old", [(old.job_id, old.token)], 30_000)  # it lives: forgiven once
    before = await whole_state(redis)
    assert await broker.settle("host-1-old", [settlement(old, verdict)]) == [Settled.LOST]
    assert await broker.report([(old.job_id, old.token, 0.5, "zombie")]) == 0
    assert await whole_state(redis) == before
    assert await broker.settle("host-1-new", [settlement(new, Done(b'"new"'))]) == [Settled.SETTLED]


async def test_a_lease_that_ran_out_but_nobody_took_is_settled(redis, broker, inspector):
    job = new_job()
    await broker.submit([job])
    [lease] = await Hand(broker).take(1)
    await expire(redis, lease)
    assert await broker.settle("w", [settlement(lease, Done(b"1"))]) == [Settled.SETTLED]
    assert await state_of(inspector, job) is State.SUCCEEDED


@pytest.mark.parametrize(
    "verdict",
    [Done(b'"x"'), Again(60_000, FAULT), Dead(FAULT), Stopped(), HandedBack()],
    ids=lambda verdict: type(verdict).__name__,
)
async def test_a_settlement_sent_three_times_has_the_effect_of_one(
    redis, broker, inspector, verdict
):
    job = new_job(callback=CallbackRequest("https://app.example/hook", "ep"))
    await broker.submit([job])
    [lease] = await Hand(broker).take(1)
    assert await broker.settle("w", [settlement(lease, verdict)]) == [Settled.SETTLED]
    events = await EventReader(redis, KEYS).read("0-0")
    for _ in range(2):
        assert await broker.settle("w", [settlement(lease, verdict)]) == [Settled.ALREADY]
    assert await EventReader(redis, KEYS).read("0-0") == events
    assert await inspector.audit() == []
    counts = await CallbackStore(redis, KEYS).counts()
    assert counts.get("recorded", 0) == (1 if isinstance(verdict, (Done, Dead)) else 0)


async def test_a_take_repeated_gives_the_same_leases_and_a_late_one_nothing(broker, inspector):
    await broker.submit([new_job() for _ in range(9)])
    hand = Hand(broker)
    first = await hand.take(3)
    first_call = hand.call(3)
    second = await hand.take(3)
    assert list((await broker.take(hand.call(3))).leases) == list(second)
    assert list((await broker.take(first_call)).leases) == list(first)
    third = await hand.take(1)
    late = await broker.take(first_call)
    assert (late.stale, list(late.leases)) == (True, [])
    counts = await inspector.counts()
    assert counts["io|active"] == len(first) + len(second) + len(third)


async def test_three_deaths_make_a_dead_letter_and_handing_back_counts_as_none(
    redis, broker, inspector
):
    job = new_job()
    await broker.submit([job])
    for number in range(5):
        [lease] = await Hand(broker, f"gentle{number}").take(1)
        await broker.settle("w", [settlement(lease, HandedBack())])
    for number in range(3):
        [lease] = await Hand(broker, f"doomed{number}").take(1)
        await expire(redis, lease)
    assert list(await Hand(broker, "last").take(1)) == []
    found = await inspector.job(job.id)
    assert (found.state, found.crashes, found.fault.code) == (State.DEAD, 3, "crashed")
    assert await inspector.audit() == []


async def test_a_lease_lost_to_a_broken_link_is_forgiven_when_its_worker_is_back(
    redis, broker, inspector
):
    job = new_job()
    await broker.submit([job])
    for number in range(4):
        [lease] = await Hand(broker, f"cut{number}").take(1)
        await expire(redis, lease)
        [lease_2] = await Hand(broker, f"next{number}").take(1)
        answer = await broker.renew(f"host-1-cut{number}", [(lease.job_id, lease.token)], 1)
        assert answer.lost == {job.id}
        await broker.settle("w", [settlement(lease_2, HandedBack())])
    assert (await inspector.job(job.id)).crashes == 0


async def test_a_job_that_is_handed_back_keeps_its_place(redis, broker):
    first, second = new_job(), new_job()
    await broker.submit([first, second])
    hand = Hand(broker)
    [lease] = await hand.take(1)
    await broker.settle(hand.id, [settlement(lease, HandedBack())])
    assert [lease.job_id for lease in await hand.take(2)] == [first.id, second.id]


async def test_cancelling_reaches_a_job_in_every_state(redis, broker, inspector):
    waiting, delayed, active, dead_worker = (
        new_job(),
        new_job(delay_ms=60_000),
        new_job(app="a"),
        new_job(app="b"),
    )
    await broker.submit([active])
    [lease] = await Hand(broker, "live").take(1)
    await broker.submit([dead_worker])
    [lost] = await Hand(broker, "dead").take(1)
    await broker.submit([waiting, delayed])
    assert await broker.cancel(waiting.id) is Cancelled.CANCELLED
    assert await broker.cancel(delayed.id) is Cancelled.CANCELLED
    assert await broker.cancel(active.id) is Cancelled.REQUESTED
    assert await broker.cancel(dead_worker.id) is Cancelled.REQUESTED
    assert (await broker.renew("host-1-live", [(active.id, lease.token)], 30_000)).cancel
    await broker.settle("w", [settlement(lease, Stopped("cancelled"))])
    await expire(redis, lost)
    assert list(await Hand(broker, "third").take(5)) == []
    for job in (waiting, delayed, active, dead_worker):
        assert await state_of(inspector, job) is State.CANCELLED
        assert await broker.cancel(job.id) is Cancelled.ENDED
    assert await inspector.audit() == []


async def test_at_maxmemory_submits_are_refused_whole_and_work_goes_on(redis_server):
    server = RedisServer(redis_server.binary, "maxmemory 6mb")
    redis = client(server.url)
    try:
        broker, inspector = Broker(redis, KEYS), Inspector(redis, KEYS)
        accepted = 0
        while await fits(broker, 20):
            accepted += 20
        before = await inspector.counts()
        assert before["io|waiting"] == before["io|submitted"] == accepted > 0
        hand = Hand(broker)
        done = 0
        while leases := await hand.take(50):
            await broker.renew(hand.id, [(each.job_id, each.token) for each in leases], 30_000)
            verdicts = [settlement(each, Done(b'"y"')) for each in leases]
            assert set(await broker.settle(hand.id, verdicts)) == {Settled.SETTLED}
            done += len(leases)
        assert done == accepted
        assert await inspector.audit() == []
    finally:
        await redis.aclose()
        server.stop()
