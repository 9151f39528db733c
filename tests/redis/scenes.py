"""Steps that many tests of the engine share."""

from collections.abc import Iterable
from typing import Any

from redis.asyncio import Redis

from streams.broker import Broker
from streams.callbacks import CallbackStore
from streams.events import Event, EventReader
from streams.keyspace import Keyspace, lease_member
from streams.model import (
    CallbackRequest,
    Done,
    Fault,
    Lease,
    NewJob,
    Settled,
    Settlement,
    Verdict,
)
from tests.support.build import Hand, new_job
from tests.support.redis_state import whole_state

KEYS = Keyspace()
FAULT = Fault("boom", "it broke")
HOOK = CallbackRequest("https://app.example/hook", "ep")
CLOCKS = ("{rn}:clock:", "{rn}:doorbell:")  # move with time and say nothing of any job


def told(**fields: Any) -> NewJob:
    """A job whose app wants to be told of every ending."""
    return new_job(callback=HOOK, **fields)


async def submit(broker: Broker, *jobs: NewJob) -> None:
    await broker.submit(jobs)


async def leased(broker: Broker, job: NewJob, name: str = "w", **fields: Any) -> Lease:
    """Submits a job and leases it to a worker of that name."""
    await broker.submit([job])
    [lease] = await Hand(broker, name, job.lane.resource_class, **fields).take()
    assert lease.job_id == job.id
    return lease


async def run_out(redis: "Redis", *leases: Lease) -> None:
    """Lets leases run out, as when their worker fell silent."""
    for lease in leases:
        member = lease_member(lease.lane.name, lease.entry_id)
        await redis.zadd(KEYS.key("leases_", lease.pool), {member: 1}, xx=True)


async def settle(broker: Broker, lease: Lease, verdict: Verdict) -> Settled:
    [answer] = await broker.settle("host-1-w", [Settlement(lease.job_id, lease.token, verdict)])
    return answer


async def succeed(broker: Broker, leases: Iterable[Lease]) -> None:
    for lease in leases:
        assert await settle(broker, lease, Done(b"1")) is Settled.SETTLED


async def events(redis: "Redis") -> list[Event]:
    return await EventReader(redis, KEYS).read("0-0")


async def kinds(redis: "Redis", job: NewJob) -> list[str]:
    """What happened to a job, in order."""
    return [event.kind for event in await events(redis) if event.job_id == job.id]


async def state_of(redis: "Redis", *but: str) -> dict[str, Any]:
    """All of Redis but what moves by itself."""
    return await whole_state(redis, but=(*CLOCKS, *but))


def store(redis: "Redis", broker: Broker) -> CallbackStore:
    return CallbackStore(redis, KEYS, broker.settings)
