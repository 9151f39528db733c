"""Waiting for a job's end never depends on having seen an event."""

import asyncio

import pytest
from redis.asyncio import Redis

from gateway.feed import Feed
from gateway.waiting import EndingWatch
from streams.events import Event, EventReader
from streams.model import Done, Job
from tests.http.edge import CLOCK, Edge, echo
from tests.support.waiting import until

PREFER = {"prefer": "wait=20"}


async def test_a_submit_that_waits_gets_the_result(edge: Edge) -> None:
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(edge.post("/v1/jobs", echo(), headers=PREFER))
        await until(lambda: edge.parts.watch.waiting, what="the request to wait")
        job_id = await edge.succeed(b'{"said":"hi"}')
    reply = waiting.result()
    assert reply.status_code == 200
    assert reply.headers["preference-applied"] == "wait=20"
    assert reply.headers["location"] == f"/v1/jobs/{job_id}"
    assert (reply.json()["state"], reply.json()["result"]) == ("succeeded", {"said": "hi"})


async def test_a_submit_whose_job_died_says_so(edge: Edge) -> None:
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(edge.post("/v1/jobs", echo(), headers=PREFER))
        await until(lambda: edge.parts.watch.waiting, what="the request to wait")
        await edge.die()
    job = waiting.result().json()
    assert (job["state"], job["error"]["code"], "result" in job) == ("dead", "boom", False)


async def test_a_job_that_does_not_end_in_time_is_accepted(edge: Edge) -> None:
    reply = await edge.post("/v1/jobs", echo(), headers={"prefer": "respond-async, wait=0"})
    assert (reply.status_code, reply.json()["state"]) == (202, "waiting")
    assert reply.headers["preference-applied"] == "wait=0"


async def test_a_read_that_waits(edge: Edge) -> None:
    job_id = await edge.submit()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(edge.get(f"/v1/jobs/{job_id}", headers=PREFER))
        await until(lambda: edge.parts.watch.waiting, what="the request to wait")
        await edge.succeed()
    assert waiting.result().json()["result"] == {"said": "hi"}


async def test_a_read_of_an_ended_job_waits_for_nothing(edge: Edge) -> None:
    job_id = await edge.submit()
    await edge.succeed()
    reply = await edge.get(f"/v1/jobs/{job_id}", headers=PREFER)
    assert reply.json()["result"] == {"said": "hi"}
    without = await edge.get(f"/v1/jobs/{job_id}")
    assert "result" not in without.json()


async def test_many_wait_for_many(edge: Edge) -> None:
    async with asyncio.TaskGroup() as group:
        waiting = [
            group.create_task(edge.post("/v1/jobs", echo(), headers=PREFER)) for _ in range(20)
        ]
        await until(lambda: edge.parts.watch.waiting == 20, what="all requests to wait")
        for number in range(20):
            await edge.succeed(b"%d" % number)
    assert sorted(one.result().json()["result"] for one in waiting) == list(range(20))
    assert edge.parts.watch.waiting == 0


async def test_stopping_lets_waiting_requests_answer(edge: Edge) -> None:
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(edge.post("/v1/jobs", echo(), headers=PREFER))
        await until(lambda: edge.parts.watch.waiting, what="the request to wait")
        await edge.parts.watch.stop()
    assert waiting.result().status_code == 202


class Deaf(EventReader):
    """A reader to whom no event ever comes."""

    async def read(self, after: str, block_ms: int = 0, count: int = 1_000) -> list[Event]:
        await asyncio.sleep(block_ms / 1_000)
        return []


class Broken(EventReader):
    """A reader whose first reads fail, as after a cut link."""

    failures = 2

    async def read(self, after: str, block_ms: int = 0, count: int = 1_000) -> list[Event]:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("cut")
        return await super().read(after, block_ms, count)


@pytest.mark.parametrize("kind", [Deaf, Broken])
async def test_an_end_is_seen_without_its_event(
    edge: Edge,
    redis_url: str,
    kind: type[EventReader],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.waiting.LOOK_AGAIN_S", 0.1)
    monkeypatch.setattr("gateway.feed.RETRY_S", 0.05)
    job_id = await edge.submit()
    async with Redis.from_url(redis_url) as reading:
        reader = kind(reading, edge.broker.keyspace)
        feed = Feed(reader)
        watch = EndingWatch(feed, edge.parts.inspector.job, CLOCK)
        async with feed, watch, asyncio.TaskGroup() as group:
            waiting = group.create_task(watch.ended(job_id, 20.0))
            await until(lambda: watch.waiting, what="the watch")
            await edge.succeed()
        job = waiting.result()
    assert job is not None
    assert job.state.ended


async def test_the_deadline_reads_once_more(edge: Edge, redis_url: str) -> None:
    """The last look is after the deadline, so an end just before it is not missed."""
    job_id = await edge.submit()
    looks: list[Job | None] = []

    async def read(which: str) -> Job | None:
        if len(looks) == 1:
            lease = await edge.take()
            await edge.settle(lease, Done(b"1"))
        looks.append(await edge.parts.inspector.job(which))
        return looks[-1]

    async with Redis.from_url(redis_url) as reading:
        feed = Feed(Deaf(reading, edge.broker.keyspace))
        watch = EndingWatch(feed, read, CLOCK)
        async with feed, watch:
            job = await watch.ended(job_id, 0.05)
    assert job is not None
    assert job.state.ended
    assert len(looks) == 2
