"""Promises that need many jobs or little memory, on every installed server."""

import pytest

from streams.broker import Broker
from streams.errors import OutOfMemory
from streams.inspector import Inspector
from streams.keyspace import Keyspace
from streams.model import Done, HandedBack, Settled, Settlement
from tests.support.build import Hand, new_job
from tests.support.plain_worker import client
from tests.support.redis_server import RedisServer

KEYS = Keyspace()


@pytest.fixture
def broker(redis):
    return Broker(redis, KEYS)


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


async def test_a_job_that_is_handed_back_keeps_its_place(redis, broker):
    first, second = new_job(), new_job()
    await broker.submit([first, second])
    hand = Hand(broker)
    [lease] = await hand.take(1)
    await broker.settle(hand.id, [settlement(lease, HandedBack())])
    assert [lease.job_id for lease in await hand.take(2)] == [first.id, second.id]


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


async def test_at_maxmemory_a_large_result_is_staged_and_settled(redis_server):
    server = RedisServer(redis_server.binary, "maxmemory 6mb")
    redis = client(server.url)
    try:
        broker = Broker(redis, KEYS)
        while await fits(broker, 20):
            pass
        [lease] = await Hand(broker).take(1)
        result = b'"' + b"r" * 100_000 + b'"'
        await broker.stage(lease.job_id, lease.token, result)
        assert await broker.settle("w", [settlement(lease, Done(result))]) == [Settled.SETTLED]
        assert await Inspector(redis, KEYS).result(lease.job_id) == result
    finally:
        await redis.aclose()
        server.stop()
