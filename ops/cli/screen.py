"""How commands print: tables for people, JSON for scripts; colour on a terminal only."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

import click
import msgspec
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

WIDE = 10_000  # off a terminal nothing is cut
STYLES = {
    "succeeded": "green",
    "delivered": "green",
    "active": "cyan",
    "dead": "red",
    "unsafe": "red",
    "refused": "red",
    "expired": "yellow",
    "cancelled": "yellow",
    "paused": "yellow",
    "noted": "yellow",
    "failing": "red",
    "problem": "red",
    "warning": "yellow",
    "ok": "green",
}

Cell = object
Row = Mapping[str, Cell]


class Screen:
    """Standard output, as a table or as JSON."""

    def __init__(self) -> None:
        self.output = "table"
        self._kept: list[RenderableType] | None = None

    @contextmanager
    def keeping(self) -> Iterator[list[RenderableType]]:
        """Keep what is printed within the block instead of printing it."""
        kept: list[RenderableType] = []
        self._kept = kept
        try:
            yield kept
        finally:
            self._kept = None

    @property
    def as_json(self) -> bool:
        """Whether a script reads it."""
        return self.output == "json"

    def show(self, items: object, rows: Sequence[Row], *, empty: str = "nothing") -> None:
        """Print `items` whole as JSON, or `rows` as a table with their keys as heads."""
        if self.as_json:
            self.json(items)
        elif rows:
            self.draw(table_of(rows))
        else:
            self.note(empty)

    def card(self, item: object, facts: Row) -> None:
        """Print one thing: JSON, or a line per fact; facts without a value are left out."""
        if self.as_json:
            self.json(item)
            return
        self.draw(card_of(facts))

    def draw(self, drawing: RenderableType) -> None:
        """Print something drawn; plain off a terminal."""
        if self._kept is None:
            console().print(drawing)
        else:
            self._kept.append(drawing)

    def say(self, sentence: str, item: object = None) -> None:
        """Print what was done: a sentence, or `item` as JSON."""
        if self.as_json and item is not None:
            self.json(item)
        else:
            self._echo(sentence)

    def json(self, item: object) -> None:
        """Print JSON, indented; one line of it where it is kept."""
        encoded = msgspec.json.encode(item, enc_hook=str)
        if self._kept is None:
            encoded = msgspec.json.format(encoded, indent=2)
        self._echo(encoded.decode())

    def note(self, sentence: str) -> None:
        """Print to standard error, so that it is in no script's way."""
        self._echo(sentence, err=True)

    def _echo(self, sentence: str, *, err: bool = False) -> None:
        if self._kept is None:
            click.echo(sentence, err=err)
        else:
            self._kept.append(Text(sentence))


def age(since_ms: int, now_ms: int | None = None) -> str:
    """How long ago, short: `4s`, `12m`, `3h`, `2d`; empty for 0."""
    if not since_ms:
        return ""
    return duration((now_ms or time.time_ns() // 1_000_000) - since_ms)


def age_of(moment: datetime | None) -> str:
    """`age` of a moment."""
    return age(round(moment.timestamp() * 1_000)) if moment else ""


def duration(ms: float) -> str:
    """A time span, short."""
    seconds = abs(ms) / 1_000
    sign = "in " if ms < 0 else ""
    for limit, unit, name in ((60, 1, "s"), (3_600, 60, "m"), (86_400, 3_600, "h")):
        if seconds < limit:
            return f"{sign}{int(seconds / unit)}{name}"
    return f"{sign}{int(seconds / 86_400)}d"


def local(moment: datetime | None) -> str:
    """A moment in the local time zone, to the second."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def terminal() -> bool:
    """Whether standard output is one."""
    return sys.stdout.isatty()


def console() -> Console:
    """Standard output as rich draws on it."""
    wide = not terminal()
    return Console(width=WIDE if wide else None, highlight=False, soft_wrap=wide)


def card_of(facts: Row) -> Table:
    """A line per fact; those without a value are left out."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value not in (None, "", ()):
            table.add_row(name, _cell(value))
    return table


def table_of(rows: Sequence[Row]) -> Table:
    """Rows under the keys of the first."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, value in rows[0].items():
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        identifier = name in ("ID", "KEY")
        table.add_column(
            name,
            justify="right" if numeric else "left",
            no_wrap=identifier,
            overflow="fold" if identifier else "ellipsis",
        )
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    return table


def _cell(value: Cell) -> Text:
    text = "" if value is None else str(value)
    if isinstance(value, bool):
        text = "yes" if value else "no"
    return Text(text, style=STYLES.get(text, ""))
