"""Submitting: what is stored, and that once is as good as many times."""

import msgspec
import pytest
from redis.asyncio import Redis

from streams.broker import Broker
from streams.inspector import Inspector
from streams.model import Done, State, Submitted
from tests.redis.scenes import HOOK, KEYS, kinds, leased, settle
from tests.support.build import Hand, new_job
from tests.support.redis_state import whole_state


async def test_a_submitted_job_is_stored_whole(redis: "Redis", broker: Broker) -> None:
    job = new_job(b'{"a":1}', callback=HOOK, tags=("x", "y"), trace="00-ab-cd-01", app="cnc")
    assert await broker.submit([job], gateway="gw", sequence=7) == [
        Submitted(job.id, State.WAITING, True)
    ]
    state = await whole_state(redis)
    record = state.pop(KEYS.job(job.id))
    entry = record.pop("entry")
    assert int(record.pop("at")) > 0
    assert record == {
        "lane": "io:cnc:normal:echo:",
        "size": "7",
        "state": "waiting",
        "callback": "https://app.example/hook ep succeeded,dead,cancelled,expired",
        "tags": "x y",
        "trace": "00-ab-cd-01",
    }
    [line] = state.pop(KEYS.key("events"))["entries"].values()
    assert line == {"e": f"submitted\t{job.id}\tio:cnc:normal:echo:\twaiting\t0"}
    [ring] = state.pop(KEYS.key("doorbell_", "io"))["entries"].values()
    assert ring == {"ring": "1"}
    assert state == {
        KEYS.payload(job.id): '{"a":1}',
        KEYS.stream("io:cnc:normal:echo:"): {
            "entries": {entry: {"j": job.id, "t": "0"}},
            "groups": {"workers": {}},
        },
        KEYS.key("streams_", "io"): {"io:cnc:normal:echo:"},
        KEYS.key("lanes_", "io:normal"): {"io:cnc:normal:echo:": 0.0},
        KEYS.key("counts"): {"io|waiting": "1", "io|submitted": "1"},
        KEYS.key("tallies"): {"submitted|io:cnc:normal:echo:": "1"},
        KEYS.key("apps"): {"cnc"},
        KEYS.key("shipped"): {"gw": "7"},
    }


async def test_a_delayed_job_waits_in_the_due_set(redis: "Redis", broker: Broker) -> None:
    late = new_job(delay_ms=60_000)
    [answer] = await broker.submit([late])
    assert answer.state is State.DELAYED
    state = await whole_state(redis)
    assert list(state[KEYS.key("due_", "io")]) == [late.id]
    assert KEYS.key("streams_", "io") not in state
    assert await Hand(broker).take() == []


async def test_a_time_that_has_passed_means_at_once(broker: Broker) -> None:
    [answer] = await broker.submit([new_job(run_at_ms=1_000)])
    assert answer.state is State.WAITING


@pytest.mark.parametrize("delay_ms", [0, 60_000])
async def test_submitting_again_changes_nothing(
    redis: "Redis", broker: Broker, delay_ms: int
) -> None:
    jobs = [new_job(delay_ms=delay_ms, expires_at_ms=10**13) for _ in range(3)]
    await broker.submit(jobs, gateway="gw", sequence=3)
    before = await whole_state(redis)
    for _ in range(3):
        again = await broker.submit(jobs, gateway="gw", sequence=3)
        assert {answer.created for answer in again} == {False}
    assert await whole_state(redis) == before


async def test_a_job_twice_in_one_call_is_one_job(broker: Broker, inspector: Inspector) -> None:
    job = new_job()
    first, second = await broker.submit([job, job])
    assert (first.created, second.created) == (True, False)
    assert (await inspector.counts())["io|waiting"] == 1


async def test_an_id_that_is_known_answers_how_its_job_stands(broker: Broker) -> None:
    job = new_job()
    lease = await leased(broker, job)
    assert (await broker.submit([job]))[0] == Submitted(job.id, State.ACTIVE, False)
    await settle(broker, lease, Done(b"1"))
    other = msgspec.structs.replace(job, payload=b'"other"')
    assert (await broker.submit([other]))[0] == Submitted(job.id, State.SUCCEEDED, False)


async def test_the_watermark_of_a_gateway_never_goes_back(redis: "Redis", broker: Broker) -> None:
    for sequence in (5, 9, 7):
        await broker.submit([new_job()], gateway="gw", sequence=sequence)
    await broker.submit([new_job()], gateway="other", sequence=1)
    await broker.submit([new_job()])
    assert await redis.hgetall(KEYS.key("shipped")) == {b"gw": b"9", b"other": b"1"}


async def test_a_thousand_jobs_are_one_call(broker: Broker, inspector: Inspector) -> None:
    answers = await broker.submit([new_job(app=f"app{n % 7}") for n in range(1_000)])
    assert sum(answer.created for answer in answers) == 1_000
    assert await inspector.audit() == []
    assert len(await Hand(broker).take(1_000)) == 1_000


async def test_the_bell_rings_when_a_lane_stops_being_empty(redis: "Redis", broker: Broker) -> None:
    bell = KEYS.key("doorbell_", "io")
    await broker.submit([new_job(), new_job()])
    await broker.submit([new_job()])
    assert await redis.xlen(bell) == 1
    await broker.submit([new_job(app="cnc")])
    assert await redis.xlen(bell) == 2
    await broker.submit([new_job(delay_ms=60_000)])  # the due head moved: look earlier
    await broker.submit([new_job(delay_ms=90_000)])
    assert await redis.xlen(bell) == 3


async def test_a_due_job_is_promoted_by_take_or_by_the_chore(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    jobs = [new_job(delay_ms=60_000) for _ in range(3)]
    await broker.submit(jobs)
    due = KEYS.key("due_", "io")
    await redis.zadd(due, {job.id: 1 for job in jobs[:2]})
    assert await broker.promote(jobs[0].lane.resource_class, 1) == 1
    assert (await inspector.counts())["io|waiting"] == 1
    taken = await Hand(broker).take(5)
    assert {lease.job_id for lease in taken} == {job.id for job in jobs[:2]}
    assert await redis.zcard(due) == 1
    assert await inspector.audit() == []
    assert await kinds(redis, jobs[0]) == ["submitted", "active"]
