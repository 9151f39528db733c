"""Capital letters: what is asked, what is done in Redis, and what keeps it from being done."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from ops.links import Engine
from streams.callbacks import CallbackState
from streams.model import ResourceClass, State
from tests.support.waiting import until
from tests.tui.scene import Ids, engine_of, everything, shown, source_of

Truth = Callable[[Engine, Ids], Awaitable[Any]]


@pytest.fixture
def engine(redis: Redis) -> Engine:
    return engine_of(redis)


async def state(engine: Engine, job_id: str) -> State | None:
    job = await engine.inspector.job(job_id)
    return job.state if job else None


async def paused(engine: Engine, _: Ids) -> bool:
    return next(one.paused for one in await engine.inspector.classes() if one.name == "io")


async def cancelled(engine: Engine, ids: Ids) -> bool:
    return {await state(engine, one) for one in ids.waiting} == {State.CANCELLED}


async def promoted(engine: Engine, ids: Ids) -> bool:
    return await state(engine, ids.delayed) is State.WAITING


async def run_again(engine: Engine, ids: Ids) -> bool:
    return {await state(engine, one) for one in ids.dead} == {State.WAITING}


async def purged(engine: Engine, ids: Ids) -> bool:
    left = [await state(engine, one) for one in (*ids.dead, ids.slow)]
    return left == [State.DEAD, State.DEAD, None]


async def replayed(engine: Engine, _: Ids) -> bool:
    page = await engine.callbacks.page()
    return [view.state for view in page.items] == [CallbackState.WAITING]


async def flow_stopped(engine: Engine, ids: Ids) -> bool:
    return await state(engine, ids.flow) is State.CANCELLED


async def schedule_paused(engine: Engine, _: Ids) -> bool:
    standing = await engine.schedules.find("etyde|nightly")
    return standing is not None and standing.paused


async def triggered(engine: Engine, _: Ids) -> bool:
    return (await engine.inspector.counts()).get("io|submitted") == 12


# The tab, a line to wait for, keys that choose, the letter, how many, what is said, the effect.
DEEDS = [
    ("1", "web echo", ["j", "j"], "P", "1", "1 of 1 class paused", paused, "pause_class"),
    ("2", "waiting", ["slash", *"web", "enter", "a"], "C", "3", "3 of 3 jobs", cancelled, "cancel"),
    ("2", "due in", ["slash", *"delayed", "enter", "a"], "P", "2", "2 of 2 jobs", promoted, ""),
    ("7", "it broke", [], "R", "2", "2 of 2 jobs run again", run_again, "retry_job"),
    ("7", "it broke", ["j"], "D", "1", "1 of 1 job forgotten", purged, "purge_dead_letters"),
    ("4", "it said 410", [], "R", "1", "1 of 1 callback sent again", replayed, "replay_callbacks"),
    ("5", "gather", [], "C", "1", "1 of 1 flow cancelled", flow_stopped, "cancel_flow"),
    ("6", "nightly", [], "P", "1", "1 of 1 schedule paused", schedule_paused, "pause_schedule"),
    ("6", "nightly", [], "T", "1", "1 of 1 schedule triggered", triggered, "trigger_schedule"),
]


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: f"{deed[0]}{deed[3]}")
async def test_a_deed_is_done_once_its_count_is_typed(
    engine: Engine, deed: tuple[Any, ...]
) -> None:
    tab, line, choosing, letter, count, said, truth, noted = deed
    ids, notes = await everything(engine), list[Any]()
    async with shown(source_of(engine, notes)) as screen:
        await screen.press(tab)
        await screen.sees(line)
        await screen.press(*choosing)
        await screen.press(letter)
        await screen.sees(f"Type {count} and enter")
        assert not await truth(engine, ids)
        await screen.press(*count, "enter")
        await screen.sees(said)
        await until(lambda: truth(engine, ids), what=said)
    assert [action for action, _ in notes if noted in action] != []


async def test_another_count_does_nothing_and_esc_leaves_everything(engine: Engine) -> None:
    ids = await everything(engine)
    async with shown(source_of(engine)) as screen:
        await screen.press("7")
        await screen.sees("boom", "it broke")
        await screen.press("D", "9", "enter")
        await screen.sees("It is about 2 jobs")
        await screen.press("escape")
        await screen.sees("nothing was done")
    assert await state(engine, ids.dead[0]) is State.DEAD


async def test_a_deed_that_does_not_fit_says_so(engine: Engine) -> None:
    await everything(engine)
    async with shown(source_of(engine)) as screen:
        await screen.press("2", "slash", *"succeeded", "enter")
        await screen.sees("succeeded")
        await screen.press("C")
        await screen.sees("there is nothing here to cancel")


async def test_what_is_refused_of_some_is_said(engine: Engine) -> None:
    ids = await everything(engine)
    async with shown(source_of(engine), every=60.0) as screen:
        await screen.press("2", "slash", *"web", "enter")
        await screen.sees("web", "waiting")
        await screen.press("a", "C")
        await screen.sees("Type 3 and enter")
        await engine.broker.cancel(ids.waiting[0])  # somebody was quicker
        await screen.press("3", "enter")
        await screen.sees("2 of 3 jobs cancelled", "not", ids.waiting[0], "ended")


async def test_read_only_changes_nothing(engine: Engine) -> None:
    ids = await everything(engine)
    async with shown(source_of(engine), read_only=True) as screen:
        await screen.sees("read-only")
        await screen.press("7")
        await screen.sees("boom")
        await screen.press("R")
        await screen.sees("started with --read-only")
        await screen.press("question_mark")
        await screen.sees("(off: read-only)")
    assert await state(engine, ids.dead[0]) is State.DEAD


async def test_a_paused_class_goes_on(engine: Engine) -> None:
    await everything(engine)
    await engine.broker.pause(ResourceClass.IO)
    async with shown(source_of(engine)) as screen:
        await screen.sees("! io web echo", "Class io is paused")
        await screen.press("j", "j", "P", "1", "enter")
        await screen.sees("1 of 1 class resumed")
