"""What is learned of times, and how far estimates were off, with several who learn at once."""

import random

import msgspec
import pytest
from redis.asyncio import Redis

from streams.broker import Broker
from streams.directory import Directory, WorkerCard
from streams.forecasts import WAITED_MS, Forecast, Forecasts
from streams.inspector import Inspector
from streams.learned import (
    Learned,
    LearnedTimes,
    merged,
    of_batch,
    read_learned,
    run_field,
)
from streams.loops.forecaster import Forecaster
from streams.loops.learner import Learner
from streams.model import Done, HandedBack, ResourceClass, Settlement
from streams.outlook import OutlookReader
from streams.telemetry import AttemptJudged
from streams.usage import Usage
from tests.redis.scenes import KEYS
from tests.support.build import Hand, lane, new_job

BATCHES = ([10.0, 20.0, 30.0], [40.0], [5.0] * 7, [1_000.0], [12.5, 13.5])


async def test_a_mean_is_the_same_in_redis_as_by_the_rule(redis: "Redis", broker: Broker) -> None:
    times, known = LearnedTimes(broker.scripts), None
    for values in BATCHES:
        await times.add({"run|io|echo|": values, "load|gen": []})
        known = merged(known, of_batch(values))
    found = (await read_learned(redis, KEYS)).means
    assert list(found) == ["run|io|echo|"]
    assert known is not None
    assert found["run|io|echo|"].count == known.count == 14
    assert found["run|io|echo|"].mean_ms == pytest.approx(known.mean_ms, abs=0.01)
    assert found["run|io|echo|"].spread_ms == pytest.approx(known.spread_ms, abs=0.01)


async def test_fields_are_bounded(redis: "Redis", broker: Broker) -> None:
    await redis.hset(KEYS.key("learned"), mapping={f"run|io|{n}|": "1 1 0" for n in range(2_000)})
    await LearnedTimes(broker.scripts).add({"run|io|new|": [1.0], "run|io|7|": [3.0]})
    found = (await read_learned(redis, KEYS)).means
    assert (len(found), found["run|io|7|"].mean_ms) == (2_000, 2.0)


async def test_a_worker_learns_from_its_attempts(redis: "Redis", broker: Broker) -> None:
    learner, place = Learner(LearnedTimes(broker.scripts)), lane("ollama", model="gen")
    await broker.submit([new_job(resource_class="ollama", model="gen")])
    [lease] = await Hand(broker, "w", "ollama", models=["gen"]).take()
    used = Usage(asks=1, swaps=1, load_s=8.0)
    learner(AttemptJudged(lease, Done(b"1"), 20.0, used, untimed_s=9.0))
    learner(AttemptJudged(lease, HandedBack(), 500.0))
    await learner.tick()
    await learner.tick()
    learned = await read_learned(redis, KEYS)
    assert (learned.run_ms(place), learned.load_ms("gen")) == (11_000, 8_000)
    assert learned.means[run_field(place)].count == 1


def card(**fields: object) -> WorkerCard:
    slots = {"io": 1}
    base = WorkerCard("w-1", "here", 1, "1", {"io": "io"}, slots, {}, ("echo",))
    return msgspec.structs.replace(base, **fields)


async def test_estimates_are_compared_with_what_happened(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    times = LearnedTimes(broker.scripts)
    await times.add({run_field(lane()): [60_000.0]})
    await Directory(redis, KEYS).announce_worker(card())
    jobs = [new_job(), new_job()]
    await broker.submit(jobs)
    forecasts = Forecasts(redis, KEYS)
    chore = Forecaster(forecasts, OutlookReader(redis, KEYS), times, random.Random(1))
    await chore.tick()
    await chore.tick()
    [pending] = await forecasts.pending()
    assert pending.job_id == jobs[1].id
    assert pending.start_ms - pending.made_ms == 60_000
    hand = Hand(broker)
    for lease in await hand.take(2):
        await broker.settle(hand.id, [Settlement(lease.job_id, lease.token, Done(b"1"))])
    await chore.tick()
    assert await forecasts.pending() == []
    io = next(view for view in await inspector.classes() if view.name is ResourceClass.IO)
    assert io.offness is not None
    assert io.offness.compared == 1
    assert io.offness.late_ms == pytest.approx(-60_000, abs=5_000)
    assert io.offness.off_ms == -io.offness.late_ms


async def test_what_never_starts_counts_as_late_and_what_was_cancelled_not_at_all(
    redis: "Redis", broker: Broker
) -> None:
    forecasts, waits, gone = Forecasts(redis, KEYS), new_job(), new_job()
    await broker.submit([waits, gone])
    await broker.cancel(gone.id)
    now = await forecasts.now_ms()
    old = now - WAITED_MS - 1
    io = ResourceClass.IO
    pending = [Forecast(waits.id, io, old, old), Forecast(gone.id, io, old, old)]
    await forecasts.add(pending)
    [outcome] = await forecasts.compare(await forecasts.pending(), now)
    assert (outcome.forecast.job_id, outcome.started_ms) == (waits.id, now)
    assert await forecasts.compare(pending, now) == []  # told once
    assert Learned().run_ms(lane()) is None
