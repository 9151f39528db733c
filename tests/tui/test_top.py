"""The terminal UI without a terminal: keys are pressed, and the screen says what a person sees."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from ops.links import Engine
from tests.support.build import new_job
from tests.tui.scene import Ids, Screen, engine_of, everything, shown, source_of


@pytest.fixture
def engine(redis: Redis) -> Engine:
    return engine_of(redis)


@pytest.fixture
async def ids(engine: Engine) -> Ids:
    return await everything(engine)


@pytest.fixture
async def screen(engine: Engine, ids: Ids) -> AsyncIterator[Screen]:
    async with shown(source_of(engine)) as one:
        yield one


async def test_the_lanes_tell_what_waits_runs_and_died(screen: Screen) -> None:
    total = await screen.sees("io  ")
    assert total.split()[:2] == ["io", "4"]
    web = await screen.sees("web echo")
    assert web.split("web echo")[1].split()[0] == "3"
    etyde = await screen.sees("etyde echo")
    wait, active, delay, retry, dead = etyde.split("etyde echo")[1].split()[:5]
    assert (wait, active, delay, retry, dead) == ("·", "1", "1", "1", "3")
    assert "ollama ok llama then qwen next" in screen.text
    assert "dead 3" in screen.text


async def test_the_cause_of_a_standing_lane_is_named(screen: Screen) -> None:
    await screen.sees("! io web echo", "No live worker of class io has the processor echo")


TABS = [
    ("2", ("echo", "web", "waiting")),
    ("2", ("delayed", "timed_out: ran longer")),
    ("3", ("mac-77-abc", "ollama 0/1", "llama", "1.2.3")),
    ("4", ("app.example", "succeeded", "dead", "410", "it said 410")),
    ("5", ("gather", "echo")),
    ("6", ("nightly", "etyde", "every 1m", "in ")),
    ("7", ("boom", "2", "echo", "it broke in two")),
    ("8", ("qwen", "next")),
    ("9", ("ended", "dead", "echo", "boom")),
]


async def test_each_tab_shows_what_there_is(screen: Screen) -> None:
    for key, words in TABS:
        await screen.press(key)
        await screen.sees(*words)


async def test_tabs_follow_each_other(screen: Screen) -> None:
    await screen.sees("web echo")
    await screen.press("right")
    await screen.sees("JOB", "STATE", "PROCESSOR")
    await screen.press("tab", "left", "left", "left")
    await screen.sees("TIME", "WHAT")


async def test_a_filter_narrows_and_inverts_and_esc_ends_it(screen: Screen) -> None:
    await screen.press("2")
    await screen.sees("web", "waiting")
    await screen.press("slash", *"web", "enter")
    await screen.misses("etyde")
    await screen.sees("/web")
    await screen.press("slash", *["home", "exclamation_mark"], "enter")
    await screen.misses("web", "waiting")
    await screen.sees("etyde", "active")
    await screen.press("escape")
    await screen.sees("web", "waiting")
    await screen.press("slash", *"zzz", "enter")
    await screen.sees("nothing fits")


async def test_tags_can_be_found_though_no_column_shows_them(screen: Screen, ids: Ids) -> None:
    await screen.press("2", "slash", *"order-17", "enter")
    await screen.misses("web")
    await screen.sees(ids.told[-8:], "succeeded")


async def test_faults_only(screen: Screen) -> None:
    await screen.press("2")
    await screen.sees("web", "waiting")
    await screen.press("exclamation_mark")
    await screen.misses("web", "waiting")
    await screen.sees("dead", "boom")
    await screen.sees("faults only")


async def test_rows_are_sorted_by_a_column_and_turned(screen: Screen) -> None:
    await screen.press("2")
    await screen.sees("web", "waiting")

    def states() -> list[str]:
        rows = [line for line in screen.text.splitlines() if " echo " in line]
        return [word for row in rows for word in row.split() if word in ("active", "waiting")]

    await screen.press("s", "s")
    await screen.sees("STATE▴")
    assert states() == sorted(states())
    await screen.press("o")
    await screen.sees("STATE▾")
    assert states() == sorted(states(), reverse=True)


async def test_enter_tells_a_jobs_whole_story(screen: Screen, ids: Ids) -> None:
    await screen.press("2", "slash", *ids.retrying[-8:], "enter")
    await screen.sees(ids.retrying[-8:], "delayed")
    await screen.press("enter")
    await screen.sees("job", ids.retrying)
    await screen.sees("ATTEMPT", "WAITED", "ENDING")
    await screen.sees("failed", "timed_out: ran longer than 60 s")
    await screen.sees("Attempt 1 ended with timed_out", "1 of 3 have failed")
    await screen.press("escape")
    await screen.misses("WAITED")


async def test_enter_tells_what_became_of_a_callback(screen: Screen, ids: Ids) -> None:
    await screen.press("4")
    await screen.sees("410")
    await screen.press("enter")
    await screen.sees("url", "https://app.example/hook")
    await screen.sees("410", "it said 410")
    await screen.press("q")
    await screen.misses("url")
    await screen.press("2", "slash", *ids.told[-8:], "enter")
    await screen.sees(ids.told[-8:], "succeeded")
    await screen.press("enter")
    await screen.sees("msg_", "dead")


async def test_enter_opens_a_group_of_dead_letters(screen: Screen, ids: Ids) -> None:
    await screen.press("7")
    await screen.sees("boom", "it broke in two")
    assert not screen.line(ids.dead[0][-12:])
    await screen.press("enter")
    await screen.sees(ids.dead[0])
    await screen.sees(ids.dead[1])
    await screen.press("enter")
    await screen.misses(ids.dead[0])


async def test_the_cursor_stays_on_its_row_when_others_come(screen: Screen, engine: Engine) -> None:
    await screen.press("2", "s", "s")
    await screen.sees("web", "waiting")
    await screen.press("G")
    held = screen.app.query_one("Table").cursor_key
    jobs = [new_job(app="late") for _ in range(5)]
    await engine.broker.submit(jobs)
    await screen.sees("late", "waiting")
    assert screen.app.query_one("Table").cursor_key == held


async def test_help_shows_every_key(screen: Screen) -> None:
    await screen.press("question_mark")
    await screen.sees("Capital letters change things")
    await screen.sees("R", "run jobs or flows again")


async def test_a_small_terminal_is_told_and_a_larger_one_goes_on(screen: Screen) -> None:
    await screen.sees("web echo")
    await screen.pilot.resize_terminal(40, 10)
    await screen.sees("The terminal is 40x10")
    await screen.pilot.resize_terminal(80, 24)
    line = await screen.sees("etyde echo")
    assert "OLDEST" in screen.text
    assert "LAG" not in screen.text  # what matters least goes first
    assert len(line.rstrip()) <= 80
    await screen.press("w")
    await screen.sees("STREAM", "DEAD", "OLDEST")
