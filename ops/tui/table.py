"""A table of Textual that shows lines, and changes no more than has changed."""

from collections.abc import Sequence

import msgspec
from rich.text import Text
from textual.coordinate import Coordinate
from textual.widgets import DataTable

from ops.tui.rows import MARK, Cell, Column, Fitted, Line, cut

ORDER = {True: "▾", False: "▴"}


class Drawn(msgspec.Struct, frozen=True):
    """What the table shows."""

    columns: tuple[Column, ...] = ()
    fitted: Fitted = Fitted((), ())
    lines: tuple[Line, ...] = ()
    marked: frozenset[str] = frozenset()
    sorted: int | None = None
    descending: bool = False

    @property
    def heads(self) -> list[Text]:
        """The heads of the columns that are shown."""
        found = []
        for at, width in zip(self.fitted.shown, self.fitted.widths, strict=True):
            column = self.columns[at]
            mark = ORDER[self.descending] if at == self.sorted else ""
            head = cut(f"{column.name}{mark}", max(width, 1))
            found.append(Text(_placed(head, width, column), style="bold"))
        return found

    def row(self, line: Line) -> list[Text]:
        """The cells of a line."""
        cells = line.row.cells
        found = []
        for at, width in zip(self.fitted.shown, self.fitted.widths, strict=True):
            column = self.columns[at]
            cell = cells[at] if at < len(cells) else Cell()
            found.append(self._cell(line, column, cell, width, first=at == self.fitted.shown[0]))
        return found

    def _cell(self, line: Line, column: Column, cell: Cell, width: int, *, first: bool) -> Text:
        said = cell.text
        style = cell.style
        if first and line.depth:
            branch = "└ " if line.last else "├ "
            said = "  " * (line.depth - 1) + branch + said
        shown = cut(said, width, tail=column.tail and not line.depth)
        if first and line.row.key in self.marked:
            shown, style = cut(f"{MARK} {said}", width), "bold cyan"
        return Text(_placed(shown, width, column), style=style, no_wrap=True)


class Table(DataTable[Text]):
    """The table of the tab that is shown."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, cursor_type="row", cell_padding=0, show_row_labels=False)
        self.cursor_foreground_priority = "renderable"  # colours say something
        self.drawn = Drawn()

    @property
    def cursor_key(self) -> str:
        """The row that the cursor is on, empty where there is none."""
        lines = self.drawn.lines
        return lines[self.cursor_row].row.key if 0 <= self.cursor_row < len(lines) else ""

    @property
    def cursor_line(self) -> Line | None:
        """The line that the cursor is on."""
        lines = self.drawn.lines
        return lines[self.cursor_row] if 0 <= self.cursor_row < len(lines) else None

    def show(self, drawn: Drawn, *, anew: bool = False) -> None:
        """Show it; the cursor stays on its row, and what is scrolled to stays."""
        before, self.drawn = self.drawn, drawn
        if drawn == before and not anew:
            return
        same_heads = before.columns == drawn.columns and before.fitted == drawn.fitted
        same_order = before.sorted == drawn.sorted and before.descending == drawn.descending
        keys = [line.row.key for line in drawn.lines]
        same_rows = [line.row.key for line in before.lines] == keys
        if same_heads and same_order and same_rows and not anew:
            self._update(before, drawn)
        else:
            self._rebuild(before, drawn, anew=anew)

    def _update(self, before: Drawn, drawn: Drawn) -> None:
        for at, (old, new) in enumerate(zip(before.lines, drawn.lines, strict=True)):
            if old == new and before.marked == drawn.marked:
                continue
            for column, (was, cell) in enumerate(zip(before.row(old), drawn.row(new), strict=True)):
                if was != cell or was.style != cell.style:
                    self.update_cell_at(Coordinate(at, column), cell)

    def _rebuild(self, before: Drawn, drawn: Drawn, *, anew: bool) -> None:
        at, scrolled = self.cursor_row, self.scroll_offset
        held = before.lines[at].row.key if 0 <= at < len(before.lines) and not anew else ""
        with self.app.batch_update():
            self.clear(columns=True)
            for head, width in zip(drawn.heads, drawn.fitted.widths, strict=True):
                self.add_column(head, width=width + 1)
            for line in drawn.lines:
                self.add_row(*drawn.row(line))
            keys = [line.row.key for line in drawn.lines]
            place = keys.index(held) if held in keys else 0 if anew else min(at, len(keys) - 1)
            self.move_cursor(row=max(0, place), animate=False, scroll=anew or held not in keys)
            if not anew:
                self.scroll_to(y=scrolled.y, animate=False)


def _placed(said: str, width: int, column: Column) -> str:
    """A text in its column, with the space that keeps the next one apart."""
    return f"{said:>{width}} " if column.right else said


def column_of(drawn: Drawn, shown: int) -> int | None:
    """The column at a place of the screen."""
    return drawn.fitted.shown[shown] if 0 <= shown < len(drawn.fitted.shown) else None


def visible(lines: Sequence[Line]) -> frozenset[str]:
    """The keys of lines."""
    return frozenset(line.row.key for line in lines)
