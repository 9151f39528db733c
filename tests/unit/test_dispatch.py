"""The dispatch rule by tables, and what must hold of it for any heads."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dispatch import HYSTERESIS, TARGET_MS, Situation, Source, choose_group, pick
from streams.model import Priority
from tests.support.build import lane

HOUR_MS = 3_600_000
HIGH, NORMAL, LOW = Priority.HIGH, Priority.NORMAL, Priority.LOW


def source(app: str = "etyde", *ages_ms: int, expired: bool = False, **fields: str) -> Source:
    """A source by the ages of its entries at an open time of 10 hours."""
    bases = tuple(10 * HOUR_MS - age for age in ages_ms)
    return Source(lane(app=app, **fields), bases, expired)


def order(sources: list[Source], room: int = 100, **fields: object) -> list[int]:
    situation = Situation(10 * HOUR_MS, **fields)  # type: ignore[arg-type]
    return [each.source for each in pick(sources, situation, room)]


@pytest.mark.parametrize(
    ("scores", "resident", "chosen"),
    [
        ({(NORMAL, "a"): 0.4, (NORMAL, "b"): 0.3}, "", (NORMAL, "a")),
        ({(NORMAL, "a"): 0.8, (NORMAL, "b"): 0.3}, "b", (NORMAL, "b")),  # 0.5 behind: stay
        ({(NORMAL, "a"): 0.81, (NORMAL, "b"): 0.3}, "b", (NORMAL, "a")),
        ({(NORMAL, "a"): 0.9, (NORMAL, "b"): 0.3, (LOW, "b"): 0.4}, "b", (LOW, "b")),
        ({(LOW, "b"): 0.0}, "a", (LOW, "b")),  # what is resident has nothing
        ({(NORMAL, ""): 1.0, (HIGH, ""): 1.0, (LOW, ""): 1.0}, "", (HIGH, "")),  # tie: urgency
        ({(NORMAL, "b"): 1.0, (NORMAL, "a"): 1.0}, "", (NORMAL, "a")),  # tie: name
    ],
)
def test_the_group_is_the_best_or_the_resident_models(
    scores: dict[tuple[Priority, str], float], resident: str, chosen: tuple[Priority, str]
) -> None:
    assert choose_group(scores, resident) == chosen


def test_a_priority_waits_its_target_to_be_as_urgent_as_another() -> None:
    heads = [
        source("etyde", TARGET_MS[LOW] + 2, priority="low"),
        source("etyde", TARGET_MS[NORMAL] + 1, priority="normal"),
        source("etyde", TARGET_MS[HIGH] + 1, priority="high"),
    ]
    assert order(heads) == [2, 1, 0]


def test_apps_take_turns_and_a_backlog_delays_nobody() -> None:
    heads = [source("big", *range(1_000, 900, -1)), source("small", 3, 2)]
    assert order(heads, 6) == [0, 1, 0, 1, 0, 0]
    assert order(heads, 3, turns={"big": 7, "small": 3}, turn=7) == [1, 0, 1]


def test_apps_that_were_never_served_go_by_age_then_name() -> None:
    assert order([source("b", 5), source("a", 5), source("c", 9)]) == [2, 1, 0]


def test_an_app_at_its_limit_is_left_out_and_counts_what_it_is_given() -> None:
    heads = [source("a", 9, 8, 7), source("b", 3)]
    assert order(heads, limits={"a": 3}, running={"a": 2}) == [0, 1]
    assert order(heads, limits={"a": 0}) == [1]
    assert order([source("a", 9)], limits={"a": 2}, running={"a": 2}) == []


def test_what_had_been_leased_comes_first_among_heads_of_its_age() -> None:
    heads = [
        source("a", 9, 9, processor="ask"),
        source("a", 9, expired=True, processor="fetch"),
        source("a", 9, expired=True, processor="echo"),
    ]
    assert order(heads) == [2, 1, 0, 0]


def test_the_model_of_the_last_pick_is_resident_for_the_next() -> None:
    heads = [
        source("a", 2 * HOUR_MS, 0, model="x", resource_class="ollama"),
        source("a", HOUR_MS, 0, model="y", resource_class="ollama"),
    ]
    assert order(heads, resident="y") == [0, 1, 1, 0]  # y's best is 1.0 behind x's
    near = [
        source("a", HOUR_MS, HOUR_MS, model="x", resource_class="ollama"),
        source("a", HOUR_MS // 2, model="y", resource_class="ollama"),
    ]
    assert order(near, resident="y") == [1, 0, 0]


apps = st.sampled_from(("a", "b", "c"))
lanes = st.builds(
    lane,
    resource_class=st.just("ollama"),
    app=apps,
    priority=st.sampled_from(Priority),
    processor=st.sampled_from(("ask", "echo")),
    model=st.sampled_from(("x", "y", "z")),
)
bases = st.lists(st.integers(0, 10 * HOUR_MS), min_size=1, max_size=5).map(sorted).map(tuple)
expired = st.builds(Source, lanes, st.tuples(st.integers(0, 10 * HOUR_MS)), st.just(True))
sources = st.lists(st.builds(Source, lanes, bases) | expired, max_size=8)
situations = st.builds(
    Situation,
    open_ms=st.just(10 * HOUR_MS),
    resident=st.sampled_from(("", "x", "y")),
    turns=st.dictionaries(apps, st.integers(1, 9)),
    turn=st.just(9),
    limits=st.dictionaries(apps, st.integers(0, 4)),
    running=st.dictionaries(apps, st.integers(0, 3)),
)


@given(sources, situations, st.integers(0, 20))
def test_the_chosen_group_is_never_far_behind_the_best(
    heads: list[Source], situation: Situation, room: int
) -> None:
    for each in pick(heads, situation, room):
        assert 0 <= each.best - each.score <= HYSTERESIS


@given(sources, situations, st.integers(0, 20))
def test_no_entry_is_picked_twice_and_no_limit_is_passed(
    heads: list[Source], situation: Situation, room: int
) -> None:
    picked = pick(heads, situation, room)
    assert len(picked) <= room
    for index, head in enumerate(heads):  # each source is served from its oldest on
        served = [each.entry for each in picked if each.source == index]
        assert served == list(range(len(served)))
        assert len(served) <= len(head.bases)
    served_apps = Counter(heads[each.source].lane.app for each in picked)
    for app, limit in situation.limits.items():
        running = situation.running.get(app, 0)
        assert served_apps[app] + running <= max(limit, running)


@given(sources, situations)
def test_with_room_enough_nothing_that_may_run_is_left(
    heads: list[Source], situation: Situation
) -> None:
    picked = Counter(heads[each.source].lane.app for each in pick(heads, situation, 1_000))
    for app in ("a", "b", "c"):
        there = sum(len(head.bases) for head in heads if head.lane.app == app)
        limit = situation.limits.get(app)
        room = there if limit is None else max(0, limit - situation.running.get(app, 0))
        assert picked[app] == min(there, room)


@given(st.lists(st.tuples(apps, bases), max_size=6), situations, st.integers(1, 20))
def test_while_two_apps_wait_in_one_group_neither_is_served_twice_running(
    rows: list[tuple[str, tuple[int, ...]]], situation: Situation, room: int
) -> None:
    heads = [Source(lane(app=app), bases) for app, bases in rows]
    free = Situation(situation.open_ms, turns=situation.turns, turn=situation.turn)
    picked = pick(heads, free, room)
    served = [heads[each.source].lane.app for each in picked]
    left = Counter({app: 0 for app, _ in rows})
    for app, ages in rows:
        left[app] += len(ages)
    for before, now in zip(["", *served], served, strict=False):
        if before == now:
            assert all(count == 0 for app, count in left.items() if app != now)
        left[now] -= 1
