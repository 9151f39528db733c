"""Files and processes: one file each, left files adopted, unreadable ones kept, full disks told."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.journal.commits import GroupCommit
from gateway.journal.file import Cursor, Drop, JournalFile, Write, Written
from gateway.journal.slots import claim
from gateway.journal.survey import look_at, survey
from streams.errors import ConfigError, DiskRefused
from streams.model import State
from tests.journal.scene import Scene, together
from tests.support.build import new_job
from tests.support.redis_server import RedisServer, free_port
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]

# A gateway's process that accepts jobs without Redis, says so, and then lives until it is killed.
ACCEPTS = """
import asyncio, sys
from pathlib import Path
from gateway.settings import GatewaySettings
from tests.journal.scene import Scene, client
from tests.support.build import new_job
from streams.ids import new_job_id

async def main(folder, url, count):
    settings = GatewaySettings(accept_wait_ms=1)
    async with client(url) as redis, Scene(redis, Path(folder), settings) as scene:
        jobs = [new_job(id=new_job_id(n)) for n in range(int(count))]
        await scene.acceptor.accept(jobs)
        print(scene.spool().gateway, *(job.id for job in jobs), flush=True)
        await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:]))
"""


class Accepted:
    """What a process accepted that is dead by now."""

    def __init__(self, folder: Path, count: int) -> None:
        away = f"redis://127.0.0.1:{free_port()}/0"
        process = subprocess.Popen(
            [sys.executable, "-c", ACCEPTS, str(folder), away, str(count)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        self.gateway, *self.ids = process.stdout.readline().split()
        process.kill()
        process.wait(10)
        process.stdout.close()


async def test_processes_of_one_machine_have_files_of_their_own(
    redis: "Redis", folder: Path
) -> None:
    async with Scene(redis, folder) as one, Scene(redis, folder) as other:
        assert one.spool().gateway != other.spool().gateway
        await asyncio.gather(one.acceptor.accept([new_job()]), other.acceptor.accept([new_job()]))
        assert await one.jobs() == 2
        names = {one.spool().gateway, other.spool().gateway}
    async with Scene(redis, folder) as again:
        assert again.spool().gateway in names


async def test_a_killed_process_is_succeeded_by_the_next_start(
    redis: "Redis", folder: Path
) -> None:
    left = await asyncio.to_thread(Accepted, folder, 30)
    async with Scene(redis, folder) as scene:
        assert scene.spool().gateway == left.gateway
        await until(lambda: scene.spooled == 0, what="what it left to be shipped")
        assert len(await scene.inspector.jobs_by_id(left.ids)) == 30


async def test_a_killed_process_is_succeeded_by_a_living_one(redis: "Redis", folder: Path) -> None:
    async with Scene(redis, folder) as scene:
        await scene.acceptor.accept([new_job()])
        left = await asyncio.to_thread(Accepted, folder, 30)
        assert left.gateway != scene.spool().gateway

        async def arrived() -> bool:
            return await scene.broker.shipped(left.gateway) == 30

        await until(arrived, what="the adoption", limit_s=8.0)
        assert len(await scene.inspector.jobs_by_id(left.ids)) == 30
        assert scene.spool().adopted == 1  # until Redis has them safe
        assert scene.spool().rows == 0


async def test_an_adopted_file_is_let_go_when_it_is_empty(
    mortal: RedisServer, wire: "Redis", folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.durability.FSYNC_LATE_MS", 100)
    monkeypatch.setattr("gateway.journal.adoption.LOOK_S", 0.1)
    async with Scene(wire, folder) as scene:
        left = await asyncio.to_thread(Accepted, folder, 3)
        await until(lambda: scene.spool().adopted, what="the adoption")
        await until(lambda: not scene.spool().adopted, what="the file to be let go", limit_s=8.0)
        assert len(await scene.inspector.jobs_by_id(left.ids)) == 3

        def free() -> bool:
            slot = claim(folder)
            slot.release()
            return slot.path.name == "gateway-1.db"

        await until(free, what="the next process to have it")


@pytest.fixture
def no_database(folder: Path) -> None:
    """A file where the journal should be."""
    folder.mkdir(parents=True)
    (folder / "gateway-0.db").write_bytes(b"this is no database" * 1_000)


@pytest.mark.usefixtures("no_database")
async def test_an_unreadable_file_is_kept_aside(
    redis: "Redis", folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Scene(redis, folder) as scene:
        [answer] = await scene.acceptor.accept([new_job()])
        assert answer.state is State.WAITING
    [aside] = [path for found in survey(folder.parent) for path in found.unreadable]
    assert aside.read_bytes().startswith(b"this is no database")
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_damage_inside_a_file_is_found(redis: "Redis", folder: Path) -> None:
    left = await asyncio.to_thread(Accepted, folder, 500)
    path = folder / "gateway-0.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    content = bytearray(path.read_bytes())
    content[8_192 : 3 * 8_192] = os.urandom(2 * 8_192)
    path.write_bytes(content)
    async with Scene(redis, folder) as scene:
        assert scene.spool().gateway != left.gateway  # a file of its own, with sequences of its own
    assert [found.unreadable for found in survey(folder.parent)] != [()]


async def test_a_full_disk_accepts_nothing_and_recovers(redis: "Redis", folder: Path) -> None:
    async with Scene(redis, folder) as scene:
        await scene.acceptor.accept([new_job()])
        db = scene.acceptor._journal._commits.file._db
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages + 2}")
        large = b'"' + b"x" * 50_000 + b'"'
        answers = await together(
            *(scene.acceptor.accept([new_job(large), new_job(large)]) for _ in range(5))
        )
        assert {type(answer) for answer in answers} == {DiskRefused}
        assert not scene.spool().writable
        assert (scene.spooled, await scene.jobs()) == (0, 1)
        db.execute("PRAGMA max_page_count = 100000")
        await scene.acceptor.accept([new_job(large)])
        assert scene.spool().writable
        assert await scene.jobs() == 2
        assert await scene.broker.shipped(scene.spool().gateway) == 2  # no sequence was spent


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a mebibyte."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.call(command, stderr=subprocess.DEVNULL):
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


async def test_a_disk_that_is_really_full(redis: "Redis", small_disk: Path) -> None:
    async with Scene(redis, small_disk) as scene:
        accepted = []
        for _ in range(60):
            job = new_job(b'"' + b"x" * 20_000 + b'"')
            try:
                await scene.acceptor.accept([job])
                accepted.append(job.id)
            except DiskRefused:
                break
        assert 1 < len(accepted) < 60
        assert not scene.spool().writable
        await until(lambda: scene.spooled == 0, what="what was accepted to be shipped")
        assert len(await scene.inspector.jobs_by_id(accepted)) == len(accepted)
        assert await scene.jobs() == len(accepted)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(ConfigError, match="file"):
        claim(tmp_path / "file" / "journal")


async def test_a_closed_journal_refuses(tmp_path: Path) -> None:
    commits, told = GroupCommit(tmp_path / "a.db"), list[object]()
    await commits.open()
    await commits.close()
    commits.put(Cursor(1, 1), told.append)
    assert [type(answer) for answer in told] == [DiskRefused]


async def test_the_survey_tells_of_every_folder(folder: Path) -> None:
    left = await asyncio.to_thread(Accepted, folder, 3)
    [found] = survey(folder.parent)
    [journal] = found.journals
    assert (journal.gateway, journal.spooled, journal.in_use) == (left.gateway, 3, False)
    assert journal.oldest_ms > 0
    assert look_at(folder / "none.db").problem


def test_a_sequence_is_never_used_again(tmp_path: Path) -> None:
    job = new_job()
    file = JournalFile(tmp_path / "a.db")
    assert file.apply([Write([job], [b"x"], 1)]) == [[Written(1, fresh=True)]]
    file.apply([Cursor(1, 1), Drop(1)])
    file.close()
    file = JournalFile(tmp_path / "a.db")
    assert file.apply([Write([job], [b"x"], 1)]) == [[Written(2, fresh=True)]]
    file.close()


def test_an_id_is_in_the_file_once_whoever_brings_it_again(tmp_path: Path) -> None:
    """Without a digest nobody is expected to: then the file finds out when it adds the row."""
    file = JournalFile(tmp_path / "a.db")
    known, keyed, new = new_job(), new_job(digest="d"), new_job()
    other = new_job(id=keyed.id, digest="e")
    file.apply([Write([known, keyed], [b"x"] * 2, 1)])
    again = [Write([known, other, new], [b"x"] * 3, 2), Cursor(2, 2), Write([new], [b"x"], 3)]
    assert file.apply(again) == [
        [Written(1, fresh=False), Written(2, fresh=False, same=False), Written(3, fresh=True)],
        None,
        [Written(3, fresh=False)],
    ]
    file.close()


@pytest.mark.parametrize("count", [1, 64, 65, 700, 1_300])
def test_any_number_of_jobs_is_one_commit(count: int, tmp_path: Path) -> None:
    file = JournalFile(tmp_path / "a.db")
    jobs = [new_job(digest="d" if number % 3 else "") for number in range(count)]
    [first] = file.apply([Write(jobs, [b"x"] * count, 1)])
    assert first == [Written(number, fresh=True) for number in range(1, count + 1)]
    [second] = file.apply([Write(jobs, [b"x"] * count, 1)])
    assert second == [Written(number, fresh=False) for number in range(1, count + 1)]
    file.close()


def test_a_commit_reaches_the_disk(tmp_path: Path) -> None:
    """No test can cut the power; but what SQLite was told can be asked."""
    file = JournalFile(tmp_path / "a.db")
    assert file._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert file._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert (tmp_path / "a.db").stat().st_mode & 0o077 == 0
    file.close()
