"""The Faust runtime over the real engine, and a contract over the private names it touches."""

import asyncio
import inspect
import time

import faust
import pytest
from faust.app.base import BootStrategy
from mode import Service

from processors.runtime import PullChannel, RedisApp, Runtime, WindowTable
from streams.attempt import Attempt
from streams.broker import Broker
from streams.inspector import Inspector
from streams.keyspace import Keyspace
from streams.model import ResourceClass, State
from streams.worker import Worker, WorkerPlan
from tests.support.build import PROCESSORS, new_job
from tests.support.plain_worker import client
from tests.support.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Counting:
    name, every_s = "counting", 0.05

    def __init__(self) -> None:
        self.ticks = 0

    async def tick(self) -> None:
        self.ticks += 1
        if self.ticks == 2:
            raise RuntimeError("a chore that fails is tried again")


async def run_with(redis_url, run, slots, scenario, chores=(), windows=None):
    broker = Broker(client(redis_url), Keyspace())
    plan = WorkerPlan("host-1-runtime", slots, dict.fromkeys(slots, PROCESSORS))
    control, bell = client(redis_url), client(redis_url)
    worker = Worker(broker, plan, run, control=control, bell=bell)
    runtime = Runtime(worker, chores, windows=windows)
    await runtime.start()
    try:
        await scenario(broker, runtime)
    finally:
        await runtime.stop()
        for each in (control, bell, broker._redis):
            await each.aclose()


async def test_agents_run_the_jobs_of_their_class_with_as_many_actors_as_slots(redis, redis_url):
    most = {ResourceClass.IO: 0, ResourceClass.OLLAMA: 0}
    now = dict(most)

    async def run(attempt: Attempt) -> bytes:
        name = attempt.lease.lane.resource_class
        now[name] += 1
        most[name] = max(most[name], now[name])
        await asyncio.sleep(0.01)
        now[name] -= 1
        return b"{}"

    async def scenario(broker, runtime):
        jobs = [new_job() for _ in range(30)]
        asks = [new_job(resource_class="ollama", processor="ask", model="gen") for _ in range(3)]
        runtime.worker.models.append("gen")
        await broker.submit([*jobs, *asks])

        async def all_done():
            counts = await Inspector(redis, Keyspace()).counts()
            done = [counts.get(f"{name}|succeeded", 0) for name in ("io", "ollama")]
            return done == [30, 3]

        await until(all_done, what="every job to succeed", limit_s=10)

    slots = {ResourceClass.IO: 5, ResourceClass.OLLAMA: 1}
    await run_with(redis_url, run, slots, scenario)
    assert most == {ResourceClass.IO: 5, ResourceClass.OLLAMA: 1}


async def test_an_attempt_that_raises_reaches_no_agent(redis, redis_url):
    async def run(attempt: Attempt) -> bytes:
        raise RuntimeError("no")

    async def scenario(broker, runtime):
        await broker.submit([new_job(attempts_max=1) for _ in range(400)])

        async def all_dead():
            counts = await Inspector(redis, Keyspace()).counts()
            return counts.get("io|dead") == 400

        await until(all_dead, what="every job to be dead", limit_s=20)
        assert not runtime.app.crashed

    await run_with(redis_url, run, {ResourceClass.IO: 10}, scenario)


async def test_stopping_drains_and_hands_back_what_does_not_end(redis, redis_url):
    started = asyncio.Event()

    async def run(attempt: Attempt) -> bytes:
        started.set()
        await asyncio.sleep(60)
        return b"{}"

    job = new_job()

    async def scenario(broker, runtime):
        runtime.worker.broker.settings = runtime.worker.broker.settings.__class__(grace_ms=100)
        await broker.submit([job])
        await asyncio.wait_for(started.wait(), 5)

    await run_with(redis_url, run, {ResourceClass.IO: 2}, scenario)
    found = await Inspector(redis, Keyspace()).job(job.id)
    assert found is not None
    assert (found.state, found.failures, found.crashes) == (State.ACTIVE, 0, 0)
    assert (await Inspector(redis, Keyspace()).audit()) == []


async def test_timers_run_the_chores_and_survive_their_failures(redis, redis_url):
    chore = Counting()

    async def run(attempt: Attempt) -> bytes:
        return b"{}"

    async def scenario(broker, runtime):
        await until(lambda: chore.ticks >= 4, what="four ticks", limit_s=10)

    await run_with(redis_url, run, {ResourceClass.IO: 1}, scenario, [chore])


def test_the_private_names_of_faust_are_as_expected():
    assert {"app", "queue", "root"} <= set(
        faust.Channel._clone_args(PullChannel(RedisApp("x", autodiscover=False), pull=None))
    )
    assert isinstance(BootStrategy.enable_kafka, bool)
    assert "concurrency" in inspect.signature(faust.App.agent).parameters
    assert issubclass(faust.App, Service)
    for name in ("_maybe_set_key_ttl", "_maybe_del_key_ttl"):
        assert [*inspect.signature(getattr(faust.Table, name)).parameters] == [
            "self",
            "key",
            "partition",
        ]


async def test_windows_are_a_table_of_faust_that_forgets_what_is_old(redis, redis_url):
    windows = WindowTable("windows", 10, 60)
    now = time.time() // 10 * 10

    async def run(attempt: Attempt) -> bytes:
        return b"{}"

    async def scenario(broker, runtime):
        for at_s, count in ((now, 2), (now + 3, 1), (now - 30, 5), (now - 500, 7)):
            windows.add("key", at_s, count)
        windows.add("other", now, 1)
        assert windows.between(now, now + 10) == {"key": 3, "other": 1}
        assert windows.between(now - 60, now) == {"key": 5}
        await windows._table._del_old_keys()  # what Faust does every half minute
        assert windows.between(0, now + 10) == {"key": 8, "other": 1}
        windows.clear()
        windows.add("key", now, 1)
        assert windows.between(0, now + 10) == {"key": 1}
        assert windows._table.started
        assert runtime.app.crash_reason is None

    await run_with(redis_url, run, {ResourceClass.IO: 1}, scenario, windows=windows)
