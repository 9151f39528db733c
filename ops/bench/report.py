"""The figures of a measurement as a person reads them, each with what it says."""

from rich.console import Console
from rich.table import Table

from ops.bench.dispatch import Compared
from ops.bench.figures import Report
from ops.bench.replay import Replayed, Waits
from streams.model import Priority


def show(report: Report, console: Console) -> None:
    """Print a table for each suite."""
    for name, rows in report.suites.items():
        table = Table(title=name, title_justify="left", title_style="bold")
        table.add_column("figure")
        table.add_column("median", justify="right")
        if report.rounds > 1:
            table.add_column("lowest to highest", justify="right")
        table.add_column("what it is", style="dim")
        for row in rows:
            cells = [row.name, f"{number(row.median)} {row.unit}"]
            if report.rounds > 1:
                cells.append(f"{number(row.lowest)} to {number(row.highest)}")
            table.add_row(*cells, row.says)
        console.print(table)
    log = "append-only file, fsync each second" if report.append_only else "no append-only file"
    console.print(
        f"roughneck {report.version}, Redis {report.redis_version} on a Unix socket ({log}), "
        f"Python {report.python_version}, {report.cores} cores; {report.rounds} rounds. "
        f"Others kept {report.other_cores:.1f} cores busy (median of the suites): figures in CPU "
        "seconds suffer least from that. Results and events are kept, every write is fenced."
    )


def number(value: float) -> str:
    """Three or so digits, as many as mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def show_dispatch(compared: Compared, console: Console) -> None:
    """Print the table of policies, and what an outage does."""
    title = f"{compared.hours:g} h of work; without loads it takes {compared.load:.0%} of the time"
    table = Table(title=title)
    table.add_column("policy")
    for column in ("done/h", "swaps/h", "loading", *(f"{one} p50 / p99" for one in Priority)):
        table.add_column(column, justify="right")
    for row in compared.policies:
        table.add_row(*dispatch_cells(row))
    console.print(table)
    outage = compared.outage
    console.print(
        f"After {outage.hours:g} h without a worker, {outage.backlog:,} jobs behind: an urgent job "
        f"that comes with its return waits {outage.first_s:.0f} s, one five minutes later "
        f"{outage.later_s:.0f} s."
    )
    beside = max((row.beside_s for row in compared.policies), default=0.0)
    console.print(
        f"Waits are in seconds, from submit to the start of the answer, loads included. At "
        f"{compared.speed:g} times the clock the platform itself took up to {beside:.1f} s a job."
    )


def dispatch_cells(row: Replayed) -> list[str]:
    """One policy's line."""
    waits = [_pair(row.waits.get(priority)) for priority in Priority]
    rates = [f"{row.done_per_h:.1f}", f"{row.swaps_per_h:.1f}", f"{row.swap_share:.1%}"]
    return [row.policy, *rates, *waits]


def _pair(waits: Waits | None) -> str:
    return f"{waits.p50_s:,.0f} / {waits.p99_s:,.0f}" if waits else ""
