"""The callbacks' own retry stream: leased, retried, given up, replayed, never twice."""

import pytest
from redis.asyncio import Redis

from streams.broker import Broker
from streams.callbacks import CallbackFilter, CallbackLease, CallbackState, CallbackStore
from streams.deliveries import DeadDelivery, Delivered, DeliveryVerdict, RetryDelivery
from streams.model import Done, Settled
from tests.redis.scenes import KEYS, leased, settle, told
from tests.support.redis_state import lifetimes, whole_state

RETRY = RetryDelivery(60_000, "no\tanswer", 503, 12)


@pytest.fixture
def callbacks(redis: "Redis", broker: Broker) -> CallbackStore:
    return CallbackStore(redis, KEYS, broker.settings)


async def record(broker: Broker, count: int = 1) -> None:
    """Ends jobs whose app wants to know."""
    jobs = [told() for _ in range(count)]
    await broker.submit(jobs)
    for job in jobs:
        await broker.cancel(job.id, "over")


async def one(callbacks: CallbackStore, sequence: int = 1) -> CallbackLease:
    [lease] = (await callbacks.take("courier-a", sequence, 1)).leases
    return lease


async def run_out(redis: "Redis") -> None:
    key = KEYS.key("callback_leases")
    await redis.zadd(key, dict.fromkeys(await redis.zrange(key, 0, -1), 1), xx=True)


async def make_due(redis: "Redis") -> None:
    key = KEYS.key("callback_due")
    await redis.zadd(key, dict.fromkeys(await redis.zrange(key, 0, -1), 1), xx=True)


async def test_what_is_told_is_frozen_when_the_job_ends(
    redis: "Redis", broker: Broker, callbacks: CallbackStore
) -> None:
    job = told(tags=("a", "b"), trace="00-1-2-01")
    await settle(broker, await leased(broker, job), Done(b'{"n":1}'))
    first = (await one(callbacks)).record
    await redis.delete(KEYS.job(job.id), KEYS.result(job.id))
    found = await callbacks.get(first.id)
    assert found is not None
    assert found.record == first
    assert (first.job_id, first.result, first.tags) == (job.id, b'{"n":1}', ("a", "b"))
    assert (first.attempt, first.sequence, first.trace) == (1, 1, "00-1-2-01")
    assert first.submitted_ms <= first.started_ms <= first.ended_ms


async def test_a_callback_is_leased_once_and_the_call_may_be_repeated(
    redis: "Redis", broker: Broker, callbacks: CallbackStore
) -> None:
    await record(broker, 3)
    first = await callbacks.take("courier-a", 1, 2)
    assert len(first.leases) == 2
    before = await whole_state(redis)
    assert list((await callbacks.take("courier-a", 1, 2)).leases) == list(first.leases)
    assert await whole_state(redis) == before
    second = await callbacks.take("courier-b", 1, 5)
    assert len({lease.id for lease in (*first.leases, *second.leases)}) == 3
    await callbacks.take("courier-a", 2, 5)
    assert (await callbacks.take("courier-a", 1, 2)).leases == []  # stale


@pytest.mark.parametrize(
    ("verdict", "state", "tries"),
    [
        (Delivered(200, 7), CallbackState.DELIVERED, 1),
        (DeadDelivery("gone", 410, 7), CallbackState.DEAD, 1),
        (RETRY, CallbackState.WAITING, 1),
        (RetryDelivery(60_000, "paused", counts=False), CallbackState.WAITING, 0),
    ],
    ids=["delivered", "dead", "retry", "put back"],
)
async def test_settling_a_delivery_many_times_is_settling_it_once(
    redis: "Redis",
    broker: Broker,
    callbacks: CallbackStore,
    verdict: DeliveryVerdict,
    state: CallbackState,
    tries: int,
) -> None:
    await record(broker)
    lease = await one(callbacks)
    assert await callbacks.settle(lease.id, lease.token, verdict) is Settled.SETTLED
    before = await whole_state(redis)
    for again in (verdict, Delivered(200), RETRY):
        assert await callbacks.settle(lease.id, lease.token, again) is Settled.ALREADY
    assert await whole_state(redis) == before
    view = await callbacks.get(lease.id)
    assert view is not None
    assert (view.state, view.tries) == (state, tries)
    assert len(view.attempts) == tries
    assert await callbacks.counts() == {"recorded": 1, "waiting": 0, str(state): 1}
    kept = (await lifetimes(redis))[KEYS.key("callback_", lease.id)]
    assert (kept is None) is (state is CallbackState.WAITING)
    assert before.get(KEYS.key("callback_leases")) is None


async def test_a_retry_comes_when_it_is_due(
    redis: "Redis", broker: Broker, callbacks: CallbackStore
) -> None:
    await record(broker)
    lease = await one(callbacks)
    await callbacks.settle(lease.id, lease.token, RetryDelivery(500, "busy"))
    taken = await callbacks.take("courier-a", 2, 5)
    assert (list(taken.leases), 0 < taken.look_again_ms <= 500) == ([], True)
    await make_due(redis)
    [again] = (await callbacks.take("courier-a", 3, 5)).leases
    assert (again.id, again.attempt, again.record) == (lease.id, 2, lease.record)
    await callbacks.settle(again.id, again.token, RETRY)
    view = await callbacks.get(lease.id)
    assert view is not None
    assert [(each.status, each.reason) for each in view.attempts] == [
        (0, "busy"),
        (503, "no answer"),
    ]


async def test_a_dead_couriers_callback_goes_to_another_and_the_old_token_is_void(
    redis: "Redis", broker: Broker, callbacks: CallbackStore
) -> None:
    await record(broker)
    old = await one(callbacks)
    await run_out(redis)
    [new] = (await callbacks.take("courier-b", 1, 5)).leases
    assert (new.id, new.attempt) == (old.id, 2)
    before = await whole_state(redis)
    assert await callbacks.renew([(old.id, old.token)]) == {old.id}
    assert await callbacks.settle(old.id, old.token, Delivered(200)) is Settled.LOST
    assert await whole_state(redis) == before
    assert await callbacks.renew([(new.id, new.token)], 90_000) == frozenset()
    assert await callbacks.settle(new.id, new.token, Delivered(200)) is Settled.SETTLED
    assert await callbacks.settle("msg_none", "t", Delivered(200)) is Settled.LOST


@pytest.mark.parametrize("verdict", [Delivered(200), DeadDelivery("gone", 410)])
async def test_a_replay_sends_the_same_thing_once_more(
    redis: "Redis", broker: Broker, callbacks: CallbackStore, verdict: DeliveryVerdict
) -> None:
    await record(broker)
    lease = await one(callbacks)
    assert await callbacks.replay([lease.id]) == 0  # it is under way
    await callbacks.settle(lease.id, lease.token, verdict)
    assert await callbacks.replay([lease.id, lease.id, "msg_none"]) == 1
    before = await whole_state(redis)
    assert await callbacks.replay([lease.id]) == 0
    assert await whole_state(redis) == before
    again = await one(callbacks, 2)
    assert (again.record, again.attempt) == (lease.record, 1)
    assert await callbacks.counts() == {
        "recorded": 1,
        "waiting": 1,
        "dead" if isinstance(verdict, DeadDelivery) else "delivered": 0,
    }


@pytest.mark.parametrize("expired", [False, True])
async def test_a_group_that_was_destroyed_loses_no_callback(
    redis: "Redis", broker: Broker, callbacks: CallbackStore, expired: bool
) -> None:
    await record(broker, 2)
    held = await one(callbacks)
    if expired:
        await run_out(redis)
    await redis.xgroup_destroy(KEYS.key("callbacks_", "ep"), "couriers")
    found: set[str] = set()
    for sequence in range(2, 5):
        for lease in (await callbacks.take("courier-a", sequence, 5)).leases:
            found.add(lease.id)
            await callbacks.settle(lease.id, lease.token, Delivered(200))
    if not expired:  # its lease stood, and nobody else was given it
        assert held.id not in found
        assert await callbacks.settle(held.id, held.token, Delivered(200)) is Settled.SETTLED
    assert len(found | {held.id}) == 2
    assert await callbacks.counts() == {"recorded": 2, "waiting": 0, "delivered": 2}
    state = await whole_state(redis)
    lanes = ("callbacks_", "callback_lanes", "callback_leases", "callback_hosts")
    gone = [KEYS.key(name, "ep" if name.endswith("_") else "") for name in lanes]
    assert not set(gone) & set(state)


async def test_pages_hold_every_callback_once(broker: Broker, callbacks: CallbackStore) -> None:
    await record(broker, 7)
    leases = (await callbacks.take("courier-a", 1, 4)).leases
    await callbacks.settle(leases[0].id, leases[0].token, Delivered(200))
    await callbacks.settle(leases[1].id, leases[1].token, DeadDelivery("gone"))
    await callbacks.settle(leases[2].id, leases[2].token, RETRY)
    seen, cursor = [], ""
    while True:
        page = await callbacks.page(cursor=cursor, limit=2)
        seen += [view.record.id for view in page.items]
        if not (cursor := page.cursor):
            break
    assert len(seen) == len(set(seen)) == 7
    dead = await callbacks.page(CallbackFilter("etyde", (CallbackState.DEAD,)))
    assert [view.record.id for view in dead.items] == [leases[1].id]
    assert (await callbacks.page(CallbackFilter("other"))).items == []


async def test_a_long_log_keeps_its_newest_lines(
    redis: "Redis", broker: Broker, callbacks: CallbackStore
) -> None:
    await record(broker)
    for sequence in range(1, 41):
        lease = await one(callbacks, sequence)
        await callbacks.settle(lease.id, lease.token, RetryDelivery(0, f"{sequence} " + "x" * 400))
    view = await callbacks.get(lease.id)
    assert view is not None
    assert view.tries == 40
    numbers = [int(each.reason.split()[0]) for each in view.attempts]
    assert numbers == list(range(numbers[0], 41))
    assert 20 < len(numbers) < 40
