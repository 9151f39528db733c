"""Time limits over one timer behave as `asyncio.timeout`, each as if it were alone."""

import asyncio
import time

import pytest

from streams.timing import Limit, Limits

LONG_S = 30.0


def limit(limits: Limits, in_s: float) -> Limit:
    return Limit(limits, asyncio.get_running_loop().time() + in_s)


async def under(given: Limit, work_s: float = LONG_S) -> str:
    with given:
        await asyncio.sleep(work_s)
    return "done"


async def test_what_takes_too_long_ends_as_a_timeout_and_its_task_goes_on() -> None:
    given = limit(Limits(), 0.01)
    with pytest.raises(TimeoutError):
        await under(given)
    assert given.expired()
    await asyncio.sleep(0)  # nothing of the cancellation is left


async def test_what_ends_in_time_is_left_alone_for_good() -> None:
    given = limit(Limits(), 0.02)
    assert await under(given, 0) == "done"
    await asyncio.sleep(0.04)
    assert not given.expired()


async def test_each_of_many_strikes_at_its_own_time_whatever_their_order() -> None:
    limits, ended = Limits(), list[int]()

    async def one(ms: int) -> None:
        with pytest.raises(TimeoutError):
            await under(limit(limits, ms / 1_000))
        ended.append(ms)

    order = [60, 20, 100, 40, 80]
    await asyncio.gather(*map(one, order), under(limit(limits, LONG_S), 0.15))
    assert ended == sorted(order)


@pytest.mark.parametrize("at", [0, -1.0])
async def test_a_time_that_has_passed_strikes_at_the_next_wait(at: float) -> None:
    given = Limit(Limits(), at)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await under(given)
    assert time.monotonic() - began < 1


async def test_the_time_can_be_moved_and_taken_away() -> None:
    limits = Limits()
    given, before = limit(limits, 0.01), limit(limits, LONG_S)

    async def moved() -> None:
        with given:
            given.reschedule(None)
            assert given.when() is None
            await asyncio.sleep(0.03)
            given.reschedule(asyncio.get_running_loop().time() + 0.01)
            await asyncio.sleep(LONG_S)

    with before:
        with pytest.raises(TimeoutError):
            await moved()
        assert before.when() is not None
    assert before.when() is None
    assert not before.expired()


async def test_a_cancellation_from_outside_passes_through_also_beside_the_limits() -> None:
    given = limit(Limits(), LONG_S)
    task = asyncio.ensure_future(under(given))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    task = asyncio.ensure_future(under(given))
    await asyncio.sleep(0)
    given.strike()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_code_that_swallows_the_cancellation_is_found_out() -> None:
    given = limit(Limits(), 0.01)
    with given, pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(LONG_S)
    assert given.expired()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_limits_of_others_inside_and_outside_are_their_own() -> None:
    limits = Limits()
    with limit(limits, LONG_S), pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await asyncio.sleep(LONG_S)
    outer = limit(limits, 0.01)
    with pytest.raises(TimeoutError), outer:
        async with asyncio.timeout(LONG_S):
            await under(limit(limits, LONG_S))
    assert outer.expired()


async def test_an_error_of_the_code_is_its_own_though_the_time_is_up() -> None:
    given = limit(Limits(), 0.01)

    async def fail() -> None:
        with given:
            try:
                await asyncio.sleep(LONG_S)
            except asyncio.CancelledError:
                raise ValueError("mine") from None

    with pytest.raises(ValueError, match="mine"):
        await fail()
    assert given.expired()
