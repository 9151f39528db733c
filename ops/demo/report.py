"""What the demo prints: steps and progress while it runs, then what came of it."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ops.demo.history import History, percentile
from streams.model import ResourceClass, State

WIDTH = 100  # off a terminal
QUESTION_WIDTH = 45
PLAIN_EVERY_S = 2.0
COLUMNS = (State.WAITING, State.DELAYED, State.ACTIVE, State.SUCCEEDED, State.DEAD)
STYLES = {State.ACTIVE: "cyan", State.SUCCEEDED: "green", State.DEAD: "red"}


class Figures(msgspec.Struct, frozen=True):
    """The summary's figures that stand in no history."""

    jobs: int
    stages: int  # jobs of the flow among them
    repeated: int  # submits sent twice with one idempotency key
    attempts: int
    dead: int
    dead_planned: int
    fenced: int
    callbacks: int
    duplicates: int
    took_s: float


class Report:
    """Writes to `console`: live on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._began = time.monotonic()
        self._said_at = 0.0
        self._live = Live(console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> "Report":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def step(self, sentence: str, style: str = "") -> None:
        """Say what happens now."""
        line = Text.assemble((f"{self.elapsed_s:5.1f} s  ", "dim"), (sentence, style))
        self.console.print(line, soft_wrap=not self.console.is_terminal)

    def progress(self, history: History, submitted: int, callbacks: int) -> None:
        """Show where the jobs stand."""
        if self.console.is_terminal:
            self._live.update(_board(history, submitted, callbacks))
        elif self.elapsed_s - self._said_at >= PLAIN_EVERY_S and submitted:
            self._said_at = self.elapsed_s
            self.step(_line(history, submitted, callbacks))

    def pages(self, results: Sequence[Mapping[str, Any]]) -> None:
        """What was read from the event pages."""
        table = Table(title="Read from the pages", title_justify="left", box=None, pad_edge=False)
        for column in ("title", "start", "venue", "price", "status", "from"):
            table.add_column(column, overflow="fold", header_style="bold")
        for result in results:
            table.add_row(*_page_row(result["event"], result["provenance"]))
        self.console.print("", table)

    def answers(self, pairs: Sequence[tuple[str, str]], source: str) -> None:
        """What the model said."""
        table = Table(title=f"Said by {source}", title_justify="left", box=None, pad_edge=False)
        for column, width in (("question", QUESTION_WIDTH), ("answer", None)):
            table.add_column(column, min_width=width, no_wrap=True, header_style="bold")
        for question, answer in pairs:
            table.add_row(Text(question), Text(" ".join(answer.split())))
        self.console.print("", table)

    def newsletter(self, rows: Sequence[tuple[str, str]]) -> None:
        """What the newsletter holds; the last row is where it is."""
        table = Table(
            title="The newsletter",
            title_justify="left",
            box=None,
            show_header=False,
            pad_edge=False,
        )
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for name, value in rows[:-1]:
            table.add_row(name, Text(value))
        self.console.print("", table)
        name, place = rows[-1]  # not in the table: a path that is folded cannot be clicked
        self.console.print(Text.assemble((f"{name}    ", "bold"), place), soft_wrap=True)

    def summary(self, history: History, figures: Figures) -> None:
        """What it took."""
        table = Table(
            title="Summary", title_justify="left", box=None, show_header=False, pad_edge=False
        )
        table.add_column(style="bold")
        table.add_column()
        for name, value in _summary_rows(history, figures):
            table.add_row(name, value)
        self.console.print("", table)

    def verdict(self, findings: Sequence[str]) -> None:
        """Whether all is well, and what is not."""
        self.console.print()
        if not findings:
            self.console.print(Text("Nothing was lost and nothing was done twice.", "bold green"))
        for sentence in findings:
            self.console.print(Text.assemble(("wrong: ", "bold red"), sentence))


def console() -> Console:
    """Standard output; colour and movement on a terminal only."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=WIDTH, no_color=True, highlight=False)


def _board(history: History, submitted: int, callbacks: int) -> Group:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("class", width=12)
    for state in COLUMNS:
        table.add_column(state, justify="right", width=9)
    states = history.states()
    for name in ResourceClass:
        counts = [(states.get((name, state), 0), STYLES.get(state, "")) for state in COLUMNS]
        cells = [Text(str(count), style if count else "dim") for count, style in counts]
        table.add_row(name, *cells)
    bar = Table.grid(padding=(0, 1))
    done = history.ended()
    submitted = max(submitted, len(history.courses))
    bar.add_row(
        ProgressBar(total=max(1, submitted), completed=done, width=40),
        f"{done} of {submitted} jobs ended, {callbacks} callbacks received",
    )
    return Group("", table, bar)


def _line(history: History, submitted: int, callbacks: int) -> str:
    states = history.states()
    active = {name: states.get((name, State.ACTIVE), 0) for name in ResourceClass}
    running = ", ".join(f"{count} {name}" for name, count in active.items() if count)
    return (
        f"{history.ended()} of {max(submitted, len(history.courses))} jobs ended, "
        f"running: {running or 'none'}, {callbacks} callbacks received"
    )


def _page_row(event: Mapping[str, Any], provenance: Mapping[str, str]) -> list[Text]:
    start = str(event["start_local"] or "").replace("T", " ")[:16]
    sources = sorted({provenance[name] for name in SHOWN if name in provenance})
    cells = (event["title"], start, event["venue_name"], _price(event), event["status"])
    style = "red" if event["status"] == "cancelled" else ""
    return [Text(str(cell or "–"), style) for cell in (*cells, "+".join(sources))]


SHOWN = ("title", "start_local", "venue_name", "price_min_dkk", "is_free", "status")


def _price(event: Mapping[str, Any]) -> str:
    if event["is_free"]:
        return "free"
    low, high = event["price_min_dkk"], event["price_max_dkk"]
    if low is None:
        return ""
    return f"{low:g} kr." if high in (None, low) else f"{low:g}–{high:g} kr."


def _summary_rows(history: History, figures: Figures) -> list[tuple[str, str]]:
    return [
        ("jobs", f"{figures.jobs}, {figures.repeated} of them submitted twice under one key"),
        ("flows", f"1, of {figures.stages} more jobs"),
        ("attempts", str(figures.attempts)),
        ("reclaimed", f"{history.reclaimed} attempts of workers that fell silent"),
        ("fenced", f"{figures.fenced} late attempts that changed nothing"),
        ("handed back", f"{history.handed_back} by a worker told to stop"),
        ("retries", str(history.retries)),
        ("dead letters", f"{figures.dead}, {figures.dead_planned} of them on purpose"),
        (
            "callbacks",
            f"{figures.callbacks} verified; {figures.duplicates} came again, same id, same bytes",
        ),
        ("wait", _spread(history.waits_ms)),
        ("run", _spread(history.runs_ms)),
        ("took", f"{figures.took_s:.1f} s"),
    ]


def _spread(values: Sequence[int]) -> str:
    return f"p50 {percentile(values, 0.5)} ms, p99 {percentile(values, 0.99)} ms"
