"""Concurrent submits share calls; one bad request harms no other; nothing waits for ever."""

import asyncio
from collections.abc import Sequence

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from gateway.acceptor import DirectAcceptor
from gateway.settings import GatewaySettings
from streams.broker import Broker
from streams.errors import Unavailable
from streams.model import NewJob, Submitted
from tests.http.edge import KEYS
from tests.support.build import new_job
from tests.support.waiting import until


class Counting(Broker):
    """A real broker that notes how many jobs each call carried, and can be held up."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis, KEYS)
        self.calls: list[int] = []
        self.open = asyncio.Event()
        self.open.set()

    async def submit(
        self, jobs: Sequence[NewJob], *, gateway: str = "", sequence: int = 0
    ) -> list[Submitted]:
        self.calls.append(len(jobs))
        await self.open.wait()
        if any(b"poison" in job.payload for job in jobs):
            raise ResponseError("ERR wrong")
        return await super().submit(jobs)


async def test_a_lone_submit_is_one_call(redis: Redis) -> None:
    broker = Counting(redis)
    async with DirectAcceptor(broker, GatewaySettings()) as acceptor:
        job = new_job()
        (answer,) = await acceptor.accept([job])
    assert (answer.id, answer.created, broker.calls) == (job.id, True, [1])


async def test_what_arrives_meanwhile_shares_the_next_call(redis: Redis) -> None:
    broker = Counting(redis)
    broker.open.clear()
    jobs = [new_job() for _ in range(102)]
    async with DirectAcceptor(broker, GatewaySettings()) as acceptor, asyncio.TaskGroup() as group:
        answers = []
        for index, job in enumerate(jobs):
            answers.append(group.create_task(acceptor.accept([job])))
            if index < 2:
                await until(lambda i=index: len(broker.calls) == i + 1, what="the call")
        await asyncio.sleep(0)
        broker.open.set()
    assert [task.result()[0].id for task in answers] == [job.id for job in jobs]
    assert broker.calls == [1, 1, 100]


async def test_a_call_carries_at_most_a_thousand_jobs(redis: Redis) -> None:
    broker = Counting(redis)
    async with DirectAcceptor(broker, GatewaySettings()) as acceptor, asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(acceptor.accept([new_job() for _ in range(400)]))
    assert sum(broker.calls) == 2_000
    assert max(broker.calls) <= 1_000


async def test_a_call_carries_about_a_mebibyte(redis: Redis) -> None:
    broker = Counting(redis)
    large = b'"' + b"x" * 400_000 + b'"'
    async with DirectAcceptor(broker, GatewaySettings()) as acceptor, asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(acceptor.accept([new_job(large)]))
    assert sum(broker.calls) == 6
    assert max(broker.calls) <= 2


async def test_one_bad_request_harms_no_other(redis: Redis) -> None:
    broker = Counting(redis)
    good = [new_job() for _ in range(3)]
    async with DirectAcceptor(broker, GatewaySettings()) as acceptor:
        answers = await asyncio.gather(
            *(acceptor.accept([job]) for job in good),
            acceptor.accept([new_job(b'"poison"')]),
            return_exceptions=True,
        )
    assert [answer[0].id for answer in answers[:3]] == [job.id for job in good]
    assert isinstance(answers[3], ResponseError)


async def test_a_call_that_hangs_is_given_up(redis: Redis) -> None:
    broker = Counting(redis)
    broker.open.clear()
    async with DirectAcceptor(broker, GatewaySettings(accept_wait_s=0.05)) as acceptor:
        with pytest.raises(TimeoutError):
            await acceptor.accept([new_job()])
        broker.open.set()
        job = new_job()
        assert (await acceptor.accept([job]))[0].id == job.id


async def test_too_many_waiting_submits_are_refused_at_once(redis: Redis) -> None:
    broker = Counting(redis)
    broker.open.clear()
    settings = GatewaySettings(accept_pending_max=2)
    async with DirectAcceptor(broker, settings) as acceptor, asyncio.TaskGroup() as group:
        for number in range(2):
            group.create_task(acceptor.accept([new_job()]))
            await until(lambda n=number: len(broker.calls) == n + 1, what="the call")
        for _ in range(2):
            group.create_task(acceptor.accept([new_job()]))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await acceptor.accept([new_job()])
        broker.open.set()


async def test_stopping_ends_calls_under_way_and_refuses_the_rest(redis: Redis) -> None:
    broker = Counting(redis)
    broker.open.clear()
    acceptor = DirectAcceptor(broker, GatewaySettings())
    await acceptor.start()
    answers = []
    for number in range(2):
        answers.append(asyncio.ensure_future(acceptor.accept([new_job()])))
        await until(lambda n=number: len(broker.calls) == n + 1, what="the call")
    answers.append(asyncio.ensure_future(acceptor.accept([new_job()])))
    stopping = asyncio.ensure_future(acceptor.stop())
    await until(answers[2].done, what="the refusal")
    broker.open.set()
    await stopping
    assert [type(one.exception()) for one in answers] == [type(None), type(None), Unavailable]
    with pytest.raises(Unavailable):
        await acceptor.accept([new_job()])


async def test_stopping_does_not_wait_for_a_call_that_hangs(redis: Redis) -> None:
    broker = Counting(redis)
    broker.open.clear()
    acceptor = DirectAcceptor(broker, GatewaySettings(accept_wait_s=0.05))
    await acceptor.start()
    answer = asyncio.ensure_future(acceptor.accept([new_job()]))
    await until(lambda: broker.calls, what="the call")
    await acceptor.stop()
    assert isinstance((await asyncio.gather(answer, return_exceptions=True))[0], Exception)
