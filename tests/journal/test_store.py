"""What the scripts do for the journal: bodies compared by digest, and jobs that end as refused."""

import msgspec
from redis.asyncio import Redis

from streams.broker import Broker
from streams.inspector import Inspector
from streams.listing import JobFilter
from streams.model import CallbackRequest, Fault, State, Submitted
from tests.journal.scene import KEYS
from tests.support.build import Hand, new_job
from tests.support.redis_state import whole_state

HOOK = CallbackRequest("https://app.example/hook", "ep")


async def test_another_digest_under_one_id_is_told_and_changes_nothing(redis: "Redis") -> None:
    broker = Broker(redis, KEYS)
    job = new_job(digest="a")
    await broker.submit([job])
    before = await whole_state(redis)
    other, same = (
        msgspec.structs.replace(job, digest="b"),
        msgspec.structs.replace(job, payload=b"1"),
    )
    assert await broker.submit([other, same]) == [
        Submitted(job.id, State.WAITING, created=False, same=False),
        Submitted(job.id, State.WAITING, created=False),
    ]
    assert await whole_state(redis) == before


async def test_without_a_digest_an_id_is_all_that_counts(redis: "Redis") -> None:
    broker = Broker(redis, KEYS)
    with_key, without = new_job(digest="a"), new_job()
    await broker.submit([with_key, without])
    again = [
        msgspec.structs.replace(with_key, digest=""),
        msgspec.structs.replace(without, digest="a"),
    ]
    assert {answer.same for answer in await broker.submit(again)} == {True}


async def test_a_refused_job_has_ended_as_any_other(redis: "Redis") -> None:
    broker, inspector = Broker(redis, KEYS), Inspector(redis, KEYS)
    job = new_job(b'{"a":1}', callback=HOOK, tags=("x",), trace="00-ab-cd-01", digest="a")
    assert await broker.refuse(job, "duplicate_of", "0-other")
    found = await inspector.job(job.id)
    assert found is not None
    assert (found.state, found.fault) == (State.CANCELLED, Fault("duplicate_of", "0-other"))
    assert (found.tags, found.callback, found.trace) == (job.tags, HOOK, job.trace)
    assert await inspector.counts() == {"io|cancelled": 1, "io|submitted": 1}
    assert await redis.hget(KEYS.key("callback_counts"), "recorded") == b"1"
    assert 0 < await redis.pttl(KEYS.job(job.id)) <= broker.settings.retention_s * 1_000
    assert [one.id for one in (await inspector.jobs(JobFilter(state=State.CANCELLED))).items] == [
        job.id
    ]
    assert await inspector.audit() == []


async def test_refusing_again_or_what_is_there_changes_nothing(redis: "Redis") -> None:
    broker = Broker(redis, KEYS)
    job, lives = new_job(callback=HOOK), new_job()
    await broker.refuse(job, "refused", "why")
    await broker.submit([lives])
    before = await whole_state(redis)
    for each in (job, lives):
        assert not await broker.refuse(each, "refused", "again")
    assert await whole_state(redis) == before


async def test_a_refused_job_can_be_replayed(redis: "Redis") -> None:
    broker = Broker(redis, KEYS)
    job = new_job(b'{"a":1}')
    await broker.refuse(job, "refused", "why")
    assert await broker.replay([job.id]) == ["replayed"]
    [lease] = await Hand(broker).take()
    assert (lease.job_id, lease.payload) == (job.id, b'{"a":1}')
