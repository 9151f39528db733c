"""Verdicts on disk: nothing that a GPU worked for is lost or done again."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from streams.attempt import Attempt
from streams.broker import Broker
from streams.errors import ConfigError
from streams.inspector import Inspector
from streams.journal import VerdictJournal
from streams.model import Dead, Done, Fault, HandedBack, Mark, Settlement, State
from streams.settings import EngineSettings
from tests.redis.scenes import KEYS
from tests.redis.stage import Stage, ended, in_state
from tests.support.build import new_job
from tests.support.plain_worker import client, plain_worker
from tests.support.redis_server import RedisServer
from tests.support.waiting import until

LONG = EngineSettings(journal_after_ms=0)  # every attempt counts as long
BODY = b'"' + b"x" * 40_000 + b'"'
Options = tuple[str, ...]
LASTING = ("appendonly yes", "appendfsync always")


@pytest.fixture
def lasting(redis_server: RedisServer) -> Iterator[RedisServer]:
    server = RedisServer(redis_server.binary, *LASTING)
    yield server
    server.stop()


class Counted:
    """A processor that says how often it ran, and waits where it is told to."""

    def __init__(self, result: bytes = b"1") -> None:
        self.ran: list[str] = []
        self.result = result
        self.go = asyncio.Event()
        self.go.set()

    async def run(self, attempt: Attempt) -> bytes:
        self.ran.append(attempt.lease.job_id)
        await self.go.wait()
        return self.result


@pytest.mark.parametrize("result", [b"1", BODY], ids=["small", "large"])
async def test_a_verdict_that_redis_forgot_is_settled_again(
    lasting: RedisServer, tmp_path: Path, result: bytes
) -> None:
    work = Counted(result)
    work.go.clear()
    async with client(lasting.url) as redis:
        broker, inspector = Broker(redis, KEYS, LONG), Inspector(redis, KEYS)
        job = new_job()
        await broker.submit([job])
        async with plain_worker(broker, lasting.url, work.run, journal=tmp_path):
            await until(lambda: work.ran, what="the attempt")
            before = await asyncio.to_thread(lasting.saved)
            work.go.set()
            await ended(inspector, job.id)
            await asyncio.to_thread(lasting.lose_since, before)
            await redis.connection_pool.disconnect()
            assert (await ended(inspector, job.id)).state is State.SUCCEEDED
        assert (await inspector.result(job.id), work.ran) == (result, [job.id])


async def test_a_worker_that_ends_without_redis_leaves_its_verdicts_to_the_next(
    lasting: RedisServer, tmp_path: Path
) -> None:
    """Also those of short attempts, which go to disk only when Redis does not answer."""
    work = Counted(BODY)
    work.go.clear()
    jobs = [new_job() for _ in range(3)]
    async with client(lasting.url) as redis:
        broker, inspector = Broker(redis, KEYS), Inspector(redis, KEYS)
        await broker.submit(jobs)
        async with plain_worker(broker, lasting.url, work.run, journal=tmp_path, grace_s=1.0):
            await until(lambda: len(work.ran) == 3, what="the attempts")
            await asyncio.to_thread(lasting.kill)
            work.go.set()
        await asyncio.to_thread(lasting.restart)
        await redis.connection_pool.disconnect()
        async with plain_worker(broker, lasting.url, work.run, name="next", journal=tmp_path):
            for job in jobs:
                assert (await ended(inspector, job.id)).state is State.SUCCEEDED
        assert sorted(work.ran) == sorted(job.id for job in jobs)
        assert await inspector.audit() == []


async def test_what_is_not_long_costs_no_disk(
    redis: "Redis", redis_url: str, inspector: Inspector, tmp_path: Path
) -> None:
    broker, job = Broker(redis, KEYS), new_job()
    await broker.submit([job])
    async with plain_worker(broker, redis_url, Counted().run, journal=tmp_path) as worker:
        await ended(inspector, job.id)
        assert worker._journal is not None
        assert worker._journal.kept == 0
    assert await redis.hgetall(KEYS.key("verdicts")) == {}


async def test_health_says_what_is_owed(lasting: RedisServer, tmp_path: Path) -> None:
    stage = Stage()
    async with client(lasting.url) as redis:
        broker, inspector = Broker(redis, KEYS, LONG), Inspector(redis, KEYS)
        job = new_job()
        await broker.submit([job])
        async with plain_worker(broker, lasting.url, stage.run, journal=tmp_path) as worker:
            await in_state(inspector, job.id, State.ACTIVE)
            await until(lambda: stage.started, what="the attempt")
            await asyncio.to_thread(lasting.kill)
            stage.go.set()
            await until(lambda: worker.health().verdicts_owed == 1, what="the verdict on disk")
            await asyncio.to_thread(lasting.restart)
            await redis.connection_pool.disconnect()
            await until(lambda: worker.health().verdicts_owed == 0, what="the settle")


# ---------------------------------------------------------------------------------- the file


def verdict(number: int) -> Settlement:
    return Settlement(f"0-{number}", f"t{number}", Done(b"%d" % number))


def files(folder: Path, pattern: str) -> int:
    return len(list(folder.glob(pattern)))


async def opened(folder: Path) -> VerdictJournal:
    journal = VerdictJournal(folder)
    await journal.start()
    return journal


async def test_verdicts_survive_the_process_in_their_order_and_kind(tmp_path: Path) -> None:
    first = await opened(tmp_path)
    told = [verdict(1), Settlement("0-2", "t", Dead(Fault("boom", "bang"))), verdict(3)]
    await first.append([*told, Settlement("0-4", "t", HandedBack())])
    await first.append([told[0]])
    await first.stop()
    again = await opened(tmp_path)
    assert (again.owed(), again.id) == (told, first.id)
    await again.stop()


async def test_files_of_ended_processes_are_adopted_and_those_of_living_ones_are_not(
    tmp_path: Path,
) -> None:
    living, gone, late = [await opened(tmp_path) for _ in range(3)]
    for number, journal in enumerate((living, gone, late)):
        await journal.append([verdict(number)])
    await gone.stop()
    await late.stop()
    heir = await opened(tmp_path)
    assert heir.owed() == [verdict(1), verdict(2)]
    assert files(tmp_path, "*.db") == 2
    await heir.stop()
    assert (await opened(tmp_path)).owed() == [verdict(1), verdict(2)]
    assert living.owed() == [verdict(0)]


async def test_what_is_safe_is_forgotten_and_nothing_else(tmp_path: Path) -> None:
    journal = await opened(tmp_path)
    settlements = [verdict(number) for number in range(4)]
    await journal.append(settlements)
    mark = journal.mark(settlements[:2])
    assert mark == Mark(journal.id, 1)
    journal.answered(settlements[:2], mark)
    assert await journal.forget(None) == 0
    assert await journal.forget(60_000) == 0
    assert await journal.forget(0) == 2
    assert journal.owed() == settlements[2:]
    assert journal.mark(settlements[:2]) is None
    await journal.stop()
    assert (await opened(tmp_path)).owed() == settlements[2:]


async def test_a_lower_watermark_brings_back_exactly_what_came_after_it(tmp_path: Path) -> None:
    journal = await opened(tmp_path)
    await journal.append([verdict(number) for number in range(4)])
    for number in range(3):
        mark = journal.mark([verdict(number)])
        assert mark is not None
        journal.answered([verdict(number)], mark)
    assert journal.lost_by(3) == []
    assert journal.lost_by(1) == [verdict(1), verdict(2)]
    assert journal.owed() == [verdict(1), verdict(2), verdict(3)]


def scribble(path: Path) -> None:
    path.write_bytes(b"no database" * 500)


def mix_up(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("INSERT INTO verdicts VALUES (99, x'00')")


@pytest.mark.parametrize(("damage", "left"), [(scribble, 0), (mix_up, 1)])
async def test_damage_is_told_and_what_can_be_read_is_kept(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
    left: int,
) -> None:
    journal = await opened(tmp_path)
    await journal.append([verdict(1)])
    await journal.stop()
    damage(tmp_path / "verdicts-0.db")
    journal = await opened(tmp_path)
    assert len(journal.owed()) == left
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert files(tmp_path, "*.unreadable-*") == 1 - left


async def test_a_full_disk_is_told_and_costs_no_verdict(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = await opened(tmp_path)
    journal._file.execute("PRAGMA max_page_count = 4")
    await journal.append([Settlement("0-1", "t", Done(BODY * 10))])
    assert not journal.writable
    assert len(journal.owed()) == 1
    assert "cannot be written" in caplog.text


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file/journal"):
        await opened(tmp_path / "file" / "journal")
