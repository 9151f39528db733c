"""Cancel, snooze and logs through the whole worker: engine, host, threads and child processes."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis

from processors.sdk.host import Host
from streams.broker import Broker
from streams.control import Control
from streams.history import AttemptRecord
from streams.inspector import Inspector
from streams.keyspace import Keyspace
from streams.loops.log_keeper import LogKeeper
from streams.model import Cancelled, Job, ResourceClass, State
from streams.telemetry import Telemetry
from tests.processors.support import fixture_registry, is_alive, running_host
from tests.support.build import new_job
from tests.support.plain_worker import plain_worker
from tests.support.waiting import until

KEYS = Keyspace()
SLOTS = {ResourceClass.IO: 4, ResourceClass.CPU: 2}


class Bench:
    """A worker with the fixture processors, over one Redis."""

    def __init__(self, redis: "Redis", host: Host) -> None:
        self.broker = Broker(redis, KEYS)
        self.inspector = Inspector(redis, KEYS)
        self.host = host

    async def submit(self, name: str, resource_class: str, payload: object) -> str:
        encoded = msgspec.json.encode(payload)
        job = new_job(encoded, processor=name, resource_class=resource_class, attempts_max=1)
        await self.broker.submit([job])
        return job.id

    async def reach(self, job_id: str, *states: State) -> Job:
        async def look() -> Job | None:
            found = await self.inspector.job(job_id)
            return found if found is not None and found.state in states else None

        return await until(look, what=f"{job_id} to be {states}", limit_s=20)


@asynccontextmanager
async def bench(redis: "Redis", redis_url: str) -> AsyncIterator[Bench]:
    async with running_host() as host:
        made = Bench(redis, host)
        telemetry = Telemetry()
        keeper = LogKeeper(Control(redis, KEYS, made.broker.scripts))
        telemetry.listen(keeper)
        names = [processor.name for processor in fixture_registry()]
        async with plain_worker(
            made.broker, redis_url, host.run, slots=SLOTS, processors=names, telemetry=telemetry
        ):
            yield made
        await keeper.close()


@pytest.mark.parametrize(
    ("name", "resource_class", "payload", "limit_s"),
    [
        ("on-the-loop", "io", {"fail": "hang"}, 1.0),
        ("in-a-thread", "io", {"fail": "hang"}, 1.0),
        ("locked", "cpu", {}, 1.0),
        ("stubborn", "cpu", {}, 3.0),  # ignores SIGTERM, which it is given two seconds for
    ],
)
async def test_a_running_job_is_cancelled_and_its_worker_confirms_it(
    redis: "Redis",
    redis_url: str,
    tmp_path: Path,
    name: str,
    resource_class: str,
    payload: dict[str, object],
    limit_s: float,
) -> None:
    note = tmp_path / "pids"
    given = payload or {"folder": str(tmp_path)}
    async with bench(redis, redis_url) as worker:
        job_id = await worker.submit(name, resource_class, given)
        await worker.reach(job_id, State.ACTIVE)
        if resource_class == "cpu":
            await until(note.exists, what="the child to be at it")
        began = time.monotonic()
        assert await worker.broker.cancel(job_id, "no more") is Cancelled.REQUESTED
        ended = await worker.reach(job_id, State.CANCELLED)
        took_s = time.monotonic() - began
        assert ended.fault is not None
        assert (ended.fault.code, ended.fault.message) == ("cancelled", "no more")
        assert took_s < limit_s
        if resource_class == "cpu":
            pids = [int(pid) for pid in note.read_text().split()]
            assert not any(map(is_alive, pids))


async def story(worker: Bench, job_id: str) -> list[AttemptRecord]:
    async def logged() -> list[AttemptRecord] | None:
        attempts = await worker.inspector.attempts(job_id)
        return attempts if all(attempt.log for attempt in attempts) else None

    return await until(logged, what="the lines to be there")


@pytest.mark.parametrize(("name", "resource_class"), [("early", "io"), ("early-in-a-child", "cpu")])
async def test_a_snooze_uses_up_no_attempt_and_the_log_is_kept(
    redis: "Redis", redis_url: str, name: str, resource_class: str
) -> None:
    async with bench(redis, redis_url) as worker:
        job_id = await worker.submit(name, resource_class, {"attempt": 4})
        ended = await worker.reach(job_id, State.SUCCEEDED, State.DEAD)
        assert (ended.state, ended.attempt, ended.failures) == (State.SUCCEEDED, 4, 0)
    attempts = await story(worker, job_id)
    assert [attempt.ending for attempt in attempts] == ["put_back"] * 3 + ["succeeded"]
    faults = {attempt.fault for attempt in attempts[:3]}
    assert {(fault.code, fault.message) for fault in faults if fault} == {
        ("snoozed", "the page is not there yet")
    }
    lines = [(line.message, bytes(line.fields)) for each in attempts for line in each.log]
    assert lines == [("looked", b'{"attempt": %d}' % number) for number in (1, 2, 3, 4)]
