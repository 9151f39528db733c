"""Accepting: on disk first, then what Redis says; `spooled` while it says nothing."""

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.settings import GatewaySettings
from streams.errors import SpoolFull
from streams.model import State, Submitted
from tests.journal.scene import Scene, client, together
from tests.support.build import Hand, new_job
from tests.support.redis_server import RedisServer, free_port
from tests.support.waiting import until


async def nowhere() -> "Redis":
    return client(f"redis://127.0.0.1:{free_port()}/0")


async def test_a_job_is_answered_with_what_redis_says(redis: "Redis", folder: Path) -> None:
    async with Scene(redis, folder) as scene:
        now, later = new_job(), new_job(delay_ms=60_000)
        assert await scene.acceptor.accept([now, later]) == [
            Submitted(now.id, State.WAITING, True),
            Submitted(later.id, State.DELAYED, True),
        ]
        assert scene.spooled == 0
        [lease] = await Hand(scene.broker).take()
        assert lease.job_id == now.id


async def test_without_redis_a_job_is_spooled_and_shipped_when_it_is_back(
    mortal: RedisServer, wire: "Redis", folder: Path
) -> None:
    async with Scene(wire, folder) as scene:
        mortal.kill()
        jobs = [new_job() for _ in range(50)]
        answers = await scene.acceptor.accept(jobs)
        assert {(answer.state, answer.created) for answer in answers} == {(State.SPOOLED, True)}
        assert scene.spooled == 50
        mortal.restart()
        await until(lambda: scene.spooled == 0, what="the spool to empty")
        assert await scene.jobs() == 50
        leases = await Hand(scene.broker).take(50)
        assert [lease.job_id for lease in leases] == [job.id for job in jobs]  # in their order


async def test_a_spool_that_is_too_large_for_memory_is_shipped_from_the_file(
    mortal: RedisServer, wire: "Redis", folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.journal.shipper.FRESH_MAX", 10)
    monkeypatch.setattr("gateway.journal.shipper.CALL_JOBS_MAX", 7)
    async with Scene(wire, folder) as scene:
        await scene.acceptor.accept([new_job()])
        mortal.kill()
        jobs = [new_job() for _ in range(50)]
        for job in jobs:
            await scene.acceptor.accept([job])
        mortal.restart()
        late = [new_job() for _ in range(50)]  # accepted while the others are shipped
        for job in late:
            await scene.acceptor.accept([job])
        await until(lambda: scene.spooled == 0, what="the spool to empty")
        leases = await Hand(scene.broker).take(200)
        assert [lease.job_id for lease in leases][1:] == [job.id for job in (*jobs, *late)]


async def test_a_spooled_job_can_be_read(folder: Path) -> None:
    async with await nowhere() as away, Scene(away, folder) as scene:
        job = new_job(b'{"a":1}', tags=("x",))
        await scene.acceptor.accept([job])
        found = await scene.acceptor.find(job.id)
        assert found is not None
        assert (found.id, found.state, found.lane, found.tags) == (
            job.id, State.SPOOLED, job.lane, ("x",)
        )  # fmt: skip
        assert await scene.acceptor.find("0-unknown") is None


async def test_what_redis_has_is_not_found_in_the_journal(redis: "Redis", folder: Path) -> None:
    async with Scene(redis, folder) as scene:
        job = new_job()
        await scene.acceptor.accept([job])
        assert await scene.acceptor.find(job.id) is None


async def test_a_job_spooled_beside_us_is_found(folder: Path) -> None:
    async with await nowhere() as away, Scene(away, folder) as one, Scene(away, folder) as other:
        job = new_job()
        await one.acceptor.accept([job])
        found = await other.acceptor.find(job.id)
        assert found is not None
        assert found.state is State.SPOOLED


async def test_redis_silent_for_a_moment_is_not_waited_for(redis: "Redis", folder: Path) -> None:
    """What Redis has not answered in time is `spooled`, and gets there by itself."""
    settings = GatewaySettings(accept_wait_ms=20)
    async with Scene(redis, folder, settings) as scene:
        await scene.acceptor.accept([new_job()])
        await redis.client_pause(300)
        [answer] = await scene.acceptor.accept([new_job()])
        assert answer.state is State.SPOOLED
        await until(lambda: scene.spooled == 0, what="the answer")
        assert await scene.jobs() == 2


async def test_a_delay_counts_from_the_acceptance(
    mortal: RedisServer, wire: "Redis", folder: Path
) -> None:
    async with Scene(wire, folder) as scene:
        mortal.kill()
        short, long = new_job(delay_ms=1), new_job(delay_ms=60_000)
        await scene.acceptor.accept([short, long])
        mortal.restart()
        await until(lambda: scene.spooled == 0, what="the spool to empty")
        states = [(await scene.inspector.job(job.id)).state for job in (short, long)]  # type: ignore[union-attr]
        assert states == [State.WAITING, State.DELAYED]


@pytest.mark.parametrize(
    ("limits", "fits"),
    [({"spool_rows_max": 3}, 3), ({"spool_bytes_max": 4_000}, 3)],
    ids=["rows", "bytes"],
)
async def test_the_spool_has_an_end(limits: dict[str, int], fits: int, folder: Path) -> None:
    settings = GatewaySettings(accept_wait_ms=1, **limits)  # type: ignore[arg-type]
    async with await nowhere() as away, Scene(away, folder, settings) as scene:
        for _ in range(fits):
            await scene.acceptor.accept([new_job(b'"' + b"x" * 900 + b'"')])
        with pytest.raises(SpoolFull) as refused:
            await scene.acceptor.accept([new_job(b'"' + b"x" * 900 + b'"')])
        assert 1 <= refused.value.after_s <= 300
        assert scene.spool().full is ("spool_rows_max" in limits)
        assert scene.spooled == fits


async def test_a_batch_that_does_not_fit_is_refused_whole(folder: Path) -> None:
    settings = GatewaySettings(accept_wait_ms=1, spool_rows_max=10)
    async with await nowhere() as away, Scene(away, folder, settings) as scene:
        with pytest.raises(SpoolFull):
            await scene.acceptor.accept([new_job() for _ in range(11)])
        assert scene.spooled == 0
        await scene.acceptor.accept([new_job() for _ in range(10)])
        assert scene.spooled == 10


class LateClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1_000


async def test_a_spool_that_is_too_old_takes_no_more(folder: Path) -> None:
    clock = LateClock()
    settings = GatewaySettings(accept_wait_ms=1, spool_age_max_s=60)
    async with await nowhere() as away, Scene(away, folder, settings, clock) as scene:
        await scene.acceptor.accept([new_job()])
        clock.ms += 61_000
        assert scene.spool().oldest_s == 61
        with pytest.raises(SpoolFull):
            await scene.acceptor.accept([new_job()])


async def test_many_at_once_share_commits(redis: "Redis", folder: Path) -> None:
    async with Scene(redis, folder) as scene:
        jobs = [new_job() for _ in range(500)]
        answers = await asyncio.gather(*(scene.acceptor.accept([job]) for job in jobs))
        assert [answer.id for (answer,) in answers] == [job.id for job in jobs]
        assert {answer.state for (answer,) in answers} == {State.WAITING}
        assert await scene.jobs() == 500


async def test_who_gives_up_waiting_does_not_stop_the_others(redis: "Redis", folder: Path) -> None:
    """A request that is cancelled in the middle leaves no hole in the sequence."""
    async with Scene(redis, folder) as scene:
        calls = [asyncio.ensure_future(scene.acceptor.accept([new_job()])) for _ in range(20)]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        answers = await together(*calls)
        assert sum(isinstance(answer, list) for answer in answers) == 10
        await until(lambda: scene.spooled == 0, what="everything to be shipped")
        assert await scene.jobs() == 20


async def test_stopping_ships_what_is_left(redis: "Redis", folder: Path) -> None:
    settings = GatewaySettings(accept_wait_ms=1)
    async with Scene(redis, folder, settings) as scene:
        calls = [scene.acceptor.accept([new_job() for _ in range(500)]) for _ in range(6)]
        await asyncio.gather(*calls)
    assert await scene.jobs() == 3_000
