"""What is done when Redis has less, or more, than the journal believes."""

import asyncio
import logging
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.journal.watermark import Course, compare
from gateway.settings import GatewaySettings
from streams.broker import Broker
from streams.errors import WatermarkMoved
from streams.model import NewJob, State
from tests.journal.scene import KEYS, Scene
from tests.support.build import new_job
from tests.support.redis_server import RedisServer
from tests.support.redis_state import whole_state
from tests.support.waiting import until


@pytest.mark.parametrize(
    ("watermark", "cursor", "known", "dropped", "course"),
    [
        (None, 0, 0, 0, Course(0, 0)),
        (7, 7, 7, 3, Course(7, 7)),
        (9, 7, 7, 3, Course(7, 9)),  # the answer to the last call was lost
        (6, 7, 6, 3, Course(7, 6)),  # the last row was refused
        (5, 7, 7, 3, Course(5, 5, again=2)),
        (None, 7, 7, 3, Course(0, 0, again=4, gone=3)),
        (1, 7, 7, 3, Course(1, 1, again=4, gone=2)),
        (None, 7, 7, 7, Course(0, 0, again=0, gone=7)),
    ],
)
def test_the_course(
    watermark: int | None, cursor: int, known: int, dropped: int, course: Course
) -> None:
    assert compare(watermark, cursor, known, dropped) == course
    assert course.alarming is (course.again + course.gone > 0)


async def test_a_gateway_that_believes_something_else_changes_nothing(redis: "Redis") -> None:
    broker = Broker(redis, KEYS)
    await broker.submit([new_job()], gateway="gw", sequence=5, known=0)
    before = await whole_state(redis)
    with pytest.raises(WatermarkMoved):
        await broker.submit([new_job()], gateway="gw", sequence=9, known=7)
    assert await whole_state(redis) == before
    await broker.submit([new_job()], gateway="gw", sequence=9, known=5)
    assert await broker.shipped("gw") == 9


async def test_redis_loses_its_tail_unnoticed(
    redis: "Redis", folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Between two calls, with no connection lost: the next call finds out, and hides nothing."""
    async with Scene(redis, folder) as scene:
        first = [new_job() for _ in range(10)]
        for job in first:
            await scene.acceptor.accept([job])
        await forget(redis, scene, first[7:])
        last = new_job()
        await scene.acceptor.accept([last])
        await until(lambda: scene.spooled == 0, what="the lost rows to be shipped again")
        spool = scene.spool()
        assert (spool.alarms, spool.gone) == (1, 0)
        for job in [*first, last]:
            assert await scene.inspector.job(job.id) is not None
        assert await scene.broker.shipped(spool.gateway) == 11
        assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_redis_loses_its_tail_while_nothing_is_submitted(
    redis: "Redis", folder: Path
) -> None:
    async with Scene(redis, folder) as scene:
        jobs = [new_job() for _ in range(10)]
        await scene.acceptor.accept(jobs)
        await forget(redis, scene, jobs[4:])
        await until(lambda: scene.spool().alarms, what="the alarm")
        await until(lambda: scene.spooled == 0, what="the lost rows to be shipped again")
        assert await scene.jobs() == 10


@pytest.mark.may_leak
async def test_a_flushed_redis_gets_every_job_again(redis: "Redis", folder: Path) -> None:
    async with Scene(redis, folder) as scene:
        jobs = [new_job() for _ in range(1_500)]
        await asyncio.gather(*(scene.acceptor.accept(jobs[n::3]) for n in range(3)))
        await redis.flushall()
        await until(lambda: scene.spool().alarms, what="the alarm")
        await until(lambda: scene.spooled == 0, what="every row to be shipped again")
        assert await scene.jobs() == 1_500


async def test_what_redis_has_safe_is_dropped_and_not_sent_again(
    mortal: RedisServer, wire: "Redis", folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.durability.FSYNC_LATE_MS", 500)
    async with Scene(wire, folder) as scene:
        await scene.acceptor.accept([new_job() for _ in range(20)])
        await until(lambda: scene.spool().shipped == 0, what="the rows to go")
        await wire.flushall()
        await until(lambda: scene.spool().alarms, what="the alarm")
        assert scene.spool().gone == 20  # said loudly, since nothing can bring them back
        assert await scene.jobs() == 0
        [answer] = await scene.acceptor.accept([new_job()])
        assert answer.state is State.WAITING


async def test_rows_stay_while_redis_promises_nothing(redis: "Redis", folder: Path) -> None:
    """The server of this test keeps nothing on disk."""
    async with Scene(redis, folder) as scene:
        await scene.acceptor.accept([new_job() for _ in range(20)])
        for _ in range(2):
            before = scene.looked_at
            await until(partial(later, scene, before), what="one more look")
        assert scene.spool().shipped == 20


async def test_shipped_rows_make_room_for_spooled_ones(redis: "Redis", folder: Path) -> None:
    async with Scene(redis, folder, GatewaySettings(spool_bytes_max=20_000)) as scene:
        for _ in range(4):
            await scene.acceptor.accept([new_job() for _ in range(30)])
        await until(lambda: scene.spool().shipped == 0, what="room")
        assert await scene.jobs() == 120


async def test_an_older_life_of_the_file(redis: "Redis", folder: Path) -> None:
    """A machine restored from a backup: Redis has more of this gateway than its file knows."""
    async with Scene(redis, folder) as scene:
        gateway = scene.spool().gateway
        await redis.hset(KEYS.key("shipped"), gateway, "500")
        await until(lambda: scene.acceptor._journal.last >= 500, what="the jump")
        await scene.acceptor.accept([new_job()])
        assert await scene.broker.shipped(gateway) == 501
        assert scene.spool().alarms == 0


def later(scene: Scene, before: float) -> bool:
    return scene.looked_at > before


async def forget(redis: "Redis", scene: Scene, jobs: list[NewJob]) -> None:
    """As if Redis had lost its last seconds, with these jobs in them."""
    for job in jobs:
        await scene.broker.cancel(job.id)
        await redis.delete(KEYS.job(job.id), KEYS.payload(job.id))
        await redis.zrem(KEYS.key("ended_", job.lane.app), job.id)
    for field in ("io|cancelled", "io|submitted"):
        await redis.hincrby(KEYS.key("counts"), field, -len(jobs))
    gateway = scene.spool().gateway
    await redis.hincrby(KEYS.key("shipped"), gateway, -len(jobs))
