"""After an outage, after a clock that went back, and after deaths that jobs met together."""

from redis.asyncio import Redis

from streams.broker import Broker
from streams.inspector import Inspector
from streams.model import Done, HandedBack, Settled, State
from tests.redis.scenes import KEYS, leased, run_out, settle
from tests.support.build import Hand, new_job

CLOCK = KEYS.key("clock_", "io")


async def now_ms(redis: "Redis") -> int:
    seconds, microseconds = await redis.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


async def after_an_outage(redis: "Redis", minutes: int = 10) -> None:
    await redis.hset(CLOCK, "seen", await now_ms(redis) - minutes * 60_000)


async def test_who_was_cut_off_with_all_others_may_come_back(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    lease = await leased(broker, new_job())
    await run_out(redis, lease)
    await after_an_outage(redis)
    early = await Hand(broker, "early").ask()
    assert early.leases == []
    assert early.look_again_ms == broker.settings.poll_ceiling_ms
    assert await settle(broker, lease, Done(b"1")) is Settled.SETTLED
    assert await inspector.audit() == []


async def test_who_does_not_come_back_loses_the_lease(redis: "Redis", broker: Broker) -> None:
    lease = await leased(broker, new_job())
    await run_out(redis, lease)
    await after_an_outage(redis)
    hand = Hand(broker, "other")
    assert await hand.take() == []
    grace = int(await redis.hget(CLOCK, "grace"))
    assert 4_000 < grace - await now_ms(redis) <= broker.settings.return_grace_ms
    await redis.hset(CLOCK, "grace", 1)
    assert [each.job_id for each in await hand.take()] == [lease.job_id]


async def test_a_renewal_may_be_the_first_to_come_back(redis: "Redis", broker: Broker) -> None:
    first, second = await leased(broker, new_job()), await leased(broker, new_job(), name="b")
    await run_out(redis, first)
    await run_out(redis, second)
    await after_an_outage(redis)
    await broker.renew("host-1-w", [(first.job_id, first.token)], 30_000)
    assert await Hand(broker, "other").take(5) == []


async def test_the_sweep_ends_nobody_who_may_come_back(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    lease = await leased(broker, new_job())
    await redis.hset(KEYS.job(lease.job_id), "crashes", 2)
    await run_out(redis, lease)
    await after_an_outage(redis)
    assert await broker.sweep(lease.lane.name) == (0, "-")
    await redis.hset(CLOCK, "seen", await now_ms(redis))
    assert await broker.sweep(lease.lane.name) == (1, "-")
    [job] = await inspector.jobs_by_id([lease.job_id])
    assert job.state is State.DEAD


async def test_leases_out_of_an_outage_count_toward_the_limit(
    redis: "Redis", broker: Broker
) -> None:
    await broker.set_limit("io", 1)
    await run_out(redis, await leased(broker, new_job()))
    await broker.submit([new_job()])
    await after_an_outage(redis)
    assert await Hand(broker, "other").take() == []


async def test_what_was_handed_back_waits_for_nobody(redis: "Redis", broker: Broker) -> None:
    lease = await leased(broker, new_job())
    await settle(broker, lease, HandedBack())
    await after_an_outage(redis)
    assert [each.job_id for each in await Hand(broker, "other").take()] == [lease.job_id]


async def test_a_server_clock_that_goes_back_takes_the_deadlines_with_it(
    redis: "Redis", broker: Broker
) -> None:
    lease = await leased(broker, new_job())
    leases = KEYS.key("leases_", "io")
    hour = 3_600_000
    await redis.zincrby(leases, hour, f"{lease.lane.name}|{lease.entry_id}")
    await redis.hset(CLOCK, "seen", await now_ms(redis) + hour)
    await Hand(broker, "other").take()
    [(_, deadline)] = await redis.zrange(leases, 0, -1, withscores=True)
    assert 20_000 < deadline - await now_ms(redis) <= 31_000


async def test_jobs_that_died_together_are_tried_one_by_one(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    """One of them ends its worker each time: the others must not reach a third death with it."""
    jobs = [new_job() for _ in range(5)]
    deadly = jobs[2].id
    await broker.submit(jobs)
    hand = Hand(broker)
    for _ in range(2):
        for lease in await hand.take(9):
            await run_out(redis, lease)
    ran = []
    for _ in jobs:
        leases = await hand.take(9)
        assert await Hand(broker, "idle").take(9) == []
        [alone] = leases
        ran.append(alone.job_id)
        if alone.job_id == deadly:
            await run_out(redis, alone)
        else:
            assert await settle(broker, alone, Done(b"1")) is Settled.SETTLED
    assert await hand.take(9) == []
    states = {job.id: (await inspector.jobs_by_id([job.id]))[0].state for job in jobs}
    assert states.pop(deadly) is State.DEAD
    assert set(states.values()) == {State.SUCCEEDED}
    assert sorted(ran) == sorted(job.id for job in jobs)
