"""What an actor gets and when: slots, leases ahead of them, and what goes back."""

import asyncio
import time

import pytest

from streams.intake import AHEAD_MAX, Closed, Intake, leases_ahead, portion
from streams.model import Lane, Lease, Priority, ResourceClass
from tests.support.waiting import until

IO = ResourceClass.IO
SHORT_S, LONG_S = 0.0001, 3.0
QUIET_S = 0.05  # in which nothing may happen


@pytest.mark.parametrize(
    ("slots", "longest_s", "ahead_s", "expected"),
    [
        (10, 1.0, 0.05, 0),  # nothing was seen yet
        (10, 0.010, 0.05, 10),  # each slot runs one in the fifth of its time
        (10, 0.002, 0.05, 50),
        (1, 0.011, 0.05, 0),
        (10, 0.0, 0.05, AHEAD_MAX),
        (100, 0.0001, 0.0, 0),  # switched off
    ],
)
def test_as_many_are_leased_ahead_as_start_in_time(
    slots: int, longest_s: float, ahead_s: float, expected: int
) -> None:
    assert leases_ahead(slots, longest_s, ahead_s) == expected


@pytest.mark.parametrize(
    ("free", "slots", "ahead", "waiting", "expected"),
    [
        (500, 100, 384, 0, 113),  # an answer is not larger than Redis writes at once
        (1, 10, 0, 0, 1),  # without leases ahead whatever is free is asked for at once
        (10, 10, 0, 0, 10),
        (100, 100, 0, 0, 50),  # of many slots half, so that two takes overlap
        (110, 10, 100, 0, 36),
        (20, 10, 100, 60, 0),  # enough to do meanwhile: later, with more at once
        (20, 10, 100, 0, 20),  # nothing to do meanwhile
        (0, 10, 100, 110, 0),
    ],
)
def test_a_take_asks_for_its_part(
    free: int, slots: int, ahead: int, waiting: int, expected: int
) -> None:
    assert portion(free, slots, ahead, waiting, 113) == expected


def lease(number: int) -> Lease:
    lane = Lane(IO, "etyde", Priority.NORMAL, "echo")
    return Lease(
        job_id=f"job-{number}",
        token=f"t.{number}",
        lane=lane,
        entry_id=f"1-{number}",
        pool="io",
        attempt=1,
        failures=0,
        attempts_max=3,
        timeout_ms=1_000,
        backoff_ms=1,
        backoff_max_ms=1,
        submitted_ms=1,
        payload_bytes=2,
        payload=b"{}",
    )


class Scene:
    """An intake whose attempts are known to be short, and what it gave back."""

    def __init__(self, slots: int, ahead_ms: int) -> None:
        self.returned: list[str] = []
        self.intake = Intake(
            IO,
            "io",
            slots,
            ahead_ms=ahead_ms,
            give_back=lambda each: self.returned.append(each.job_id),
        )
        for _ in range(200):
            self.run(SHORT_S)

    def run(self, took_s: float) -> None:
        """One attempt that took so long."""
        self.intake.running += 1
        self.intake.freed(took_s)

    def deliver(self, *numbers: int) -> None:
        for number in numbers:
            assert self.intake.deliver(lease(number))

    async def pulled(self) -> str:
        async with asyncio.timeout(5):
            return (await self.intake.pull()).job_id


async def test_no_more_run_than_there_are_slots_and_the_rest_in_order() -> None:
    scene = Scene(slots=2, ahead_ms=60_000)
    scene.deliver(1, 2, 3, 4)
    assert [await scene.pulled(), await scene.pulled()] == ["job-1", "job-2"]
    third = asyncio.create_task(scene.pulled())
    await asyncio.sleep(QUIET_S)
    assert not third.done()
    assert scene.intake.held == 2
    scene.intake.freed(SHORT_S)
    assert await scene.pulled() == "job-3"
    third.cancel()
    assert scene.returned == []


async def test_jobs_that_wait_run_at_once_and_jobs_that_do_not_by_one_actor() -> None:
    scene, go = Scene(slots=3, ahead_ms=60_000), asyncio.Event()
    ran: list[tuple[int, str]] = []

    async def act(number: int) -> None:
        while True:
            job_id = (await scene.intake.pull()).job_id
            ran.append((number, job_id))
            if job_id > "job-5":
                await go.wait()
            scene.intake.freed(SHORT_S)

    async with asyncio.TaskGroup() as group:
        actors = [group.create_task(act(number)) for number in range(3)]
        await asyncio.sleep(0)
        scene.deliver(1, 2, 3, 4)
        await until(lambda: len(ran) == 4, what="four jobs to run")
        assert len({number for number, _ in ran}) == 1
        scene.deliver(6, 7, 8, 9)
        await until(lambda: len(ran) == 7, what="all slots to be full")
        assert (scene.intake.running, scene.intake.held) == (3, 1)
        go.set()
        await until(lambda: len(ran) == 8, what="the last one")
        for actor in actors:
            actor.cancel()


async def test_a_long_attempt_ends_leasing_ahead() -> None:
    scene = Scene(slots=10, ahead_ms=50)
    assert scene.intake.ahead == AHEAD_MAX
    scene.run(LONG_S)
    assert scene.intake.ahead == 0
    for _ in range(50):
        scene.run(SHORT_S)
    assert scene.intake.ahead == 0, "it was not so long ago"


async def test_what_does_not_start_in_time_goes_back_and_no_other_is_leased_ahead() -> None:
    scene = Scene(slots=1, ahead_ms=20)
    scene.deliver(1, 2, 3)
    assert await scene.pulled() == "job-1"  # and runs on
    await until(lambda: scene.returned == ["job-2", "job-3"], what="what waits to go back")
    assert (scene.intake.held, scene.intake.ahead) == (0, 0)


async def test_a_loop_that_stood_still_gives_nothing_back() -> None:
    scene = Scene(slots=1, ahead_ms=20)
    scene.deliver(1, 2)
    for _ in range(3):
        scene.intake._check_ready(time.monotonic() - 60)  # a minute too late
        assert scene.returned == []
    await until(lambda: scene.returned == ["job-1", "job-2"], what="the next look")


async def test_one_that_waits_can_be_withdrawn() -> None:
    scene = Scene(slots=1, ahead_ms=60_000)
    scene.deliver(1, 2)
    withdrawn = scene.intake.withdraw("job-1")
    assert withdrawn is not None
    assert withdrawn.token == "t.1"
    assert scene.intake.withdraw("job-1") is None
    assert await scene.pulled() == "job-2"


async def test_a_stop_gives_back_what_waits_and_sends_the_actors_home() -> None:
    scene = Scene(slots=1, ahead_ms=60_000)
    scene.deliver(1, 2, 3)
    assert await scene.pulled() == "job-1"
    waiting = asyncio.create_task(scene.intake.pull())
    await asyncio.sleep(0)
    scene.intake.shut()
    assert scene.returned == ["job-2", "job-3"]
    assert not scene.intake.deliver(lease(4)), "what still comes goes back too"
    for pull in (waiting, scene.intake.pull()):
        with pytest.raises(Closed):
            await pull


async def test_an_actor_that_never_waits_lets_others_in() -> None:
    scene, turns = Scene(slots=1, ahead_ms=60_000), 0
    scene.deliver(*range(20))

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    for _ in range(20):
        await scene.pulled()
        began = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < began + 0.006:
            pass  # a processor that only computes
        scene.intake.freed(0.006)
    other.cancel()
    assert turns >= 10
