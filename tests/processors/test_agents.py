"""Agents over the events of real jobs, in the real runtime; and what may be declared one."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from processors.agents.error_spikes import error_spikes
from processors.runtime import EventChannel, RedisApp, Runtime, WindowedCounts
from processors.sdk import Watch, Window, agent
from processors.sdk.agent_discovery import discover_agents
from processors.sdk.agents import declared_agent
from processors.sdk.event_feed import EventFeed
from processors.sdk.testing import PlainCounts, job_event, run_agent
from streams.attempt import Attempt
from streams.broker import Broker
from streams.errors import ConfigError, Rejected
from streams.events import EventReader
from streams.inspector import Inspector
from streams.keyspace import Keyspace
from streams.model import ResourceClass
from streams.telemetry import AgentTold, Telemetry
from streams.worker import Worker, WorkerPlan
from tests.support.build import PROCESSORS, new_job
from tests.support.plain_worker import client
from tests.support.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

OWN = '''
"""Tells of every dead letter."""

from processors.sdk import AgentContext, Events, Watch, agent


@agent(Watch("dead-letters", "1", "Tells of every dead letter."))
async def dead_letters(events: Events, context: AgentContext) -> None:
    async for event in events:
        if event.kind == "ended" and event.state == "dead":
            context.log.warning("a dead letter", job=event.job_id, app=event.app)
'''


def is_line(one):
    return isinstance(one, AgentTold) and one.level != "debug"


async def fail(attempt: Attempt) -> bytes:
    raise Rejected("no")


@asynccontextmanager
async def watching(redis_url, *agents):
    """A runtime whose jobs all fail, with these agents; gives broker, runtime and what was told."""
    broker = Broker(client(redis_url), Keyspace())
    plan = WorkerPlan("host-1-agents", {ResourceClass.IO: 4}, {ResourceClass.IO: PROCESSORS})
    control, bell, reading = client(redis_url), client(redis_url), client(redis_url)
    told: list[AgentTold] = []
    telemetry = Telemetry()
    telemetry.listen(lambda one: told.append(one) if is_line(one) else None)
    worker = Worker(broker, plan, fail, control=control, bell=bell, telemetry=telemetry)

    def feed(one):
        return EventFeed(EventReader(reading, Keyspace()), one.watch.replay_s)

    runtime = Runtime(worker, [], agents=(agents, feed))
    await runtime.start()
    try:
        yield broker, runtime, told
    finally:
        await runtime.stop()
        for each in (control, bell, reading, broker._redis):
            await each.aclose()


async def all_dead(redis, count):
    async def dead():
        return (await Inspector(redis, Keyspace()).counts()).get("io|dead") == count

    await until(dead, what=f"{count} dead letters", limit_s=20)


async def test_a_spike_of_dead_letters_is_told_while_it_happens(redis, redis_url):
    async with watching(redis_url, declared_agent(error_spikes)) as (broker, runtime, told):
        await broker.submit([new_job(attempts_max=1) for _ in range(30)])
        await until(lambda: told, what="the spike to be told", limit_s=20)
        context = runtime.contexts["error-spikes"]
        assert not runtime.app.crashed
    assert len(told) == 1, told
    (begun,) = told
    assert (begun.agent, begun.level, begun.message) == (
        "error-spikes",
        "warning",
        "a spike of errors",
    )
    assert (begun.fields["code"], begun.fields["count"]) == ("rejected", 5)
    assert context.failures == 0


async def test_an_agent_of_ones_own_is_a_few_lines_in_a_folder(redis, redis_url, tmp_path):
    (tmp_path / "dead_letters.py").write_text(OWN)
    own = next(one for one in discover_agents([tmp_path]) if one.name == "dead-letters")
    async with watching(redis_url, own) as (broker, _, told):
        jobs = [new_job(attempts_max=1) for _ in range(12)]
        await broker.submit(jobs)
        await until(lambda: len(told) == 12, what="each dead letter to be told", limit_s=20)
    assert {one.fields["job"] for one in told} == {job.id for job in jobs}


async def test_counts_are_rebuilt_from_what_happened_before_the_start(redis, redis_url):
    counted = {}

    @agent(Watch("counter", "1", "Counts.", counts={"ended": Window(3_600, 2)}))
    async def counter(events, context):
        async for event in events:
            if event.kind == "ended":
                how = "before" if context.replaying else "after"
                counted.setdefault(how, []).append(
                    sum(
                        [context.counts("ended").add("all"), *context.counts("ended").before("all")]
                    )
                )

    one = declared_agent(counter)
    async with watching(redis_url) as (broker, _, _):
        await broker.submit([new_job(attempts_max=1) for _ in range(7)])
        await all_dead(redis, 7)
    async with watching(redis_url, one) as (broker, _, _):
        await until(lambda: len(counted.get("before", [])) == 7, what="the replay", limit_s=20)
        await broker.submit([new_job(attempts_max=1) for _ in range(3)])
        await until(lambda: len(counted.get("after", [])) == 3, what="the new ones", limit_s=20)
    assert counted == {"before": [1, 2, 3, 4, 5, 6, 7], "after": [8, 9, 10]}


async def test_an_agent_that_raises_is_begun_again_behind_the_event_it_was_at(
    redis, redis_url, monkeypatch
):
    monkeypatch.setattr("processors.runtime.AGAIN_FIRST_S", 0.01)
    seen = []

    @agent(Watch("fragile", "1", "Breaks at the third."))
    async def fragile(events, context):
        async for event in events:
            if event.kind == "ended":
                seen.append(event.job_id)
                if len(seen) == 3:
                    raise RuntimeError("no")

    async with watching(redis_url, declared_agent(fragile)) as (broker, runtime, told):
        await broker.submit([new_job(attempts_max=1) for _ in range(6)])
        await until(lambda: len(seen) == 6, what="the other three", limit_s=20)
        assert runtime.contexts["fragile"].failures == 1
        assert not runtime.app.crashed
        await all_dead(redis, 6)  # the jobs went on meanwhile
    assert len(set(seen)) == 6
    assert [one.level for one in told] == ["error"]


async def test_windows_in_the_table_count_as_plain_ones_do(redis, redis_url):
    """Faust's table against the test kit, over events that lie hours apart."""
    ours: list[list[int]] = []

    @agent(Watch("both", "1", "Counts.", counts={"n": Window(60, 5)}))
    async def both(events, context):
        async for event in events:
            key = event.fields.get("key", "")
            ours.append([context.counts("n").add(key), *context.counts("n").before(key)])

    made = [
        job_event("ended", 1_700_000_000_000 + at * 1_000, state="dead", key=key)
        for at, key in [
            (0, "a"),
            (1, "a"),
            (59, "b"),
            (61, "a"),
            (119, "a"),
            (400, "a"),
            (401, "b"),
        ]
    ]
    await run_agent(both, made)
    plain, ours = ours, []

    class Feed:
        def __init__(self) -> None:
            self.left = list(made)

        async def next(self):
            if not self.left:
                await asyncio.Event().wait()
            return self.left.pop(0), False

    broker = Broker(client(redis_url), Keyspace())
    plan = WorkerPlan("host-1-counts", {ResourceClass.IO: 1}, {ResourceClass.IO: PROCESSORS})
    control, bell = client(redis_url), client(redis_url)
    worker = Worker(broker, plan, fail, control=control, bell=bell)
    runtime = Runtime(worker, [], agents=([declared_agent(both)], lambda one: Feed()))
    async with runtime:
        await until(lambda: len(ours) == len(made), what="every event", limit_s=20)
    for each in (control, bell, broker._redis):
        await each.aclose()
    assert ours == plain


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "Not A Name"}, "name must match"),
        ({"version": ""}, "version must match"),
        ({"summary": "two\nlines"}, "one line"),
        ({"counts": {"n": Window(0.1)}}, "n must have 1 to"),
        ({"counts": {"n": Window(60, 100_000)}}, "n must have 1 to"),
    ],
)
def test_a_wrong_watch_is_named(fields, said):
    with pytest.raises(ConfigError, match=said):
        Watch(**{"name": "a", "version": "1", "summary": "x", **fields})


def test_only_an_async_function_of_two_is_an_agent():
    for wrong in (lambda events, context: None, lambda events: None):
        with pytest.raises(ConfigError, match="must be an async function"):
            agent(Watch("a", "1", "x"))(wrong)


def test_agents_ship_and_two_of_one_name_are_refused(tmp_path):
    assert [one.name for one in discover_agents()] == ["error-spikes"]
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(OWN)
    with pytest.raises(ConfigError, match="two agents are named 'dead-letters'"):
        discover_agents([tmp_path])


def test_counts_that_were_not_declared_are_refused():
    from processors.sdk.agents import AgentContext

    context = AgentContext(Watch("a", "1", "x"), {}, lambda *line: None)
    with pytest.raises(ConfigError, match="declares no counts 'n'"):
        context.counts("n")
    assert PlainCounts(Window(60, 3), context).before("k") == [0, 0]


def test_the_private_names_of_faust_that_agents_need():
    app = RedisApp("x", autodiscover=False)
    channel = EventChannel(app, feed=None, context=None)
    assert {"feed", "context"} <= set(channel._clone_args())
    assert app.consumer_generation_id is not None
    assert not app.flow_control.is_active()
    for name in ("_maybe_set_key_ttl", "_maybe_del_key_ttl"):
        assert hasattr(RedisApp("y", autodiscover=False).Table("t"), name)
    assert WindowedCounts.add.__doc__
