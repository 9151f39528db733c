"""What opens above the table: help, one thing in detail, and the question before something is
done."""

import asyncio
from collections.abc import Awaitable, Callable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from ops.tui.deeds import counted, question, shown_ids
from ops.tui.source import Deed, Verb

IDS_SHOWN = 6
LEAVES = [Binding("escape,q", "leave", "back")]
SCROLLS = [
    Binding("j", "scroll('down')", show=False),
    Binding("k", "scroll('up')", show=False),
    Binding("ctrl+d", "scroll('page_down')", show=False),
    Binding("ctrl+u", "scroll('page_up')", show=False),
    Binding("g", "scroll('home')", show=False),
    Binding("G", "scroll('end')", show=False),
]

HELP = (
    ("1-9, ← →, tab", "another tab; or click on it"),
    ("↑ ↓, j k, g G", "up, down, first, last; ctrl-d and ctrl-u by half a page"),
    ("enter", "all about it; of a group: open or close it"),
    ("/", "show what fits a word or regular expression; /! what does not; empty for all"),
    ("!", "show what is wrong only"),
    ("s, o", "sort by the next column, the other way round; or click on its head"),
    ("w", "every column at full width, or what fits"),
    ("space, a", "mark this one, all"),
    ("y", "copy the id to the clipboard"),
    ("r", "look again now"),
    ("esc", "back; or forget marks and filter"),
    ("q", "leave"),
)
DEEDS = (
    ("C", "cancel jobs or flows"),
    ("R", "run jobs or flows again, send callbacks again"),
    ("P", "promote delayed jobs; pause or resume streams and schedules"),
    ("D", "forget dead letters"),
    ("T", "trigger schedules"),
)
COLUMNS = (
    ("ACT/LIM", "running, of so many at once: limits of pools, and slots of living workers"),
    ("OLDEST", "the open time since the oldest waiting job became runnable; red: over its target"),
    ("IN/s OUT/s", "came in, and were started, over the last minute"),
    ("ETA", "until what waits now has started at this pace; + it grows, ∞ it stands"),
    ("PEND IDLE", "leases, and since when the most silent one was not renewed"),
    ("TREND", "what waited over the last five minutes"),
)


class Dialog(ModalScreen[bool]):
    """Something above the table; `esc` closes it."""

    BINDINGS = [*LEAVES, *SCROLLS]  # noqa: RUF012  # as Textual declares it

    def action_leave(self) -> None:
        """Close it."""
        self.dismiss(False)

    def action_scroll(self, way: str) -> None:
        """Scroll what does not fit."""
        for part in self.query(VerticalScroll):
            getattr(part, f"scroll_{way}")(animate=False)


class Help(Dialog):
    """The keys."""

    def __init__(self, *, read_only: bool) -> None:
        super().__init__()
        self._read_only = read_only

    def compose(self) -> ComposeResult:
        """The keys, what they do, and what the columns of the lanes mean."""
        with VerticalScroll(classes="dialog"):
            yield Static(self._said())

    def _said(self) -> RenderableType:
        off = " (off: read-only)" if self._read_only else ", after you type how many"
        return Group(
            Text("Keys", "bold"),
            _pairs(HELP),
            Text(f"\nCapital letters change things{off}", "bold"),
            _pairs(DEEDS),
            Text("\nColumns of the lanes", "bold"),
            _pairs(COLUMNS),
        )


class Detail(Dialog):
    """One thing, as it is at every look."""

    def __init__(self, read: Callable[[], Awaitable[RenderableType]], every_s: float) -> None:
        super().__init__()
        self._read = read
        self._every_s = every_s

    def compose(self) -> ComposeResult:
        """What is read."""
        with VerticalScroll(classes="dialog"):
            yield Static("…", id="detail")

    def on_mount(self) -> None:
        """Read it now, and again."""
        self._look()

    @work
    async def _look(self) -> None:
        # Asks whether it is still there: redis-py may lose a cancellation on Python 3.11.
        while self.is_attached:
            found = await self._read()
            for part in self.query(Static):  # none when it is being closed
                part.update(found)
            await asyncio.sleep(self._every_s)


class Confirm(Dialog):
    """Asks for the count before something is done."""

    BINDINGS = [Binding("escape", "leave", "back")]  # noqa: RUF012

    def __init__(self, deed: Deed) -> None:
        super().__init__()
        self._deed = deed

    def compose(self) -> ComposeResult:
        """What will be done to what, and a field for how many."""
        harsh = self._deed.verb in (Verb.CANCEL, Verb.PURGE)
        with Vertical(classes="dialog question"):
            yield Static(Text(question(self._deed), "bold red" if harsh else "bold"))
            yield Static(Text(shown_ids(self._deed.ids, IDS_SHOWN), "dim"))
            yield Static(
                f"Type {len(self._deed.ids)} and enter; esc leaves all as it is.", id="how"
            )
            yield Input(placeholder="how many", id="count", type="integer")

    @on(Input.Submitted, "#count")
    def _typed(self, submitted: Input.Submitted) -> None:
        if submitted.value.strip() == str(len(self._deed.ids)):
            self.dismiss(True)
        else:
            self.query_one("#count", Input).value = ""
            said = f"It is about {counted(self._deed)}: type {len(self._deed.ids)}, or esc."
            self.query_one("#how", Static).update(Text(said, "bold yellow"))


def _pairs(pairs: tuple[tuple[str, str], ...]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column()
    for key, what in pairs:
        table.add_row(key, what)
    return table
