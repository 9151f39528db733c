"""The overview: every figure of it against what was done, on each server."""

from redis.asyncio import Redis

from streams import pulse as pulse_module
from streams.broker import Broker
from streams.keyspace import Keyspace
from streams.model import Again, Dead, Done, Fault, ResourceClass, Settlement, Verdict
from streams.overview import LaneStanding, OverviewReader
from streams.pulse import Pulse
from tests.support.build import Hand, lane, new_job

KEYS = Keyspace()


async def end(hand: Hand, verdict: Verdict, count: int = 1) -> None:
    leases = await hand.take(count)
    settlements = [Settlement(lease.job_id, lease.token, verdict) for lease in leases]
    await hand.broker.settle(hand.id, settlements)


def of(lanes: tuple[LaneStanding, ...], processor: str) -> LaneStanding:
    (found,) = [one for one in lanes if one.view.lane.processor == processor]
    return found


async def test_an_overview_counts_what_lanes_have(redis: Redis, broker: Broker) -> None:
    reader = OverviewReader(redis, KEYS)
    assert (await reader.look()).lanes == ()
    await broker.submit([new_job(processor="echo") for _ in range(6)])
    await broker.submit([new_job(processor="fetch", delay_ms=60_000)])
    hand = Hand(broker)
    await end(hand, Again(60_000, Fault("timed_out", "slow")))
    await end(hand, Dead(Fault("boom", "it broke")))
    await end(hand, Done(b"{}"))
    (lease,) = await hand.take()
    fresh = OverviewReader(redis, KEYS)  # nothing is known of before
    found = await fresh.look()
    echo = of(found.lanes, "echo")
    assert (echo.view.waiting, echo.view.active) == (2, 1)
    assert (echo.delayed, echo.retrying, echo.dead) == (0, 1, 1)
    assert echo.idle_ms is not None
    assert echo.idle_ms < 30_000
    fetch = of(found.lanes, "fetch")
    assert (fetch.delayed, fetch.view.waiting, fetch.idle_ms) == (1, 0, None)
    assert found.backlog.delayed_all[ResourceClass.IO] == 2
    assert (found.backlog.dead_all, found.backlog.whole) == (1, True)
    assert found.counts["io|submitted"] == 7
    assert found.memory.used > 0
    assert lease.lane.processor == "echo"


async def test_an_overview_says_why_a_lane_stands(redis: Redis, broker: Broker) -> None:
    await broker.submit([new_job(processor="echo")])
    await broker.pause(ResourceClass.IO)
    facts = of((await OverviewReader(redis, KEYS).look()).lanes, "echo").circumstances
    assert facts is not None
    assert facts.room is not None
    assert facts.hands is not None
    assert (facts.room.paused, facts.hands.able) == (True, 0)


async def test_paces_are_those_of_the_last_minute(redis: Redis, broker: Broker) -> None:
    pulse = Pulse(redis, KEYS)
    await pulse.look()
    await broker.submit([new_job() for _ in range(30)])
    await end(Hand(broker), Done(b"{}"), 12)
    await pulse.look()
    pace = pulse.paces()[lane().name]
    # Nearly all of the minute before the first look was seen too: nothing happened then.
    assert abs(pace.in_per_s - 30 / 60) < 0.05
    assert abs(pace.out_per_s - 12 / 60) < 0.05
    assert abs(pace.ended_per_s - 12 / 60) < 0.05
    history = pulse.history(lane().name, 18)
    assert (history[0], history[-1]) == (0, 18)


async def test_what_is_too_much_to_read_is_skipped_and_rates_stay_true(
    redis: Redis, broker: Broker
) -> None:
    pulse = Pulse(redis, KEYS)
    await pulse.look()
    for _ in range(pulse_module.ENTRIES_MAX + 100):
        await redis.xadd(KEYS.key("events"), {"e": f"active\tj\t{lane().name}\tactive\t1"})
    await pulse.look()
    assert len(list(pulse.recent())) == pulse_module.RECENT_MAX
    seen = sum(beat.counts[lane().name, "active"] for beat in pulse._beats)
    assert seen == pulse_module.ENTRIES_MAX
    await redis.xadd(KEYS.key("events"), {"e": f"ended\tlast\t{lane().name}\tsucceeded\t1"})
    await pulse.look()
    assert [event.job_id for event in pulse.recent()][-1] == "last"


async def test_after_a_long_time_a_pulse_begins_anew(redis: Redis, broker: Broker) -> None:
    pulse = Pulse(redis, KEYS)
    await pulse.look()
    await broker.submit([new_job() for _ in range(6)])
    pulse._looked_ms -= pulse_module.KEPT_MS + 1  # as if nobody had looked since
    await pulse.look()
    assert abs(pulse.paces()[lane().name].in_per_s - 6 / 60) < 0.02
    assert len(list(pulse.recent())) == 6


async def test_a_look_finds_what_happened_before_it(redis: Redis, broker: Broker) -> None:
    await broker.submit([new_job() for _ in range(3)])
    pulse = Pulse(redis, KEYS)
    await pulse.look()
    assert [event.kind for event in pulse.recent()] == ["submitted"] * 3
    (last,) = [event.id for event in pulse.recent()][-1:]
    assert list(pulse.recent(last)) == []
