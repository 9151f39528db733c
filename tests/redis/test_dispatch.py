"""The Lua take picks exactly what the rule in Python picks, in that order."""

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from streams.broker import Broker
from streams.control import Control
from streams.dispatch import Situation, Source, pick
from streams.keyspace import Keyspace, lease_member
from streams.model import (
    Done,
    HandedBack,
    Lane,
    Lease,
    NewJob,
    Priority,
    Rate,
    ResourceClass,
    Settlement,
)
from streams.settings import EngineSettings
from tests.support.build import Hand, lane, new_job

KEYS = Keyspace()
OPEN_MS = 36_000_000
DAY_MS = 86_400_000
MODELS = ("x", "y", "z:7b")


class Load(msgspec.Struct, frozen=True):
    """One lane: how many of its entries are expired leases, and all its age bases."""

    lane: Lane
    leased: int
    bases: tuple[int, ...]


class Scene(msgspec.Struct, frozen=True):
    resource_class: ResourceClass
    loads: tuple[Load, ...]
    resident: str
    turns: dict[str, int]
    limits: dict[str, int]
    running: dict[str, int]  # live attempts in a lane that the taker cannot serve
    room: int
    processors: tuple[str, ...]
    starts: dict[str, int]  # by app, or nothing for all: how many a rate lets start


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    resource_class = draw(st.sampled_from((ResourceClass.IO, ResourceClass.OLLAMA)))
    models = MODELS if resource_class is ResourceClass.OLLAMA else ("",)
    apps = st.sampled_from(("a", "b", "c"))
    lanes = st.builds(
        Lane,
        st.just(resource_class),
        apps,
        st.sampled_from(Priority),
        st.sampled_from(("ask", "echo")),
        st.sampled_from(models),
    )
    # Few different ages, so that ties are common: a class that is closed has but one.
    ages = st.integers(0, OPEN_MS) | st.sampled_from((0, 120_000, 3_600_000, 1_860_000))
    bases = st.lists(ages.map(lambda age: OPEN_MS - age), min_size=1, max_size=4)
    loads = []
    for each in draw(st.lists(lanes, unique=True, min_size=1, max_size=12)):
        ordered = tuple(sorted(draw(bases)))
        loads.append(Load(each, draw(st.integers(0, len(ordered))), ordered))
    return Scene(
        resource_class,
        tuple(loads),
        draw(st.sampled_from((*models, "none"))) if resource_class is ResourceClass.OLLAMA else "",
        draw(st.dictionaries(apps, st.integers(1, 5))),
        draw(st.dictionaries(apps, st.integers(0, 3))),
        draw(st.dictionaries(apps, st.integers(1, 2))),
        draw(st.integers(1, 24)),
        draw(st.sampled_from((("ask", "echo"), ("echo",)))),
        draw(st.dictionaries(apps | st.just(""), st.integers(0, 4))),
    )


@pytest.fixture
def broker(redis: "Redis") -> Broker:
    """The scenes' clock stands, as after an outage; here nobody waits for its workers."""
    return Broker(redis, Keyspace(), EngineSettings(return_grace_ms=0))


async def set_open(redis: "Redis", resource_class: ResourceClass, open_ms: int) -> None:
    """Sets the class's clock; nobody has served it for long, so it stands."""
    await redis.hset(KEYS.key("clock_", resource_class), mapping={"open": open_ms, "seen": 0})


async def submit(redis: "Redis", broker: Broker, rows: list[tuple[int, Lane]]) -> list[NewJob]:
    jobs = []
    for base, where in sorted(rows, key=lambda row: row[0]):
        await set_open(redis, where.resource_class, base)
        job = msgspec.structs.replace(new_job(), lane=where)
        await broker.submit([job])
        jobs.append(job)
    return jobs


async def arrange(redis: "Redis", broker: Broker, scene: Scene) -> list[Lease]:
    """Builds the scene; returns the expired leases in the order in which they ran out."""
    name = scene.resource_class
    await redis.flushall()
    everything: dict[str, Any] = {"processors": ("ask", "echo", "busy")}
    if name is ResourceClass.OLLAMA:
        everything["models"] = MODELS
    dead = Hand(broker, "dead", name, **everything)
    await broker.set_limit(dead.pool, 1_000)
    busy = [
        (0, lane(name, app, processor="busy", model=MODELS[0] if dead.fields.get("models") else ""))
        for app, count in scene.running.items()
        for _ in range(count)
    ]
    await submit(redis, broker, busy)
    await dead.take(100)
    first = [(base, load.lane) for load in scene.loads for base in load.bases[: load.leased]]
    await submit(redis, broker, first)
    late = list(await dead.take(100))
    scores = {lease_member(each.lane.name, each.entry_id): i for i, each in enumerate(late, 1)}
    if scores:
        await redis.zadd(KEYS.key("leases_", dead.pool), scores)
    await submit(
        redis,
        broker,
        [(base, load.lane) for load in scene.loads for base in load.bases[load.leased :]],
    )
    for app, limit in scene.limits.items():
        await broker.set_app_limit(name, app, limit)
    await set_rates(redis, broker, scene)
    await redis.delete(KEYS.key("turns_", name))
    await redis.hset(KEYS.key("turns_", name), mapping={**scene.turns, "": 5})
    await set_open(redis, name, OPEN_MS)
    return late


async def set_rates(redis: "Redis", broker: Broker, scene: Scene) -> None:
    """Rates at which nothing comes back while the test runs."""
    control, name = Control(redis, KEYS, broker.scripts), scene.resource_class
    for app, count in scene.starts.items():
        await control.set_rate(name, Rate(1, DAY_MS, max(1, count)), app or None)
        if not count:
            seconds, _ = await redis.time()
            await redis.hset(KEYS.key("pace_", name), app, seconds * 1000 + DAY_MS)


async def entries_of(redis: "Redis", where: Lane) -> list[tuple[str, int, str]]:
    """A lane's entries, oldest first: id, age base, job."""
    rows = await redis.xrange(KEYS.stream(where.name))
    return [(key.decode(), int(row[b"t"]), row[b"j"].decode()) for key, row in rows]


async def oracle(redis: "Redis", scene: Scene, late: list[Lease]) -> list[str]:
    """The ids of the jobs that the rule picks, in order."""
    rows = {load.lane: await entries_of(redis, load.lane) for load in scene.loads}
    leased = {(each.lane, each.entry_id) for each in late}
    sources, jobs = [], []
    for where in rows:
        fresh = [row for row in rows[where] if (where, row[0]) not in leased]
        if where.processor in scene.processors:
            sources.append(Source(where, tuple(base for _, base, _ in fresh)))
            jobs.append([job for _, _, job in fresh])
    for each in late:
        if each.lane.processor in scene.processors:
            base = next(base for key, base, _ in rows[each.lane] if key == each.entry_id)
            sources.append(Source(each.lane, (base,), expired=True))
            jobs.append([each.job_id])
    situation = Situation(
        OPEN_MS,
        scene.resident,
        scene.turns,
        5,
        scene.limits,
        Counter(scene.running),
        scene.starts,
    )
    return [jobs[each.source][each.entry] for each in pick(sources, situation, scene.room)]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(scene=scenes())
async def test_take_follows_the_rule(redis: "Redis", broker: Broker, scene: Scene) -> None:
    late = await arrange(redis, broker, scene)
    expected = await oracle(redis, scene, late)
    fields: dict[str, Any] = {"processors": scene.processors}
    if scene.resource_class is ResourceClass.OLLAMA:
        fields |= {"models": MODELS, "resident": scene.resident}
    taker = Hand(broker, "taker", scene.resource_class, **fields)
    assert [lease.job_id for lease in await taker.take(scene.room)] == expected


async def test_an_app_at_its_limit_gets_back_what_a_dead_worker_held(
    redis: "Redis", broker: Broker
) -> None:
    """An expired lease is active but nobody runs it: it must not hold the app at its limit."""
    job = new_job()
    await broker.submit([job])
    await broker.set_app_limit(ResourceClass.IO, "etyde", 1)
    [lease] = await Hand(broker, "dead").take()
    await redis.zadd(KEYS.key("leases_", "io"), {lease_member(lease.lane.name, lease.entry_id): 1})
    hand = Hand(broker, "other")
    [again] = await hand.take(5)
    assert again.job_id == job.id
    await broker.settle(hand.id, [Settlement(again.job_id, again.token, HandedBack())])
    [third] = await hand.take(5)
    assert third.job_id == job.id
    await broker.settle(hand.id, [Settlement(third.job_id, third.token, Done(b"1"))])
