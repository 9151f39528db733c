"""SIGTERM and SIGINT to a worker at work: what is short ends, what is long is handed back."""

import signal
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from streams.events import Event
from streams.model import Job, State
from tests.e2e.platform import Command, Platform, accepted, children, gone, platform
from tests.support.redis_server import RedisServer
from tests.support.waiting import until

GRACE_MS = 1_500
LONG_LEASE_MS = 60_000  # so that nothing is taken over because a lease ran out
SLOTS = {"worker__io_slots": 4, "worker__cpu_slots": 2}
LEAVE_S = 8.0  # the grace period, the forced end of cpu attempts, the rest
KILLED_EXIT = 130


@pytest.fixture
async def stage(durable_server: RedisServer, tmp_path: Path) -> AsyncIterator[Platform]:
    async with platform(
        durable_server,
        tmp_path,
        engine__lease_ms=LONG_LEASE_MS,
        engine__grace_ms=GRACE_MS,
        **SLOTS,
    ) as running:
        yield running


class Work:
    """Short and long jobs that run, and jobs that wait behind them; long ones end at `release`."""

    def __init__(self, stage: Platform, folder: Path) -> None:
        self.stage = stage
        self.release = folder / "release"
        self.short: list[str] = []
        self.long: list[str] = []
        self.behind: list[str] = []

    async def begin(self, worker: Command) -> None:
        """Fill the worker's slots: two long jobs a class, the rest short; then more behind."""
        http = await self.stage.app("etyde")
        endless = {"until": str(self.release)}
        for name, slots in (("gate", 4), ("gate-cpu", 2)):
            # One attempt is all they have: to hand back must not use it up.
            for _ in range(slots // 2):
                self.long.append(await accepted(http, name, endless, attempts_max=1))
            for _ in range(slots // 2):
                self.short.append(await accepted(http, name, {"ms": 700}, attempts_max=1))
        running = {*self.long, *self.short}

        async def all_run() -> bool:
            return await self.stage.active(worker.id) == running

        await until(all_run, what="every slot to be taken")
        for name in ("gate", "gate-cpu"):
            self.behind += [await accepted(http, name, endless) for _ in range(3)]

    @property
    def count(self) -> int:
        return len(self.short) + len(self.long) + len(self.behind)

    async def found(self, ids: Sequence[str]) -> list[Job]:
        known = await self.stage.jobs(ids)
        return [known[job_id] for job_id in ids]

    async def starts(self) -> list[Event]:
        return [event for event in await self.stage.events() if event.kind == "active"]


async def is_draining(worker: Command) -> bool:
    return "stopping; once more leaves at once" in worker.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_a_stopping_worker_ends_short_jobs_and_hands_long_ones_back(
    stage: Platform, tmp_path: Path, number: signal.Signals
) -> None:
    work = Work(stage, tmp_path)
    first = await stage.worker("first")
    await stage.gateway()
    await work.begin(first)
    pids = children(first.pid)
    assert len(pids) >= 2
    first.signal(number)
    assert await first.ended(LEAVE_S) == 0
    gone(pids)

    assert {job.state for job in await work.found(work.short)} == {State.SUCCEEDED}
    for job in await work.found(work.long):
        # Its entry stays where it is, with a lease that anybody may take over.
        assert (job.state, job.failures, job.crashes) == (State.ACTIVE, 0, 0)
    for job in await work.found(work.behind):
        # What a take on its way still brought was handed back too.
        assert job.state in (State.WAITING, State.ACTIVE)
        assert (job.failures, job.crashes) == (0, 0)
    assert await stage.directory.workers() == []
    await stage.audited()

    before = len(await work.starts())
    second = await stage.worker("second")
    wanted = {*work.long, *work.behind}
    await until(lambda: many_active(stage, second), what="the second worker to be full")
    again = [event.job_id for event in (await work.starts())[before:]]
    for resource_class in ("io", "cpu"):
        mine = {
            job.id
            for job in await work.found([*wanted])
            if job.lane.resource_class == resource_class
        }
        order = [job_id for job_id in again if job_id in mine]
        returned = [job_id for job_id in work.long if job_id in mine]
        assert order[: len(returned)] == returned  # they had kept their place
    work.release.touch()
    await stage.all_ended(work.count, limit_s=20)
    for job in await work.found(work.long):
        assert (job.state, job.attempt, job.failures) == (State.SUCCEEDED, 2, 0)
    await stage.audited()


async def many_active(stage: Platform, worker: Command) -> bool:
    return len(await stage.active(worker.id)) == sum(SLOTS.values())


async def test_a_second_signal_leaves_at_once(stage: Platform, tmp_path: Path) -> None:
    work = Work(stage, tmp_path)
    worker = await stage.worker("hasty")
    await stage.gateway()
    await work.begin(worker)
    pids = children(worker.pid)
    worker.signal(signal.SIGTERM)
    await until(lambda: is_draining(worker), what="the stop to begin")
    asked = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert await worker.ended() == KILLED_EXIT
    assert time.monotonic() - asked < GRACE_MS / 1000
    gone(pids)
    assert {job.state for job in await work.found(work.long)} == {State.ACTIVE}


async def test_a_worker_that_starts_while_another_drains_takes_over(
    stage: Platform, tmp_path: Path
) -> None:
    work = Work(stage, tmp_path)
    first = await stage.worker("first", engine__grace_ms=60_000)
    await stage.gateway()
    await work.begin(first)
    first.signal(signal.SIGTERM)
    await until(lambda: is_draining(first), what="the stop to begin")
    second = await stage.worker("second")

    # What waits goes to the new worker, what runs stays with the old one.
    await until(lambda: taken_over(stage, second, work), what="the second worker to take over")
    assert await stage.active(first.id) == set(work.long)
    work.release.touch()
    assert await first.ended(LEAVE_S) == 0
    await stage.all_ended(work.count, limit_s=20)
    jobs = await work.found([*work.short, *work.long, *work.behind])
    assert {(job.state, job.attempt) for job in jobs} == {(State.SUCCEEDED, 1)}
    await stage.audited()


async def taken_over(stage: Platform, worker: Command, work: Work) -> bool:
    mine = await stage.active(worker.id)
    return len(mine) == 5 and mine <= set(work.behind)


async def test_a_worker_may_be_stopped_the_moment_it_is_ready(stage: Platform) -> None:
    for number in range(3):
        worker = stage.command(f"brief{number}", "worker", "--class", "io", "--class", "cpu")
        await until(
            lambda w=worker: "worker is ready" in w.log(), what="it to be ready", limit_s=30
        )
        worker.signal(signal.SIGTERM)
        assert await worker.ended(LEAVE_S) == 0
