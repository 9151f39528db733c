"""The app: it polls, hears keys, and draws the state. What it draws is made elsewhere."""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

import httpx
from rich.console import RenderableType
from rich.text import Text
from textual import events, on, work
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.widgets import DataTable, Input, Static

from ops.story import drawing_of
from ops.tui import view
from ops.tui.deeds import OF_TABS, Nothing, deed, report
from ops.tui.details import detail
from ops.tui.dialogs import Confirm, Detail, Help
from ops.tui.poll import EVERY_S, Poller
from ops.tui.rows import Line
from ops.tui.source import Deed, Kind, Source
from ops.tui.state import (
    TABS,
    Acted,
    Came,
    Chose,
    Failed,
    FaultsOnly,
    Filtered,
    Happening,
    Marked,
    Saw,
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
from ops.tui.surroundings import look_around
from ops.tui.table import Drawn, Table, column_of, visible
from streams.clock import Clock, SystemClock

WIDTH_MIN, HEIGHT_MIN = 60, 12
AROUND_S = 5.0
TOGETHER_S = 0.1  # drawing costs more than reading: once for all that comes in this time
POLLED = (Saw, Came, Failed, Surrounded, Ticked)
KEYS = "enter detail  / filter  ! faults  s sort  ? help  q leave"


class Top(App[None]):
    """`roughneck top`."""

    CSS_PATH = "top.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[Any]] = [
        *(Binding(str(at), f"choose('{tab}')", show=False) for at, tab in enumerate(TABS, 1)),
        Binding("right,tab", "step(1)", show=False, priority=True),
        Binding("left,shift+tab", "step(-1)", show=False, priority=True),
        Binding("j", "move('down')", show=False),
        Binding("k", "move('up')", show=False),
        Binding("g", "move('top')", show=False),
        Binding("G", "move('bottom')", show=False),
        Binding("ctrl+d", "move('page_down')", show=False),
        Binding("ctrl+u", "move('page_up')", show=False),
        Binding("slash", "filter", show=False),
        Binding("exclamation_mark", "faults", show=False),
        Binding("s", "sort_next", show=False),
        Binding("o", "sort_turn", show=False),
        Binding("w", "widen", show=False),
        Binding("space", "mark", show=False),
        Binding("a", "mark_all", show=False),
        Binding("y", "copy", show=False),
        Binding("r", "look", show=False),
        Binding("question_mark", "help", show=False),
        Binding("escape", "leave", show=False),
        Binding("q", "quit", show=False),
        *(Binding(key, f"deed('{key}')", show=False) for key in "CRPDT"),
    ]

    def __init__(
        self,
        source: Source,
        state: State,
        *,
        gateway: str = "",
        every_s: float = EVERY_S,
        clock: Clock | None = None,
    ) -> None:
        """`gateway`: the URL that is asked how it is; empty for none."""
        super().__init__(ansi_color=True)
        self.state = state
        self._clock = clock or SystemClock()
        self._gateway = gateway
        self._every_s = every_s
        self._poller = Poller(source, self._clock, self.happen)
        self._wake = asyncio.Event()
        self._drawing = False
        self._left = False  # asked for, since redis-py may lose a cancellation on Python 3.11

    def compose(self) -> ComposeResult:
        """Header, tabs, table, causes, foot."""
        yield Static(id="header")
        yield Static(id="tabs")
        yield Table(id="table")
        yield Static(id="causes")
        yield Input(id="filter", placeholder="word or regular expression; ! in front inverts")
        yield Static(id="foot")
        yield Static(id="small")

    def on_mount(self) -> None:
        """Begin to look."""
        self.query_one(Table).focus()
        self._draw()
        self._poll()
        if self._gateway:
            self._look_around()

    async def on_unmount(self) -> None:
        """Look no more."""
        self._left = True
        await self._poller.close()

    # ------------------------------------------------------------------ polling

    @work(group="poll")
    async def _poll(self) -> None:
        while not self._left:
            self._wake.clear()
            await self._poller.look(self.state)
            try:
                await asyncio.wait_for(self._wake.wait(), self._every_s)
            except TimeoutError:
                if self.state.troubles:  # else a picture comes, with its own time
                    self.happen(Ticked(self._clock.now_ms()))

    @work(group="around")
    async def _look_around(self) -> None:
        async with httpx.AsyncClient() as http:
            while not self._left:
                self.happen(Surrounded(await look_around(http, self._gateway)))
                await asyncio.sleep(AROUND_S)

    def happen(self, happening: Happening) -> None:
        """Take something that happened into the state, and draw."""
        self.state = reduce(self.state, happening)
        if not self.is_running:
            return
        if not isinstance(happening, POLLED):
            self._draw()
        elif not self._drawing:
            self._drawing = True  # what comes with it is drawn with it
            self.set_timer(TOGETHER_S, self._draw_polled)

    def _draw_polled(self) -> None:
        self._drawing = False
        self._draw()

    # ------------------------------------------------------------------ drawing

    def _draw(self, *, anew: bool = False) -> None:
        width, height = self.size
        if not self.screen_stack:
            return
        base = self.screen_stack[0]
        small = width < WIDTH_MIN or height < HEIGHT_MIN
        base.set_class(small, "small")
        base.set_class(width < view.ONE_LINE, "narrow")
        if small:
            said = f"The terminal is {width}x{height};\ntop needs {WIDTH_MIN}x{HEIGHT_MIN}."
            base.query_one("#small", Static).update(said)
            return
        state = self.state
        base.query_one("#header", Static).update(view.header(state, width))
        base.query_one("#tabs", Static).update(view.tab_bar(state, width))
        causes = view.causes(state, width)
        base.query_one("#causes", Static).update(view.causes_text(causes))
        base.query_one("#causes", Static).display = bool(causes)
        base.query_one(Table).show(self._drawn(width), anew=anew)
        base.query_one("#foot", Static).update(self._foot())

    def _drawn(self, width: int) -> Drawn:
        grid = view.grid_of(self.state, width)
        if grid is None:
            return Drawn()
        lines = view.lines(self.state, grid)
        fitted = view.fit(self.state, grid, lines, width - 1)
        look = self.state.look
        return Drawn(grid.columns, fitted, tuple(lines), look.marked, look.column, look.descending)

    def _foot(self) -> Text:
        grid = view.grid_of(self.state, self.size.width)
        state = self.state
        table = self.screen_stack[0].query_one(Table)
        if grid is not None and not table.drawn.lines and not state.trouble and not state.said:
            fits = "nothing fits" if state.look.filter or state.faults_only else grid.empty
            return view.foot(state, fits)
        keys = OF_TABS.get(state.tab, "") if not state.read_only else ""
        return view.foot(state, f"{keys}  {KEYS}" if keys else KEYS)

    def on_resize(self, _: events.Resize) -> None:
        """Draw for the new size."""
        self._draw()

    # ------------------------------------------------------------------ tabs and rows

    def action_choose(self, tab: str) -> None:
        """Show a tab, and look at once."""
        if Tab(tab) is not self.state.tab:
            self.state = reduce(self.state, Chose(Tab(tab)))
            self._draw(anew=True)
            self._wake.set()

    @on(events.Click, "#tabs")
    def _tab_clicked(self, clicked: events.Click) -> None:
        if tab := clicked.style.meta.get("tab"):
            self.action_choose(tab)

    def action_step(self, by: int) -> None:
        """The next tab, or the one before."""
        if len(self.screen_stack) == 1 and not self._filtering:
            self.action_choose(TABS[(TABS.index(self.state.tab) + by) % len(TABS)])

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys of the table do nothing while something is open above it."""
        return action == "quit" or len(self.screen_stack) <= 1

    def action_move(self, way: str) -> None:
        """Move the cursor."""
        table = self.query_one(Table)
        match way:
            case "down" | "up" | "page_down" | "page_up":
                getattr(table, f"action_{'cursor_' if len(way) < 5 else ''}{way}")()
            case _:
                table.move_cursor(row=0 if way == "top" else table.row_count - 1, animate=False)

    @on(DataTable.RowSelected)
    def _selected(self) -> None:
        line = self.query_one(Table).cursor_line
        if line is None:
            return
        if not line.row.opens:
            self.happen(Toggled(line.row.key))
            return
        self.push_screen(Detail(lambda: self._read(line), self._every_s))

    async def _read(self, line: Line) -> RenderableType:
        """What is known of a row now."""
        row = line.row
        found = detail(self.state, row.key)
        if found is not None:
            return found
        if row.kind is not Kind.JOB:
            return Text("it is not there any more", "dim")
        job_id = row.key.partition("|")[0]
        story = await self._poller.story(job_id)
        return Text(story, "red") if isinstance(story, str) else drawing_of(story)

    # ------------------------------------------------------------------ filter, order, marks

    @property
    def _filtering(self) -> bool:
        return bool(self.screen_stack) and bool(self.screen_stack[0].query_one("#filter").display)

    def action_filter(self) -> None:
        """Ask what to show."""
        field = self.query_one("#filter", Input)
        field.value = self.state.look.filter
        field.display = True
        self.query_one("#foot").display = False
        field.focus()

    @on(Input.Changed, "#filter")
    def _typing(self, changed: Input.Changed) -> None:
        if self._filtering and changed.value != self.state.look.filter:
            self.happen(Filtered(changed.value))

    @on(Input.Submitted, "#filter")
    def _typed(self) -> None:
        self._end_filter()

    def _end_filter(self) -> None:
        self.query_one("#filter", Input).display = False
        self.query_one("#foot").display = True
        self.query_one(Table).focus()

    def action_leave(self) -> None:
        """Leave the filter; else forget marks, then the filter, then what was said."""
        look = self.state.look
        if self._filtering:
            self.happen(Filtered(""))
            self._end_filter()
        elif look.marked:
            self.happen(Marked(look.marked))
        elif look.filter:
            self.happen(Filtered(""))
        elif self.state.faults_only:
            self.happen(FaultsOnly())
        else:
            self.happen(Told(""))

    def action_faults(self) -> None:
        """Show what is wrong only."""
        self.happen(FaultsOnly())

    def action_widen(self) -> None:
        """Show every column."""
        self.happen(Widened())

    def action_sort_next(self) -> None:
        """Sort by the next column that is shown; after the last, as it came."""
        drawn, look = self.query_one(Table).drawn, self.state.look
        shown = drawn.fitted.shown
        at = shown.index(look.column) + 1 if look.column in shown else 0
        self.happen(Sorted(shown[at] if at < len(shown) else None))

    def action_sort_turn(self) -> None:
        """Sort the other way round."""
        if self.state.look.column is not None:
            self.happen(Turned())

    @on(DataTable.HeaderSelected)
    def _head_clicked(self, clicked: DataTable.HeaderSelected) -> None:
        column = column_of(self.query_one(Table).drawn, clicked.column_index)
        if column is not None:
            self.happen(Turned() if column == self.state.look.column else Sorted(column))

    def action_mark(self) -> None:
        """Mark the row of the cursor, and go on to the next."""
        table = self.query_one(Table)
        if table.cursor_key:
            self.happen(Marked(frozenset({table.cursor_key})))
            table.action_cursor_down()

    def action_mark_all(self) -> None:
        """Mark all rows that are shown."""
        self.happen(Marked(visible(self.query_one(Table).drawn.lines)))

    def action_copy(self) -> None:
        """Copy the id of the row to the terminal's clipboard."""
        key = self.query_one(Table).cursor_key
        if key:
            self.copy_to_clipboard(key.partition("|")[0])
            self.happen(Told(f"copied {key.partition('|')[0]}"))

    def action_look(self) -> None:
        """Look now."""
        self.happen(Told(""))
        self._wake.set()

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(Help(read_only=self.state.read_only))

    # ------------------------------------------------------------------ deeds

    def action_deed(self, key: str) -> None:
        """Ask for the count, then do it."""
        table = self.query_one(Table)
        wanted = deed(self.state, table.drawn.lines, table.cursor_key, key)
        if isinstance(wanted, Nothing):
            self.happen(Told(wanted.why))
            return
        self.push_screen(Confirm(wanted), self._if_confirmed(wanted))

    def _if_confirmed(self, wanted: Deed) -> Callable[[bool | None], None]:
        def answered(confirmed: bool | None) -> None:
            if confirmed:
                self._do(wanted)
            else:
                self.happen(Told("nothing was done"))

        return answered

    @work(group="deed")
    async def _do(self, wanted: Deed) -> None:
        self.happen(Told("…"))
        outcome = await self._poller.do(wanted)
        if isinstance(outcome, str):
            self.happen(Told(outcome))
            return
        self.happen(Acted(report(wanted, outcome)))
        self._wake.set()
