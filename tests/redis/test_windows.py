"""The last minute over all workers: counted by one, rebuilt from the stream."""

from collections import Counter
from collections.abc import Mapping

import pytest
from redis.asyncio import Redis

from streams import windows
from streams.broker import Broker
from streams.events import EventReader
from streams.keyspace import Keyspace
from streams.loops.window_keeper import WindowKeeper
from streams.model import Again, Dead, Done, Fault, Settlement
from streams.windows import Key, Moment, Moments, Recent, WindowStore, changed
from tests.support.build import Hand, new_job

KEYS = Keyspace()
FAULT = Fault("timed_out", "too slow")


class Panes:
    """As Faust's table, without Faust."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[Key, float]] = Counter()

    def add(self, key: Key, at_s: float, count: int) -> None:
        self.counts[key, at_s] += count

    def between(self, from_s: float, until_s: float) -> Mapping[Key, int]:
        sums: Counter[Key] = Counter()
        for (key, at_s), count in self.counts.items():
            if from_s <= at_s < until_s:
                sums[key] += count
        return sums

    def clear(self) -> None:
        self.counts.clear()


def keeper(redis: Redis, name: str) -> WindowKeeper:
    moments = Moments(Broker(redis, KEYS).scripts)
    events, store = EventReader(redis, KEYS), WindowStore(redis, KEYS)
    return WindowKeeper(name, Panes(), events, store, moments)


@pytest.fixture
def store(redis: Redis) -> WindowStore:
    return WindowStore(redis, KEYS)


async def counted(one: WindowKeeper, store: WindowStore) -> Recent:
    """What is published after another tick."""
    await one.tick()
    recent = await store.read()
    assert recent is not None
    return recent


async def run_some(redis: Redis) -> None:
    """One job succeeds, one is tried again, one is dead."""
    broker = Broker(redis, KEYS)
    hand = Hand(broker)
    await broker.submit([new_job() for _ in range(3)])
    verdicts = (Done(b"1"), Again(60_000, FAULT), Dead(FAULT))
    leases = await hand.take(3)
    settlements = [
        Settlement(lease.job_id, lease.token, verdict)
        for lease, verdict in zip(leases, verdicts, strict=True)
    ]
    await broker.settle(hand.id, settlements)


async def test_the_last_minute_is_counted_over_all_workers(
    redis: Redis, store: WindowStore
) -> None:
    one = keeper(redis, "one")
    await one.tick()
    await run_some(redis)
    recent = await counted(one, store)
    assert recent.jobs == {"echo": {"submitted": 3, "started": 3, "succeeded": 1, "dead": 1}}
    assert recent.failures == {"echo": {"timed_out": 2}}


async def test_one_counts_and_another_goes_on_from_the_stream_when_it_is_gone(
    redis: Redis, store: WindowStore
) -> None:
    one, other = keeper(redis, "one"), keeper(redis, "other")
    await one.tick()
    await run_some(redis)
    told = await counted(other, store)
    assert (told.by, told.jobs) == ("one", {})
    await redis.delete(KEYS.key("recent"))  # its lifetime ends
    told = await counted(other, store)
    assert (told.by, told.jobs["echo"]["submitted"]) == ("other", 3)
    # it was only slow: the one that counts now goes on
    assert (await counted(one, store)).by == "other"


async def test_nothing_is_counted_twice(redis: Redis, store: WindowStore) -> None:
    one = keeper(redis, "one")
    await run_some(redis)
    for _ in range(3):
        assert (await counted(one, store)).jobs["echo"]["submitted"] == 3


async def test_beyond_some_thousand_tallies_events_are_counted(
    redis: Redis, store: WindowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "TALLIES_MAX", 0)
    one = keeper(redis, "one")
    await one.tick()
    await run_some(redis)
    await one.tick()
    await Broker(redis, KEYS).submit([new_job()])
    recent = await counted(one, store)
    assert recent.jobs == {"echo": {"submitted": 4, "started": 3, "succeeded": 1, "dead": 1}}
    assert recent.failures == {"echo": {"timed_out": 2}}


async def test_how_much_happened_is_told_without_the_events(
    redis: Redis, store: WindowStore
) -> None:
    one = keeper(redis, "one")
    await one.tick()
    await run_some(redis)
    await redis.xtrim(KEYS.key("events"), maxlen=0, approximate=False)
    recent = await counted(one, store)
    assert recent.jobs == {"echo": {"submitted": 3, "started": 3, "succeeded": 1, "dead": 1}}
    assert recent.failures == {}  # only the events knew why


async def test_a_redis_that_was_emptied_is_counted_from_its_beginning(
    redis: Redis, store: WindowStore
) -> None:
    one = keeper(redis, "one")
    await run_some(redis)
    await one.tick()
    await redis.flushall()
    await run_some(redis)
    await redis.hincrby(KEYS.key("tallies"), "submitted|io:etyde:normal:echo:", -1)
    for _ in range(2):
        assert (await counted(one, store)).jobs["echo"]["submitted"] == 3


def test_what_happened_between_two_moments() -> None:
    def told(**tallies: int) -> Moment:
        found = {f"{what}|io:a:low:echo:": times for what, times in tallies.items()}
        return Moment(0, "0-0", found)

    before, after = told(submitted=3, started=3), told(submitted=3, started=4, succeeded=2)
    started, succeeded = ("echo", "started", ""), ("echo", "succeeded", "")
    assert changed(before, after) == ({started: 1, succeeded: 2}, False)
    assert changed(after, after) == ({}, False)
    assert changed(after, before) is None
    assert changed(before, Moment(0, "0-0", None)) is None
    assert changed(before, told(submitted=2, started=9)) is None
    again = ("echo", "submitted", "")
    assert changed(before, told(submitted=4, started=3, replayed=1)) == ({again: 2}, False)
    for failure in ("retried", "put_back", "dead"):
        found = changed(before, told(submitted=3, started=3, **{failure: 1}))
        assert found is not None
        assert found[1]
