"""Settling: verdicts, the fence, and that once is as good as many times (I3, I5)."""

import pytest
from redis.asyncio import Redis

from streams.broker import Broker
from streams.inspector import Inspector
from streams.model import (
    Again,
    Dead,
    Done,
    HandedBack,
    Settled,
    Settlement,
    State,
    Stopped,
    Verdict,
)
from tests.redis.scenes import FAULT, KEYS, kinds, leased, run_out, settle, state_of, store, told
from tests.support.build import Hand, new_job
from tests.support.redis_state import whole_state

VERDICTS: list[Verdict] = [
    Done(b'"x"'),
    Again(60_000, FAULT),
    Again(60_000, FAULT, counts=False),
    Dead(FAULT),
    Stopped("stop"),
    HandedBack(),
]
NAMES = ["done", "again", "put back", "dead", "stopped", "handed back"]


@pytest.mark.parametrize("verdict", VERDICTS, ids=NAMES)
async def test_the_whole_state_after_many_settles_is_that_after_one(
    redis: "Redis", broker: Broker, verdict: Verdict
) -> None:
    lease = await leased(broker, told())
    one = Settlement(lease.job_id, lease.token, verdict)
    assert await broker.settle("w", [one, one]) == [Settled.SETTLED, Settled.ALREADY]
    before = await whole_state(redis)
    for other in VERDICTS:  # the first verdict stands, whatever comes later
        assert await settle(broker, lease, other) is Settled.ALREADY
    assert await whole_state(redis) == before


@pytest.mark.parametrize("verdict", VERDICTS, ids=NAMES)
@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_zombie_changes_nothing_of_its_successors(
    redis: "Redis", broker: Broker, verdict: Verdict, cancelled: bool
) -> None:
    """Its successor's successor runs, settled, failed or was cancelled: all the same."""
    job = told()
    zombie = await leased(broker, job)
    await run_out(redis, zombie)
    [second] = await Hand(broker, "second").take()
    await settle(broker, second, HandedBack())
    [third] = await Hand(broker, "third").take()
    if cancelled:
        await broker.cancel(job.id)
    assert not (await broker.renew("w", [(job.id, zombie.token)], 1)).cancel  # alive: forgiven
    before = await whole_state(redis)
    assert await settle(broker, zombie, verdict) is Settled.LOST
    assert await settle(broker, second, verdict) is Settled.LOST
    assert (await broker.renew("w", [(job.id, zombie.token)], 1)).lost == {job.id}
    assert await broker.report([(job.id, zombie.token, 0.5, "zombie")]) == 0
    assert await whole_state(redis) == before
    assert await settle(broker, third, Done(b"3")) is Settled.SETTLED
    before = await whole_state(redis)
    for lease in (zombie, second):
        assert await settle(broker, lease, verdict) is Settled.LOST
    assert await whole_state(redis) == before


async def test_a_settle_for_a_job_that_never_was_is_lost(redis: "Redis", broker: Broker) -> None:
    before = await whole_state(redis)
    answer = await broker.settle("w", [Settlement("0-none", "t", Done(b"1"))])
    assert (answer, await whole_state(redis)) == ([Settled.LOST], before)


@pytest.mark.parametrize(
    ("verdict", "failures", "code"),
    [
        (Again(60_000, FAULT), 1, "boom"),
        (Again(60_000, FAULT, counts=False), 0, "boom"),
        (Stopped("why"), 0, "stopped"),
    ],
)
async def test_a_retry_waits_for_its_time(
    redis: "Redis",
    broker: Broker,
    inspector: Inspector,
    verdict: Verdict,
    failures: int,
    code: str,
) -> None:
    job = new_job()
    await settle(broker, await leased(broker, job), verdict)
    found = await inspector.job(job.id)
    assert found is not None
    assert found.fault is not None
    assert (found.state, found.failures, found.fault.code) == (State.DELAYED, failures, code)
    assert await kinds(redis, job) == ["submitted", "active", "retrying"]
    state = await whole_state(redis)
    assert state[KEYS.key("due_", "io")] == {job.id: float(found.due_ms)}
    assert KEYS.stream(job.lane.name) not in state
    assert KEYS.key("leases_", "io") not in state
    assert await inspector.audit() == []
    await redis.zadd(KEYS.key("due_", "io"), {job.id: 1})
    [again] = await Hand(broker, "next").take()
    assert (again.attempt, again.failures) == (2, failures)


async def test_a_large_result_that_is_not_staged_is_asked_for_again(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    job = new_job()
    lease = await leased(broker, job)
    body = b'"' + b"x" * 40_000 + b'"'
    before = await whole_state(redis)
    assert await settle(broker, lease, Done(body)) is Settled.UNSTAGED
    assert await whole_state(redis) == before
    await broker.stage(job.id, lease.token, body)
    assert await settle(broker, lease, Done(body)) is Settled.SETTLED
    assert await settle(broker, lease, Done(body)) is Settled.ALREADY
    assert await inspector.result(job.id) == body
    assert KEYS.staged(job.id, lease.token) not in await whole_state(redis)


async def test_a_zombies_staged_result_is_never_linked(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    job = new_job()
    zombie = await leased(broker, job)
    await run_out(redis, zombie)
    [newest] = await Hand(broker, "newest").take()
    body = b'"' + b"z" * 40_000 + b'"'
    await broker.stage(job.id, zombie.token, body)
    assert await settle(broker, zombie, Done(body)) is Settled.LOST
    assert await settle(broker, newest, Done(b'"right"')) is Settled.SETTLED
    assert await inspector.result(job.id) == b'"right"'


async def test_one_call_settles_many_each_by_itself(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    await broker.submit([told(app=f"app{n % 3}") for n in range(6)])
    leases = await Hand(broker).take(6)
    await run_out(redis, leases[2])
    await Hand(broker, "thief").take()
    answers = await broker.settle(
        "w",
        [
            Settlement(each.job_id, each.token, verdict)
            for each, verdict in zip(leases, VERDICTS, strict=True)
        ],
    )
    settled = [Settled.SETTLED] * 6
    settled[2] = Settled.LOST
    assert answers == settled
    assert await inspector.audit() == []
    assert (await store(redis, broker).counts())["recorded"] == 2


async def test_an_attempt_after_a_handed_back_one_may_be_handed_back_too(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    job = new_job()
    lease = await leased(broker, job)
    for n in range(5):
        assert await settle(broker, lease, HandedBack()) is Settled.SETTLED
        before = await state_of(redis)
        assert (await broker.renew("w", [(job.id, lease.token)], 30_000)).lost == {job.id}
        assert await state_of(redis) == before
        [lease] = await Hand(broker, f"next{n}").take()
    found = await inspector.job(job.id)
    assert found is not None
    assert (found.attempt, found.failures, found.crashes) == (6, 0, 0)


async def test_the_worker_of_a_cancelled_job_cannot_hand_it_back(
    broker: Broker, inspector: Inspector
) -> None:
    job = new_job()
    lease = await leased(broker, job)
    await broker.cancel(job.id)
    assert await settle(broker, lease, HandedBack()) is Settled.SETTLED
    found = await inspector.job(job.id)
    assert found is not None
    assert found.state is State.CANCELLED


async def test_a_fault_that_utf_8_cannot_carry_is_settled(
    broker: Broker, inspector: Inspector
) -> None:
    fault = FAULT.__class__("a\tcode\n", "bad \udcff byte\n" + "x" * 3_000)
    job = new_job()
    assert await settle(broker, await leased(broker, job), Dead(fault)) is Settled.SETTLED
    found = await inspector.job(job.id)
    assert found is not None
    assert found.fault is not None
    assert found.fault.code == "a code"
    assert found.fault.message.startswith("bad ? byte\nxxx")
    assert len(found.fault.message) == 2_000
