"""The pure part of the terminal UI, by tables: states, rows, widths, words."""

from typing import Any

import pytest

from ops.tui.rows import Cell, Column, Line, Row, filtered, fitted, lines_of, ordered
from ops.tui.state import (
    Acted,
    Came,
    Chose,
    Failed,
    FaultsOnly,
    Filtered,
    Happening,
    Look,
    Marked,
    Sorted,
    State,
    Surrounded,
    Tab,
    Ticked,
    Toggled,
    Told,
    Turned,
    Widened,
    reduce,
)
from ops.tui.surroundings import Surroundings
from ops.tui.words import rate, span, sparkline


def looked(**fields: Any) -> State:
    return State(looks={Tab.LANES: Look(**fields)})


A, B = frozenset({"a"}), frozenset({"a", "b"})


@pytest.mark.parametrize(
    ("before", "happening", "after"),
    [
        (State(), Chose(Tab.JOBS), State(tab=Tab.JOBS)),
        (State(said="done"), Chose(Tab.JOBS), State(tab=Tab.JOBS)),
        (State(), Ticked(7), State(now_ms=7)),
        (State(), Came(Tab.JOBS, [1], 7), State(data={Tab.JOBS: [1]}, now_ms=7)),
        (
            State(troubles={"jobs": "no", "": "away"}),
            Came(Tab.JOBS, [1], 7),
            State(data={Tab.JOBS: [1]}, now_ms=7, troubles={"": "away"}),
        ),
        (
            State(data={Tab.JOBS: [1]}),
            Failed("jobs", "no", 7),
            State(data={Tab.JOBS: [1]}, troubles={"jobs": "no"}, now_ms=7),
        ),
        (State(), Surrounded(Surroundings("ok", 3)), State(surroundings=Surroundings("ok", 3))),
        (State(), FaultsOnly(), State(faults_only=True)),
        (State(faults_only=True), FaultsOnly(), State()),
        (State(), Widened(), State(wide=True)),
        (State(), Told("so"), State(said="so")),
        (looked(marked=B), Acted("so"), State(said="so", looks={Tab.LANES: Look()})),
        (State(), Filtered("web"), looked(filter="web")),
        (State(), Sorted(2), looked(column=2)),
        (looked(column=2, descending=True), Sorted(3), looked(column=3)),
        (looked(column=2, descending=True), Sorted(None), looked()),
        (looked(column=2), Turned(), looked(column=2, descending=True)),
        (State(), Marked(A), looked(marked=A)),
        (looked(marked=A), Marked(B), looked(marked=B)),
        (looked(marked=B), Marked(A), looked(marked=B - A)),
        (State(), Toggled("a"), looked(toggled=A)),
        (looked(toggled=A), Toggled("a"), looked()),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, State) else "",
)
def test_each_happening_has_its_effect(before: State, happening: Happening, after: State) -> None:
    assert reduce(before, happening) == after


def test_how_a_tab_is_looked_at_is_its_own() -> None:
    state = reduce(reduce(State(), Filtered("web")), Chose(Tab.JOBS))
    assert state.look == Look()
    assert reduce(state, Chose(Tab.LANES)).look == Look(filter="web")


@pytest.mark.parametrize(
    ("troubles", "tab", "said"),
    [
        ({}, Tab.JOBS, ""),
        ({"jobs": "no"}, Tab.JOBS, "no"),
        ({"jobs": "no"}, Tab.LANES, ""),
        ({"jobs": "no", "": "away"}, Tab.JOBS, "away"),
    ],
)
def test_what_is_away_altogether_is_said_first(
    troubles: dict[str, str], tab: Tab, said: str
) -> None:
    assert State(tab=tab, troubles=troubles).trouble == said


def row(name: str, *values: float, fault: bool = False, children: tuple[Row, ...] = ()) -> Row:
    cells = (Cell(name, name), *(Cell(f"{value:g}", value) for value in values))
    return Row(name, cells, fault=fault, children=children)


TREE = (
    row("io", 3, children=(row("web echo", 1, fault=True), row("web fetch", 2))),
    row("cpu", 7),
)


def names(rows: tuple[Row, ...]) -> list[Any]:
    return [(one.key, names(one.children)) if one.children else one.key for one in rows]


@pytest.mark.parametrize(
    ("wanted", "faults", "left"),
    [
        ("", False, [("io", ["web echo", "web fetch"]), "cpu"]),
        ("IO", False, [("io", ["web echo", "web fetch"])]),  # all of what fits
        ("fetch", False, [("io", ["web fetch"])]),  # what fits, below what it belongs to
        ("web (e|x)", False, [("io", ["web echo"])]),
        ("!web", False, [("io", ["web echo", "web fetch"]), "cpu"]),
        ("(", False, []),  # no regular expression: taken as it stands
        ("", True, [("io", ["web echo"])]),
        ("fetch", True, []),
        ("nothing", False, []),
    ],
)
def test_a_filter_keeps_what_fits(wanted: str, faults: bool, left: list[Any]) -> None:
    assert names(filtered(TREE, wanted, faults=faults)) == left


@pytest.mark.parametrize(
    ("column", "descending", "order"),
    [
        (0, False, ["cpu", ("io", ["web echo", "web fetch"])]),
        (1, False, [("io", ["web echo", "web fetch"]), "cpu"]),
        (1, True, ["cpu", ("io", ["web fetch", "web echo"])]),
    ],
)
def test_rows_and_their_children_are_sorted(
    column: int, descending: bool, order: list[Any]
) -> None:
    assert names(ordered(TREE, column, descending=descending)) == order


def test_children_of_what_is_closed_are_left_out() -> None:
    opened = [(line.row.key, line.depth, line.last) for line in lines_of(TREE, lambda _: False)]
    assert opened == [
        ("io", 0, False),
        ("web echo", 1, False),
        ("web fetch", 1, True),
        ("cpu", 0, True),
    ]
    assert len(lines_of(TREE, lambda key: key == "io")) == 2


COLUMNS = (
    Column("NAME", flex=True, least=4),
    Column("A", right=True),
    Column("B", rank=2),
    Column("C", rank=1),
)
WIDE_LINE = Line(Row("x", (Cell("x" * 20), Cell("12345"), Cell("123"), Cell("123"))), 0)


@pytest.mark.parametrize(
    ("room", "wide", "shown", "widths"),
    [
        (40, False, (0, 1, 2, 3), (20, 5, 3, 3)),  # room for all of it
        (25, False, (0, 1, 2, 3), (10, 5, 3, 3)),  # the flexible one gives way first
        (18, False, (0, 1, 3), (7, 5, 3)),  # then what matters least goes
        (12, False, (0, 1), (5, 5)),
        (5, False, (0, 1), (4, 5)),  # what matters most stays
        (5, True, (0, 1, 2, 3), (20, 5, 3, 3)),
    ],
)
def test_columns_fit_the_terminal(
    room: int, wide: bool, shown: tuple[int, ...], widths: tuple[int, ...]
) -> None:
    found = fitted(COLUMNS, [WIDE_LINE], room, wide=wide)
    assert (found.shown, found.widths) == (shown, widths)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        *((None, ""), (0, "0.0s"), (0.42, "0.4s"), (12, "12s"), (60, "1m"), (250, "4m10s")),
        *((700, "11m"), (3_600, "1h"), (4_320, "1h12m"), (86_400, "1d"), (273_600, "3d4h")),
    ],
)
def test_spans_are_short(seconds: float | None, said: str) -> None:
    assert span(seconds) == said


@pytest.mark.parametrize(
    ("per_s", "said"),
    [(0, "·"), (0.016, "0.02"), (0.1, "0.1"), (2.34, "2.3"), (99.4, "99.4"), (12_345, "12,345")],
)
def test_rates_are_short(per_s: float, said: str) -> None:
    assert rate(per_s) == said


@pytest.mark.parametrize(
    ("history", "points", "bars"),
    [
        ((), 4, ""),
        ((0, 0), 4, ""),
        ((0, 7), 4, "▁█"),
        ((1, 2, 4, 8), 4, "▂▃▅█"),
        ((0, 0, 9, 0, 0, 3), 3, "▁█▃"),
    ],
)
def test_a_history_is_a_line_of_bars(history: tuple[int, ...], points: int, bars: str) -> None:
    assert sparkline(history, points) == bars
