"""Tables as values: columns, rows with children, and what a filter, an order and a width make of
them. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from rich.cells import cell_len, set_cell_size

from ops.tui.source import Kind, Verb

MARK = "●"
CUT = "…"

Ids = tuple[str, ...]


class Cell(msgspec.Struct, frozen=True):
    """What stands in one place: its text, what it is sorted by, and its style."""

    text: str = ""
    sort: float | str = ""
    style: str = ""


class Column(msgspec.Struct, frozen=True):
    """A column. Those of the highest rank go first where the terminal is narrow.

    One with `flex` is cut to what the others leave, down to `least` characters; with `tail` its end
    is kept and not its beginning, as for ids.
    """

    name: str
    rank: int = 0
    right: bool = False
    flex: bool = False
    least: int = 10
    tail: bool = False


class Row(msgspec.Struct, frozen=True):
    """One row, and those that belong below it. `acts`: verbs, and the ids they would be done to."""

    key: str
    cells: tuple[Cell, ...]
    acts: Mapping[Verb, Ids] = {}
    kind: Kind | None = None
    fault: bool = False
    children: tuple["Row", ...] = ()
    opens: bool = False  # whether enter shows more than its children
    text: str = ""  # more that a filter looks at


class Grid(msgspec.Struct, frozen=True):
    """A whole table."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    empty: str = "nothing"


class Line(msgspec.Struct, frozen=True):
    """A row as it is drawn, `depth` below the first level."""

    row: Row
    depth: int
    last: bool = False  # of its siblings


def number(count: float, style: str = "") -> Cell:
    """A count; nothing for none, so that what is there stands out."""
    return Cell(f"{count:,.0f}" if count else "·", count, style if count else "dim")


def text(value: object, style: str = "", sort: float | str | None = None) -> Cell:
    """A text, sorted by itself."""
    shown = "" if value is None else str(value)
    return Cell(shown, shown if sort is None else sort, style)


# ---------------------------------------------------------------------- filter and order


def matcher(wanted: str) -> Callable[[str], bool]:
    """What a filter lets through: a regular expression, or a plain text; `!` in front inverts."""
    inverse, pattern = wanted.startswith("!"), wanted.removeprefix("!")
    if not pattern:
        return lambda _: True
    try:
        found = re.compile(pattern, re.IGNORECASE).search
    except re.error:
        found = re.compile(re.escape(pattern), re.IGNORECASE).search
    return lambda said: (found(said) is None) == inverse


def said_by(row: Row) -> str:
    """What a filter looks at."""
    return " ".join((row.text, *(cell.text for cell in row.cells)))


def filtered(rows: Iterable[Row], wanted: str, *, faults: bool = False) -> tuple[Row, ...]:
    """Rows that fit, with their children; and rows with children that fit, with these alone."""
    fits = matcher(wanted)

    def kept(row: Row) -> Row | None:
        children = tuple(filter(None, map(kept, row.children)))
        own = fits(said_by(row)) and (row.fault or not faults)
        if own and not faults:
            return row
        if own or children:
            return msgspec.structs.replace(row, children=children)
        return None

    return tuple(filter(None, map(kept, rows)))


def ordered(rows: Sequence[Row], column: int, *, descending: bool) -> tuple[Row, ...]:
    """Rows, and the children of each, in the order of a column; numbers before texts."""

    def place(row: Row) -> tuple[bool, float, str]:
        value = row.cells[column].sort if column < len(row.cells) else ""
        if isinstance(value, str):
            return (True, 0.0, value.lower())
        return (False, float(value), "")

    found = sorted(rows, key=place, reverse=descending)
    return tuple(
        msgspec.structs.replace(row, children=ordered(row.children, column, descending=descending))
        if row.children
        else row
        for row in found
    )


def lines_of(rows: Sequence[Row], closed: Callable[[str], bool], depth: int = 0) -> list[Line]:
    """Rows one under the other; children of what is closed are left out."""
    found: list[Line] = []
    for at, row in enumerate(rows):
        found.append(Line(row, depth, at == len(rows) - 1))
        if row.children and not closed(row.key):
            found += lines_of(row.children, closed, depth + 1)
    return found


# ---------------------------------------------------------------------- width


class Fitted(msgspec.Struct, frozen=True):
    """Which columns are shown, by index, and how wide each is."""

    shown: tuple[int, ...]
    widths: tuple[int, ...]


def fitted(columns: Sequence[Column], lines: Sequence[Line], room: int, *, wide: bool) -> Fitted:
    """The columns that fit; all of them, at full width, where `wide` is wanted."""
    natural = [
        max((len(column.name), *(_length(line, at) for line in lines)))
        for at, column in enumerate(columns)
    ]
    shown = list(range(len(columns)))
    if wide:
        return Fitted(tuple(shown), tuple(natural))

    def needed() -> int:
        return sum(
            (min(natural[at], columns[at].least) if columns[at].flex else natural[at]) + 1
            for at in shown
        )

    while needed() > room and any(columns[at].rank for at in shown):
        shown.remove(max(shown, key=lambda at: (columns[at].rank, at)))
    widths = {at: natural[at] for at in shown}
    over = sum(width + 1 for width in widths.values()) - room
    flexible = [at for at in shown if columns[at].flex]
    for _ in range(max(0, over)):  # the widest gives way, a place at a time
        wide_ones = [at for at in flexible if widths[at] > columns[at].least]
        if wide_ones:
            widths[max(wide_ones, key=lambda at: widths[at])] -= 1
    return Fitted(tuple(shown), tuple(widths[at] for at in shown))


def _length(line: Line, at: int) -> int:
    cells = line.row.cells
    indent = 2 * line.depth if at == 0 else 0
    return (cell_len(cells[at].text) if at < len(cells) else 0) + indent


def cut(said: str, width: int, *, tail: bool = False) -> str:
    """A text of at most `width` places of the terminal; the end of it with `tail`."""
    if cell_len(said) <= width:
        return said
    return CUT + said[1 - width :] if tail else set_cell_size(said, width - 1).rstrip() + CUT
