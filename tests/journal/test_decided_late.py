"""What only Redis can decide: one key at two gateways, jobs that it refuses, jobs too old."""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from gateway.journal.survey import look_at
from gateway.settings import GatewaySettings
from streams.broker import Broker
from streams.errors import Undecided
from streams.ids import job_id_for_key
from streams.listing import JobFilter
from streams.model import CallbackRequest, Conflict, Fault, NewJob, State, Submitted, UniqueKey
from tests.journal.scene import KEYS, Scene, client
from tests.support.build import new_job
from tests.support.redis_server import RedisServer, free_port
from tests.support.waiting import until

QUICK = GatewaySettings(accept_wait_ms=1)


def keyed(body: bytes, **fields: object) -> NewJob:
    """A job under an idempotency key; the body's digest is the body, for short."""
    job_id = job_id_for_key("etyde", "order-17")
    return new_job(body, id=job_id, digest=body.decode().strip('"'), **fields)


async def test_a_key_used_again_finds_the_same_job(redis: "Redis", folder: Path) -> None:
    async with Scene(redis, folder) as scene:
        job = keyed(b'"a"')
        first, second = [(await scene.acceptor.accept([job]))[0] for _ in range(2)]
        assert (first.created, second.created) == (True, False)
        assert first.state is second.state is State.WAITING
        [other] = await scene.acceptor.accept([keyed(b'"b"')])
        assert not other.same


async def test_of_two_at_the_same_time_one_makes_the_job(redis: "Redis", folder: Path) -> None:
    async with Scene(redis, folder) as scene:
        calls = [scene.acceptor.accept([keyed(b'"a"' if n % 2 else b'"b"')]) for n in range(40)]
        answers = [answer for (answer,) in await asyncio.gather(*calls)]
        assert sum(answer.created for answer in answers) == 1
        assert sum(answer.same for answer in answers) == 20
        assert await scene.jobs() == 1


async def test_a_key_is_decided_by_the_journal_while_redis_is_away(
    mortal: RedisServer, wire: "Redis", folder: Path
) -> None:
    async with Scene(wire, folder, QUICK) as scene:
        mortal.kill()
        first, again, other = [
            (await scene.acceptor.accept([keyed(body)]))[0] for body in (b'"a"', b'"a"', b'"b"')
        ]
        assert (first.state, first.created) == (State.SPOOLED, True)
        assert (again.state, again.created, again.same) == (State.SPOOLED, False, True)
        assert not other.same
        mortal.restart()
        await until(lambda: scene.spooled == 0, what="the spool to empty")
        assert await scene.jobs() == 1


async def test_a_key_from_before_the_outage(
    mortal: RedisServer, wire: "Redis", folder: Path
) -> None:
    async with Scene(wire, folder) as scene:
        await scene.acceptor.accept([keyed(b'"a"')])
        mortal.kill()
        [again] = await scene.acceptor.accept([keyed(b'"a"')])
        [other] = await scene.acceptor.accept([keyed(b'"b"')])
        assert (again.created, again.same, other.same) == (False, True, False)


async def test_two_gateways_spool_one_key_with_different_bodies(
    mortal: RedisServer, wire: "Redis", tmp_path: Path
) -> None:
    told = CallbackRequest("https://app.example/hook", "ep")
    async with (
        Scene(wire, tmp_path / "a", QUICK) as one,
        Scene(wire, tmp_path / "b", QUICK) as two,
    ):
        mortal.kill()
        bodies = (b'"a"', b'"b"')
        for scene, body in zip((one, two), bodies, strict=True):
            [answer] = await scene.acceptor.accept([keyed(body, callback=told)])
            assert (answer.state, answer.same) == (State.SPOOLED, True)
        mortal.restart()
        await until(lambda: one.spooled + two.spooled == 0, what="both spools to empty")
        page = await one.inspector.jobs(JobFilter(state=State.CANCELLED))
        [refused] = page.items
        first = job_id_for_key("etyde", "order-17")
        message = f"the idempotency key was used before, by {first}"
        assert refused.fault == Fault("duplicate_of", message)
        assert await one.jobs() == 2
        assert await wire.xlen(KEYS.key("callbacks_", "ep")) == 1
        payloads = {await one.inspector.payload(job) for job in (first, refused.id)}
        assert payloads == set(bodies)
        assert await one.inspector.audit() == []


async def test_the_refused_body_is_told_to_whoever_waits(redis: "Redis", tmp_path: Path) -> None:
    async with Scene(redis, tmp_path / "a") as one, Scene(redis, tmp_path / "b") as two:
        await one.acceptor.accept([keyed(b'"a"')])
        [other] = await two.acceptor.accept([keyed(b'"b"')])
        assert not other.same
        assert await one.jobs() == 1
        [again] = await two.acceptor.accept(
            [keyed(b'"a"')]
        )  # the right body is not held against it
        assert (again.same, again.created) == (True, False)


class Picky(Broker):
    """A real broker that refuses some jobs, as Redis would an entry that it cannot store."""

    async def submit(
        self, jobs: Sequence[NewJob], *, gateway: str = "", sequence: int = 0, known: int = -1
    ) -> list[Submitted]:
        if any(b"poison" in job.payload for job in jobs):
            raise ResponseError("ERR Protocol error: invalid bulk length")
        return await super().submit(jobs, gateway=gateway, sequence=sequence, known=known)


async def test_a_job_that_redis_refuses_holds_up_no_other(redis: "Redis", folder: Path) -> None:
    async with Scene(redis, folder, broker=Picky) as scene:
        good = [new_job() for _ in range(6)]
        poison = new_job(b'"poison"')
        calls = [scene.acceptor.accept([job]) for job in (*good[:3], poison, *good[3:])]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(answers[3], ResponseError)
        assert sum(isinstance(answer, list) for answer in answers) == 6
        await until(lambda: scene.spooled == 0, what="the rest to be shipped")
        assert await scene.jobs() == 6


async def test_a_spooled_job_that_redis_refuses_says_so(redis: "Redis", folder: Path) -> None:
    away = f"redis://127.0.0.1:{free_port()}/0"
    poison, good = new_job(b'"poison"'), new_job()
    async with client(away) as nowhere, Scene(nowhere, folder, QUICK) as scene:
        await scene.acceptor.accept([poison, good])
    async with Scene(redis, folder, broker=Picky) as scene:
        await until(lambda: scene.spooled == 0, what="both to be shipped")
        found = await scene.inspector.job(poison.id)
        assert found is not None
        assert found.state is State.CANCELLED
        assert found.fault is not None
        assert found.fault.code == "refused"
        assert (await scene.inspector.job(good.id)).state is State.WAITING


class Shut(Broker):
    """A real broker behind a wrong ACL: every submit is refused."""

    shut = True

    async def submit(self, jobs: Sequence[NewJob], **given: object) -> list[Submitted]:  # type: ignore[override]
        if self.shut:
            raise ResponseError("NOPERM this user has no permissions")
        return await super().submit(jobs, **given)  # type: ignore[arg-type]


async def test_a_redis_that_refuses_everything_refuses_no_job(redis: "Redis", folder: Path) -> None:
    async with Scene(redis, folder, QUICK, broker=Shut) as scene:
        answers = await scene.acceptor.accept([new_job(), new_job()])
        assert {answer.state for answer in answers} == {State.SPOOLED}
        await until(lambda: scene.spool().away, what="the gateway to notice")
        Shut.shut = False
        await until(lambda: scene.spooled == 0, what="both to be shipped")
        assert await scene.jobs() == 2


async def test_rows_older_than_what_redis_remembers_are_kept(redis: "Redis", folder: Path) -> None:
    class Past:
        def now_ms(self) -> int:
            return 1_600_000_000_000

        def monotonic(self) -> float:
            return 0.0

    away = f"redis://127.0.0.1:{free_port()}/0"
    old, fresh = new_job(), new_job()
    old_enough = msgspec.structs.replace(QUICK, spool_age_max_s=10**9)
    async with client(away) as nowhere:
        async with Scene(nowhere, folder, QUICK, Past()) as scene:
            await scene.acceptor.accept([old])
        async with Scene(nowhere, folder, old_enough) as scene:
            await scene.acceptor.accept([fresh])
    async with Scene(redis, folder) as scene:
        await until(lambda: scene.spooled == 0, what="the other to be shipped")
        assert await scene.inspector.job(old.id) is None
        assert await scene.inspector.job(fresh.id) is not None
        found = await until(partial(scene.acceptor.find, old.id), what="the note about it")
        assert found is not None
        assert found.fault == Fault("kept", "overdue")
    async with Scene(redis, folder) as scene:  # nor later
        await scene.acceptor.accept([new_job()])
        assert await scene.inspector.job(old.id) is None
        assert scene.spool().kept == 1
    [row] = look_at(folder / "gateway-0.db").kept
    assert row.job.id == old.id


@pytest.fixture(autouse=True)
def shut_again() -> None:
    Shut.shut = True


def unique(on_conflict: str = "refuse", **fields: object) -> NewJob:
    return new_job(unique=UniqueKey("order-17", Conflict(on_conflict)), **fields)


async def test_a_taken_key_is_told_to_whoever_waits_and_may_be_asked_for_again(
    redis: "Redis", folder: Path
) -> None:
    async with Scene(redis, folder) as scene:
        first, second = unique(), keyed(b'"a"', unique=UniqueKey("order-17"))
        await scene.acceptor.accept([first])
        for _ in range(2):
            [answer] = await scene.acceptor.accept([second])
            assert (answer.holder, answer.created) == (first.id, False)
        assert await scene.acceptor.find(second.id) is None
        await scene.broker.cancel(first.id)
        [answer] = await scene.acceptor.accept([second])
        assert (answer.holder, answer.created) == ("", True)
        assert await scene.jobs() == 2


async def test_while_redis_is_away_a_unique_key_is_not_promised(
    mortal: RedisServer, wire: "Redis", folder: Path
) -> None:
    async with Scene(wire, folder, QUICK) as scene:
        first = unique()
        await scene.acceptor.accept([first])
        mortal.kill()
        await scene.acceptor.accept([new_job()])
        await until(lambda: scene.spool().away, what="the gateway to notice")
        for mode in ("refuse", "replace"):
            job = unique(mode)
            with pytest.raises(Undecided):
                scene.acceptor.check(job.lane, job.unique)
        late = unique("existing")
        scene.acceptor.check(late.lane, late.unique)
        [answer] = await scene.acceptor.accept([late])
        assert answer.state is State.SPOOLED
        mortal.restart()
        await until(lambda: scene.spooled == 0, what="the spool to empty")
        found = await scene.inspector.job(late.id)
        assert found is not None
        assert found.state is State.CANCELLED
        assert found.fault == Fault("duplicate_of", f"{first.id} has the unique key")
        assert await scene.inspector.audit() == []
