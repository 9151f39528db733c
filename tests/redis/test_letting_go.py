"""Entries that many settles let go in one call: those, and no others, however they are deleted."""

import pytest
from redis.asyncio import Redis

from streams.broker import Broker
from streams.model import Done, Lease, Settled, Settlement
from tests.redis.scenes import KEYS
from tests.support.build import Hand, new_job

MANY = 8
BATCH = 5  # from as many on, one XTRIM is tried


async def all_leased(broker: Broker) -> tuple[str, list[Lease]]:
    """More jobs than are leased, in one lane; its stream."""
    jobs = [new_job() for _ in range(2 * MANY)]
    await broker.submit(jobs)
    leases = list(await Hand(broker).take(MANY))
    return KEYS.stream(jobs[0].lane.name), leases


async def settle_all(broker: Broker, leases: list[Lease]) -> None:
    batch = [Settlement(lease.job_id, lease.token, Done(b"1")) for lease in leases]
    assert set(await broker.settle("w", batch)) == {Settled.SETTLED}


async def jobs_in(redis: "Redis", stream: str) -> list[str]:
    return [fields[b"j"].decode() for _, fields in await redis.xrange(stream)]


@pytest.mark.parametrize("order", [1, -1])
async def test_the_oldest_are_let_go_in_any_order(
    redis: "Redis", broker: Broker, order: int
) -> None:
    stream, leases = await all_leased(broker)
    before = await jobs_in(redis, stream)
    await settle_all(broker, leases[:BATCH][::order])
    assert await jobs_in(redis, stream) == before[BATCH:]


async def test_what_runs_before_them_stays(redis: "Redis", broker: Broker) -> None:
    stream, leases = await all_leased(broker)
    before = await jobs_in(redis, stream)
    await settle_all(broker, leases[1 : 1 + BATCH])
    assert await jobs_in(redis, stream) == before[:1] + before[1 + BATCH :]


async def test_what_a_new_group_has_not_delivered_stays(redis: "Redis", broker: Broker) -> None:
    stream, leases = await all_leased(broker)
    before = await jobs_in(redis, stream)
    await redis.xgroup_destroy(stream, "workers")
    await redis.xgroup_create(stream, "workers", "0")
    entries = [lease.entry_id for lease in leases[-BATCH:]]
    await redis.xclaim(stream, "workers", "w", 0, entries, force=True)  # as the auditor does
    await settle_all(broker, leases[-BATCH:])
    assert await jobs_in(redis, stream) == before[: MANY - BATCH] + before[MANY:]
