"""Sessions by property: whatever is asked for, the minutes add up and the rules hold."""

from datetime import date, timedelta
from itertools import pairwise, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.etyde.arranging import arranged, merged
from processors.etyde.instruments import INSTRUMENTS, instrument_of
from processors.etyde.minutes import shared_out
from processors.etyde.session import (
    BLOCK_MAX,
    Block,
    DueItem,
    Kind,
    RecentItem,
    SessionIn,
    blocks_least,
    blocks_most,
    by_lateness,
    faults_of,
    items_that_fit,
)
from processors.etyde.template_session import template_session

DAY = date(2026, 11, 26)
KINDS = [kind for kind in Kind if kind not in (Kind.REST, Kind.WARM_UP)]

due_items = st.lists(
    st.builds(
        DueItem,
        item_id=st.integers(1, 99).map("p-{}".format),
        title=st.just("Stykke"),
        kind=st.sampled_from([str(kind) for kind in KINDS]),
        due=st.integers(0, 40).map(lambda days: DAY - timedelta(days=days)),
        last_score=st.none() | st.floats(0, 1),
    ),
    max_size=30,
    unique_by=lambda item: item.item_id,
)
sessions = st.builds(
    SessionIn,
    student_id=st.just("s-1"),
    instrument=st.sampled_from([*INSTRUMENTS, "theremin"]),
    level=st.integers(1, 10),
    minutes=st.integers(5, 180),
    due_items=due_items.map(tuple),
    language=st.sampled_from(["da", "en"]),
)


def block(kind: Kind, minutes: int = 5, item_id: str | None = None) -> Block:
    return Block(kind, "T", minutes, item_id, None, "f", "i", "3 gange uden fejl")


@given(
    st.lists(st.floats(0.01, 1_000), min_size=1, max_size=20),
    st.integers(0, 3),
    st.integers(0, 30),
    st.data(),
)
def test_shares_add_up_within_their_bounds_and_follow_the_weights(weights, least, extra, data):
    most = least + extra
    total = data.draw(st.integers(least * len(weights), most * len(weights)))
    shares = shared_out(total, weights, least, most)
    assert sum(shares) == total
    assert all(least <= share <= most for share in shares)
    by_weight = sorted(range(len(weights)), key=lambda i: weights[i])
    # A heavier one has no less, but for what rounding gives to the first of two neighbours.
    assert all(shares[light] <= shares[heavy] + 1 for light, heavy in pairwise(by_weight))
    exact = [total * weight / sum(weights) for weight in weights]
    if all(least <= share <= most for share in exact):
        assert all(abs(share - want) < 1.0001 for share, want in zip(shares, exact, strict=True))


@pytest.mark.parametrize(
    ("total", "weights", "least", "most", "shares"),
    [
        (10, [1, 1, 1], 1, 25, [4, 3, 3]),
        (7, [1, 100], 1, 5, [2, 5]),
        (45, [5, 10, 15, 10], 1, 25, [6, 11, 17, 11]),
        (0, [], 1, 25, []),
    ],
)
def test_shares_by_hand(total, weights, least, most, shares):
    assert shared_out(total, weights, least, most) == shares


@pytest.mark.parametrize("arguments", [(3, [1] * 4, 1, 9), (40, [1], 1, 25), (4, [1, 0], 1, 9)])
def test_what_cannot_be_shared_out_is_refused(arguments):
    with pytest.raises(ValueError, match=r"cannot be|over 0"):
        shared_out(*arguments)


@settings(max_examples=100, deadline=None)
@given(sessions)
def test_a_template_session_keeps_every_rule(given):
    blocks = template_session(given)
    assert faults_of(blocks, given) == []
    assert [item.item_id for item in items_that_fit(given)] == [
        one for one in dict.fromkeys(block.item_id for block in blocks) if one
    ]
    low, high = 40, 184
    assert all(low <= block.tempo_bpm <= high for block in blocks if block.tempo_bpm)


@settings(max_examples=100, deadline=None)
@given(sessions, st.lists(st.tuples(st.sampled_from(KINDS), st.integers(-3, 400)), max_size=14))
def test_whatever_blocks_a_model_proposes_the_arithmetic_is_right(given, proposed):
    blocks = [block(Kind.WARM_UP, 100)]
    blocks += [block(Kind(item.kind), 5, item.item_id) for item in items_that_fit(given)]
    blocks += [block(kind, minutes) for kind, minutes in proposed]
    if not blocks_least(given.minutes) <= len(blocks) <= blocks_most(given.minutes):
        return
    assert faults_of(arranged(blocks, given), given) == []


@given(
    st.lists(st.sampled_from(KINDS[:3]), max_size=3),
    st.lists(st.sampled_from(KINDS[:3]), max_size=4),
)
def test_no_other_order_has_fewer_neighbours_of_one_kind(fixed, free):
    def neighbours(order):
        return sum(one == other for one, other in pairwise(order))

    marked = [(True, kind) for kind in fixed] + [(False, kind) for kind in free]
    orders = (
        [kind for _, kind in order]
        for order in permutations(marked)
        if [kind for is_fixed, kind in order if is_fixed] == fixed
    )
    found = merged(fixed, free)
    assert [kind for is_fixed, kind in found if is_fixed] == fixed
    assert sorted(kind for _, kind in found) == sorted([*fixed, *free])
    assert neighbours([kind for _, kind in found]) == min(map(neighbours, orders))


def test_the_longest_overdue_comes_first_and_of_one_day_what_went_worst():
    items = [
        DueItem("a", "A", "etude", DAY, 0.9),
        DueItem("b", "B", "etude", DAY - timedelta(3), 1.0),
        DueItem("c", "C", "etude", DAY, 0.2),
    ]
    assert [item.item_id for item in by_lateness(items)] == ["b", "c", "a"]
    again = DueItem("a", "A once more", "etude", DAY - timedelta(9))
    assert [item.title for item in by_lateness([*items, again])] == ["A once more", "B", "C"]


def test_each_rule_that_is_broken_is_named():
    given = SessionIn(
        "s",
        "cello",
        4,
        90,
        due_items=(DueItem("p-1", "A", "etude", DAY), DueItem("p-2", "B", "etude", DAY)),
        recent=(RecentItem("r-1", DAY),),
    )
    long = block(Kind.ETUDE, BLOCK_MAX + 1, "p-2")
    said = " | ".join(faults_of([long, block(Kind.ETUDE, 30, "made-up"), long], given))
    for part in ("add up to 82", "begins with", "1 to 25", "of rest", "no item 'made-up'", "'p-1'"):
        assert part in said
    swapped = [block(Kind.WARM_UP), block(Kind.ETUDE, 5, "p-2"), block(Kind.ETUDE, 5, "p-1")]
    assert "in this order: p-1, p-2" in " | ".join(faults_of(swapped, given))


@pytest.mark.parametrize("name", ["Cello", "violoncel", " KLAVER ", "double  bass", "Kontrabas"])
def test_instruments_have_danish_names_too(name):
    assert instrument_of(name) is not None


def test_a_higher_level_can_be_asked_for_more():
    for instrument in INSTRUMENTS.values():
        for level in range(1, 10):
            low, high = instrument.range_at(level)
            lower, higher = instrument.range_at(level + 1)
            assert lower <= low < high <= higher
            assert instrument.tempo_at(level) <= instrument.tempo_at(level + 1)
