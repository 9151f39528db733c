"""The tab of models: Ollama hosts, the models of each, and the processors that use them. Pure.

What is in memory, what waits and what comes next is now; asks, speed, loads and repairs are of
today, in UTC.
"""

from collections.abc import Sequence

from gateway.usage import UsageSum
from gateway.wire_overview import HostOverview, LaneOverview, OverviewView
from ops.tui.rows import Cell, Column, Grid, Row, number, text
from ops.tui.words import NONE, rate, span

COLUMNS = (
    Column("HOST / MODEL / PROCESSOR", flex=True, least=18),
    Column("MEMORY"),
    Column("WAIT", right=True),
    Column("ACT", right=True),
    Column("OLDEST", right=True),
    Column("IN/s", rank=3, right=True),
    Column("OUT/s", rank=2, right=True),
    Column("ASKS", rank=2, right=True),
    Column("TOK/s", right=True),
    Column("LOADS", rank=1, right=True),
    Column("LOAD", rank=1, right=True),
    Column("REPAIRED", rank=4, right=True),
    Column("NEXT", flex=True, least=10),
)
REPAIRED_MANY = 0.1  # of all asks


def grid(overview: OverviewView, used: Sequence[UsageSum]) -> Grid:
    """Ollama hosts with their models, and models that no host has."""
    lanes = [lane for one in overview.classes for lane in one.lanes if lane.model]
    rows = [_host(host, lanes, used) for host in overview.hosts]
    served = {model for host in overview.hosts for model in host.models}
    missing = sorted({lane.model for lane in lanes} - served)
    if missing:
        children = tuple(_model(model, None, lanes, used) for model in missing)
        cells = (text("on no host", "bold red"), *(text("") for _ in COLUMNS[1:]))
        rows.append(Row("none", cells, fault=True, children=children))
    return Grid(COLUMNS, tuple(rows), empty="no worker of class ollama lives")


def _host(host: HostOverview, lanes: Sequence[LaneOverview], used: Sequence[UsageSum]) -> Row:
    limit = "∞" if host.limit is None else host.limit
    swap = f"{host.next.model} {in_about(host.next.in_s)}" if host.next else ""
    return Row(
        key=host.worker,
        cells=(
            text(host.pool, "bold" if host.healthy else "bold red"),
            text(host.resident or "nothing", "" if host.resident else "dim"),
            text(""),
            Cell(f"{host.active}/{limit}", host.active),
            *(text("") for _ in range(8)),
            text(swap, "cyan"),
        ),
        fault=not host.healthy,
        children=tuple(_model(model, host, lanes, used) for model in host.models),
        text=host.worker,
    )


def _model(
    model: str,
    host: HostOverview | None,
    lanes: Sequence[LaneOverview],
    used: Sequence[UsageSum],
) -> Row:
    own = [lane for lane in lanes if lane.model == model]
    sums = [one for one in used if one.model == model]
    resident = host is not None and host.resident == model
    swaps = host is not None and host.next is not None and host.next.model == model
    seconds = host.next.in_s if host is not None and host.next is not None else None
    key = f"{host.worker if host else ''}|{model}"
    names = sorted({lane.processor for lane in own} | {one.processor or "" for one in sums})
    return Row(
        key=key,
        cells=(
            text(model),
            text("●" if resident else "", "green"),
            *_standing(own),
            *_used(sums),
            text(in_about(seconds) if swaps else "", "cyan"),
        ),
        fault=host is None and any(lane.waiting for lane in own),
        children=tuple(_processor(f"{key}|{name}", name, own, sums) for name in names),
    )


def _processor(key: str, name: str, lanes: Sequence[LaneOverview], used: Sequence[UsageSum]) -> Row:
    own = [lane for lane in lanes if lane.processor == name]
    sums = [one for one in used if one.processor == name]
    cells = (text(name, "dim"), text(""), *_standing(own), *_used(sums), text(""))
    return Row(key=key, cells=cells)


def _standing(lanes: Sequence[LaneOverview]) -> list[Cell]:
    """What waits and runs now, and how fast it goes."""
    waiting = sum(lane.waiting for lane in lanes)
    oldest = max((lane.oldest_age_s for lane in lanes if lane.waiting), default=-1.0)
    came = sum(lane.in_per_s for lane in lanes)
    went = sum(lane.out_per_s for lane in lanes)
    return [
        number(waiting),
        number(sum(lane.active for lane in lanes)),
        Cell(span(oldest) if waiting else NONE, oldest, "" if waiting else "dim"),
        Cell(rate(came), came, "" if came else "dim"),
        Cell(rate(went), went, "" if went else "dim"),
    ]


def _used(sums: Sequence[UsageSum]) -> list[Cell]:
    """What was asked today: how often, how fast, how many loads of what length, what was mended."""
    asks, repairs = sum(one.asks for one in sums), sum(one.repairs for one in sums)
    eval_s = sum(one.eval_s for one in sums)
    speed = sum(one.completion_tokens for one in sums) / eval_s if eval_s else 0.0
    loads = sum(one.swaps for one in sums)
    load_s = sum(one.load_s for one in sums) / loads if loads else 0.0
    share = repairs / asks if asks else 0.0
    return [
        number(asks),
        Cell(f"{speed:.1f}" if speed else NONE, speed, "" if speed else "dim"),
        number(loads),
        Cell(span(load_s) if loads else NONE, load_s, "" if loads else "dim"),
        Cell(
            f"{share:.0%}" if repairs else NONE,
            share,
            "yellow" if share > REPAIRED_MANY else "" if repairs else "dim",
        ),
    ]


def in_about(seconds: float | None) -> str:
    """When a swap comes."""
    if seconds is None:
        return "some time"
    return f"in ~{span(seconds)}" if seconds else "next"
