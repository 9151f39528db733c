"""The screen as a function of the state: header, tabs, table, causes. Pure; rich texts only."""

from collections.abc import Callable, Mapping
from typing import Any

from rich.text import Text

from gateway.wire_overview import HostOverview, OverviewView
from ops.tui import lanes, models, tabs, trees
from ops.tui.lanes import Cause
from ops.tui.models import in_about
from ops.tui.rows import Fitted, Grid, Line, filtered, fitted, lines_of, ordered
from ops.tui.state import TABS, State, Tab
from ops.tui.words import size, span

STALE_S = 6.0  # a picture that is older than three looks is said to be old
LINK_SLOW_MS = 50.0
FULL, FULLER = 0.7, 0.9  # of Redis' memory
NARROW = 90
CAUSES_MAX = 4
ONE_LINE = 110  # a cause has one line from this width on

GOOD = {"ok": "green", "spooling": "yellow"}
TITLES = {tab: str(tab).capitalize() for tab in TABS}


def grid_of(state: State, width: int) -> Grid | None:
    """The table of the tab that is shown; None while nothing of it has come."""
    overview, data = state.overview, state.data.get(state.tab)
    match state.tab:
        case Tab.LANES:
            return lanes.grid(overview, width) if overview else None
        case Tab.MODELS:
            return models.grid(overview, data or ()) if overview else None
        case Tab.EVENTS:
            return tabs.events(overview.events) if overview else None
    return None if data is None else _MADE[state.tab](data, state.now_ms)


_MADE: Mapping[Tab, Callable[[Any, int], Grid]] = {
    Tab.JOBS: tabs.jobs,
    Tab.WORKERS: tabs.workers,
    Tab.CALLBACKS: tabs.callbacks,
    Tab.FLOWS: trees.flows,
    Tab.SCHEDULES: tabs.schedules,
    Tab.DEAD: trees.dead_letters,
}
CLOSED = frozenset({Tab.DEAD})  # whose rows are closed until somebody opens them


def lines(state: State, grid: Grid) -> list[Line]:
    """The rows to show, as filter, order and what is open make of them."""
    look = state.look
    rows = filtered(grid.rows, look.filter, faults=state.faults_only)
    if look.column is not None:
        rows = ordered(rows, look.column, descending=look.descending)
    begins_closed = state.tab in CLOSED and not look.filter
    return lines_of(rows, lambda key: (key in look.toggled) != begins_closed)


def fit(state: State, grid: Grid, found: list[Line], width: int) -> Fitted:
    """The columns to show."""
    return fitted(grid.columns, found, width, wide=state.wide)


# ---------------------------------------------------------------------- header


def header(state: State, width: int) -> Text:
    """Two lines: what everything stands on, and the models."""
    overview = state.overview
    first = Text(" ")
    gateway = state.surroundings.gateway
    _fact(first, "gateway", gateway, GOOD.get(gateway, "dim" if gateway == "?" else "red"))
    if overview is None:
        first.append(f"  {state.where}", "dim")
        return Text("\n").join((first, Text(" waiting for the first picture", "dim")))
    _fact(first, "redis", *_memory(overview))
    link = overview.redis.link_ms
    _fact(first, "link", f"{link:.1f} ms", "yellow" if link > LINK_SLOW_MS else "green")
    spooled = state.surroundings.spooled
    if overview.journal is not None:
        spooled = overview.journal.rows
    _fact(first, "spool", "?" if spooled is None else f"{spooled:,}", "yellow" * bool(spooled))
    _fact(first, "workers", str(overview.workers), "" if overview.workers else "red")
    dead = overview.dead_letters
    _fact(first, "dead", f"{dead:,}", "red" if dead else "dim")
    second = Text(" ").append_text(_ollama(overview, width))
    return Text("\n").join((_ended(first, state, width), second))


def _fact(line: Text, name: str, value: str, style: str) -> None:
    line.append(f"{name} ", "dim")
    line.append(value, style)
    line.append("  ")


def _memory(overview: OverviewView) -> tuple[str, str]:
    used, limit = overview.redis.used_bytes, overview.redis.limit_bytes
    if limit is None:
        return size(used), "green"
    share = used / limit
    style = "red" if share > FULLER else "yellow" if share > FULL else "green"
    return f"{size(used)} of {size(limit)}", style


def _ollama(overview: OverviewView, width: int) -> Text:
    found = Text("ollama ", "dim")
    if not overview.hosts:
        return found.append("no worker", "dim")
    for at, host in enumerate(overview.hosts):
        found.append("   " if at else "")
        found.append_text(_host(host, named=len(overview.hosts) > 1))
    found.truncate(width - 2, overflow="ellipsis")
    return found


def _host(host: HostOverview, *, named: bool) -> Text:
    said = Text(f"{host.pool.partition('@')[2]} " if named else "", "dim")
    said.append("ok " if host.healthy else "failing ", "green" if host.healthy else "red")
    said.append(host.resident or "nothing in memory", "bold" if host.resident else "dim")
    if host.next is not None:
        said.append(" then ", "dim")
        said.append(f"{host.next.model} {in_about(host.next.in_s)}", "cyan")
    return said


def _ended(line: Text, state: State, width: int) -> Text:
    """The line with the age of the picture at its end, where it is old or does not come."""
    old_s = (state.now_ms - state.seen_ms) / 1_000
    if state.read_only:
        line.append("read-only  ", "dim")
    if state.troubles.get("", "") or old_s > STALE_S:
        tail = Text(f"as it was {span(old_s)} ago ", "bold yellow")
        line.truncate(max(0, width - len(tail)), overflow="ellipsis", pad=True)
        line.append_text(tail)
    return line


# ---------------------------------------------------------------------- tabs, causes, foot


def tab_bar(state: State, width: int) -> Text:
    """The tabs with their numbers; each can be clicked."""
    bar = Text(" ")
    for at, tab in enumerate(TABS, 1):
        shown = tab is state.tab
        label = f"{at}{' ' if width >= NARROW else ''}{TITLES[tab]}"
        style = "reverse bold" if shown else "bold red" if _alarming(state, tab) else ""
        bar.append(f" {label} " if shown or width >= NARROW else label, style=style)
        bar.apply_meta({"tab": str(tab)}, len(bar) - len(label) - 2, len(bar))
        bar.append(" ")
    return bar


def _alarming(state: State, tab: Tab) -> bool:
    overview = state.overview
    if overview is None:
        return False
    if tab is Tab.DEAD:
        return bool(overview.dead_letters)
    return tab is Tab.LANES and any(cause.stops for cause in lanes.causes(overview))


def causes(state: State, width: int) -> list[Cause]:
    """What holds lanes up, for the tab of the lanes; as many as there is room for."""
    if state.tab is not Tab.LANES or state.overview is None:
        return []
    return lanes.causes(state.overview)[: CAUSES_MAX if width >= ONE_LINE else CAUSES_MAX // 2]


def causes_text(found: list[Cause]) -> Text:
    """The causes, one below the other."""
    said = [
        Text.assemble(
            (" ! " if cause.stops else " ~ ", "bold red" if cause.stops else "bold yellow"),
            (f"{cause.lane}  ", "bold"),
            cause.sentence,
        )
        for cause in found
    ]
    return Text("\n").join(said)


def foot(state: State, keys: str) -> Text:
    """The last line: trouble, what was said, what narrows the table, or the keys."""
    if state.trouble:
        return Text(f" {state.trouble}", "bold red", no_wrap=True, overflow="ellipsis")
    look = state.look
    narrowed = [f"/{look.filter}"] if look.filter else []
    narrowed += ["faults only"] if state.faults_only else []
    narrowed += [f"{len(look.marked)} marked"] if look.marked else []
    line = Text(" ", no_wrap=True, overflow="ellipsis")
    if narrowed:
        line.append(f"{'  '.join(narrowed)}  ", "bold cyan")
    if state.said:
        return line.append(state.said, "bold")
    return line.append(keys, "dim")
