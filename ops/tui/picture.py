"""A tab as one table of rich, for where there is no terminal to stay on."""

from rich.table import Table as RichTable
from rich.text import Text

from ops.tui import view
from ops.tui.rows import Cell
from ops.tui.state import State


def table_of(state: State, width: int) -> RichTable | Text:
    """Everything that the tab shows, every column that fits."""
    grid = view.grid_of(state, width)
    if grid is None or not grid.rows:
        return Text(grid.empty if grid else "", "dim")
    lines = view.lines(state, grid)
    fitted = view.fit(state, grid, lines, width)
    table = RichTable(box=None, pad_edge=False, header_style="bold")
    for at in fitted.shown:
        column = grid.columns[at]
        table.add_column(column.name, justify="right" if column.right else "left", no_wrap=True)
    for line in lines:
        cells = [line.row.cells[at] if at < len(line.row.cells) else Cell() for at in fitted.shown]
        texts = [Text(cell.text, cell.style) for cell in cells]
        texts[0] = Text("  " * line.depth + cells[0].text, cells[0].style)
        table.add_row(*texts)
    return table
