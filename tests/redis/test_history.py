"""A job's whole story: every attempt, how it ended, and what it logged; bounded, fenced."""

from typing import Any

import pytest
from redis.asyncio import Redis

from streams.broker import Broker
from streams.control import Control, KeptLines
from streams.errors import OutOfMemory
from streams.history import ATTEMPTS_MAX, AttemptEnding
from streams.inspector import Inspector
from streams.loops.log_keeper import BYTES_MAX, LINES_MAX, LogKeeper
from streams.model import Again, Dead, Done, Fault, HandedBack, Lease
from streams.telemetry import AttemptLog, Telemetry
from tests.redis.scenes import FAULT, KEYS, leased, run_out, settle, state_of
from tests.redis.test_endings import ENDINGS, Ending
from tests.support.build import Hand, new_job


@pytest.fixture
def control(redis: "Redis", broker: Broker) -> Control:
    return Control(redis, KEYS, broker.scripts)


class Shelf:
    """A worker's log keeper, and how a processor would speak to it."""

    def __init__(self, control: Control, **given: Any) -> None:
        self.keeper = LogKeeper(control, **given)
        self.telemetry = Telemetry()
        self.telemetry.listen(self.keeper, AttemptLog)

    def log(self, lease: Lease, message: str, level: str = "info", **fields: object) -> None:
        self.telemetry.emit(AttemptLog(lease, level, message, fields))


async def told(inspector: Inspector, job_id: str) -> list[tuple[str, str]]:
    """How each attempt ended, and its worker."""
    return [(each.ending, each.worker) for each in await inspector.attempts(job_id)]


async def test_the_first_attempt_costs_nothing_more(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    job = new_job()
    assert await inspector.attempts(job.id) == []
    lease = await leased(broker, job)
    (running,) = await inspector.attempts(job.id)
    assert (running.ending, running.number, running.ended_ms) == (AttemptEnding.RUNNING, 1, 0)
    await settle(broker, lease, Done(b"1"))
    (ended,) = await inspector.attempts(job.id)
    assert ended.ending is AttemptEnding.SUCCEEDED
    assert 0 < ended.started_ms <= ended.ended_ms
    names = set(await redis.hgetall(KEYS.job(job.id)))
    assert not {name for name in names if b":" in name}


async def test_every_way_an_attempt_ends_is_told(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    job = new_job(attempts_max=9)
    lease = await leased(broker, job, "a")
    await broker.report([(job.id, lease.token, 0.25, "a quarter")])
    await settle(broker, lease, Again(0, Fault("boom", "two\nlines\tand a tab")))
    for name, verdict in (("b", Again(0, FAULT, counts=False)), ("c", HandedBack())):
        (lease,) = await Hand(broker, name).take()
        await settle(broker, lease, verdict)
    (lease,) = await Hand(broker, "d").take()
    await run_out(redis, lease)
    (lease,) = await Hand(broker, "e").take()
    await settle(broker, lease, Dead(Fault("over", "no more")))
    assert await told(inspector, job.id) == [
        ("failed", "host-1-a"),
        ("put_back", "host-1-b"),
        ("handed_back", "host-1-c"),
        ("lost", "host-1-d"),
        ("dead", "host-1-e"),
    ]
    found = await inspector.attempts(job.id)
    assert (found[0].progress, found[0].note) == (0.25, "a quarter")
    assert [each.fault for each in found] == [
        Fault("boom", "two\nlines\tand a tab"),
        FAULT,
        None,
        None,
        Fault("over", "no more"),
    ]
    assert found[1].progress is None
    await broker.replay([job.id])
    (lease,) = await Hand(broker, "f").take()
    assert [each.number for each in await inspector.attempts(job.id)] == [1, 2, 3, 4, 5, 6]
    assert (await inspector.attempts(job.id))[4].fault == Fault("over", "no more")
    assert (await told(inspector, job.id))[-2:] == [("dead", "host-1-e"), ("running", "host-1-f")]


async def test_what_is_repeated_is_told_once(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    job = new_job()
    lease = await leased(broker, job)
    await settle(broker, lease, Again(60_000, FAULT))
    before = await state_of(redis)
    await settle(broker, lease, Again(60_000, FAULT))
    assert await state_of(redis) == before
    assert await told(inspector, job.id) == [("failed", "host-1-w")]


async def test_the_newest_attempts_are_kept(
    redis: "Redis", broker: Broker, control: Control, inspector: Inspector
) -> None:
    job = new_job(attempts_max=100)
    lease = await leased(broker, job)
    hand, shelf = Hand(broker, "second"), Shelf(control)
    for _ in range(ATTEMPTS_MAX + 4):
        shelf.log(lease, "here")
        await shelf.keeper.tick()
        await settle(broker, lease, Again(0, FAULT))
        (lease,) = await hand.take()
    await settle(broker, lease, Done(b"1"))
    found = await inspector.attempts(job.id)
    assert [each.number for each in found] == list(range(6, ATTEMPTS_MAX + 6))
    logs = [name for name in await redis.hkeys(KEYS.job(job.id)) if name.startswith(b"log:")]
    assert len(logs) <= ATTEMPTS_MAX


@pytest.mark.parametrize(
    "end", [row[0] for row in ENDINGS], ids=[row[0].__name__[3:] for row in ENDINGS]
)
async def test_the_last_attempt_of_every_ending_is_told(
    redis: "Redis", broker: Broker, inspector: Inspector, end: Ending
) -> None:
    job = await end(redis, broker)
    found = await inspector.job(job.id)
    attempts = await inspector.attempts(job.id)
    assert found is not None
    assert len(attempts) == found.attempt
    if attempts:
        assert attempts[-1].ending == found.state
        assert attempts[-1].fault == found.fault


async def lines(inspector: Inspector, job_id: str) -> list[list[str]]:
    return [[line.message for line in each.log] for each in await inspector.attempts(job_id)]


async def test_lines_are_kept_with_their_attempt(
    broker: Broker, control: Control, inspector: Inspector
) -> None:
    job = new_job()
    first = await leased(broker, job)
    shelf = Shelf(control, hide=lambda said: said.replace("secret", "…"))
    shelf.log(first, "began\nat\tonce", "debug", url="https://secret.example", odd={1})
    await shelf.keeper.tick()
    shelf.log(first, "failed")
    await settle(broker, first, Again(0, FAULT))
    await shelf.keeper.tick()  # what was said before the end arrives after it
    (second,) = await Hand(broker, "second").take()
    shelf.log(second, "again")
    shelf.log(first, "late")
    await settle(broker, second, Done(b"1"))
    await shelf.keeper.tick()
    assert await lines(inspector, job.id) == [["began at once", "failed", "late"], ["again"]]
    line = (await inspector.attempts(job.id))[0].log[0]
    assert (line.level, bytes(line.fields)) == (
        "debug",
        b'{"url": "https://\xe2\x80\xa6.example", "odd": "{1}"}',
    )
    assert line.at_ms > 0


async def test_a_repeated_write_adds_nothing(
    redis: "Redis", broker: Broker, control: Control, inspector: Inspector
) -> None:
    job = new_job()
    lease = await leased(broker, job)
    line = KeptLines(job.id, lease.token, 1, 0, b"1\tinfo\tonce\t{}\n")
    assert await control.keep_lines([line]) == 1
    before = await state_of(redis)
    assert await control.keep_lines([line]) == 0
    forged = [
        KeptLines(job.id, "another", 1, 15, b"1\tinfo\tno\t{}\n"),
        KeptLines("0-gone", lease.token, 1, 0, b"1\tinfo\tno\t{}\n"),
    ]
    assert await control.keep_lines(forged) == 0
    assert await state_of(redis) == before
    assert await lines(inspector, job.id) == [["once"]]


async def test_an_attempt_that_was_lost_writes_no_more(
    redis: "Redis", broker: Broker, control: Control, inspector: Inspector
) -> None:
    job = new_job()
    first = await leased(broker, job)
    shelf = Shelf(control)
    shelf.log(first, "alive")
    await shelf.keeper.tick()
    await run_out(redis, first)
    (second,) = await Hand(broker, "second").take()
    shelf.log(first, "a ghost")
    await shelf.keeper.tick()
    assert await lines(inspector, job.id) == [["alive"], []]
    await settle(broker, second, Done(b"1"))


@pytest.mark.parametrize("size", [10, 1_000])
async def test_lines_of_an_attempt_are_bounded(
    redis: "Redis", broker: Broker, control: Control, inspector: Inspector, size: int
) -> None:
    job = new_job()
    lease = await leased(broker, job)
    shelf = Shelf(control)
    for number in range(300):
        shelf.log(lease, "x" * size)
        if number % 7 == 0:
            await shelf.keeper.tick()
    await shelf.keeper.close()
    (kept,) = await lines(inspector, job.id)
    assert len(kept) <= LINES_MAX
    assert kept[-1] == "more lines were not kept"
    assert set(kept[:-1]) == {"x" * size}
    raw = await redis.hget(KEYS.job(job.id), "log:1")
    assert BYTES_MAX - 1_200 < len(raw) <= BYTES_MAX or len(kept) == LINES_MAX
    await settle(broker, lease, Done(b"1"))


async def test_what_redis_does_not_take_is_brought_again(
    redis: "Redis", broker: Broker, control: Control, inspector: Inspector
) -> None:
    job = new_job()
    lease = await leased(broker, job)
    shelf = Shelf(control)
    shelf.log(lease, "first")
    await redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(OutOfMemory):
            await shelf.keeper.tick()
    finally:
        await redis.config_set("maxmemory", 0)
    shelf.log(lease, "second")
    await shelf.keeper.tick()
    await shelf.keeper.tick()
    assert await lines(inspector, job.id) == [["first", "second"]]
    await settle(broker, lease, Done(b"1"))


async def test_listings_do_not_read_the_story(
    redis: "Redis", broker: Broker, control: Control, inspector: Inspector
) -> None:
    job = new_job()
    lease = await leased(broker, job)
    shelf = Shelf(control)
    for _ in range(7):
        shelf.log(lease, "x" * 1_000)
    await shelf.keeper.tick()
    await redis.config_resetstat()
    assert [each.id for each in (await inspector.jobs()).items] == [job.id]
    assert (await redis.info("stats"))["total_net_output_bytes"] < 3_000
    await settle(broker, lease, Done(b"1"))
