"""The figures of a measurement as a person reads them, each with what it says."""

from rich.console import Console
from rich.table import Table

from ops.bench.dispatch import Compared
from ops.bench.replay import Replayed, Waits
from ops.bench.run import Figures
from streams.model import Priority


def show(figures: Figures, console: Console) -> None:
    """Print tables."""
    log = "append-only file, fsync every second" if figures.append_only else "no append-only file"
    drained = Table(title=f"Waiting no-op jobs, one worker process (Redis {figures.redis_version})")
    for column in ("slots", "jobs/s", "worker CPU s/1k", "Redis CPU s/1k", "worker MB"):
        drained.add_column(column, justify="right")
    for row in figures.drains:
        drained.add_row(
            str(row.slots),
            f"{row.jobs_per_s:,.0f}",
            f"{row.worker_cpu_s_per_1k:.3f}",
            f"{row.redis_cpu_s_per_1k:.3f}",
            f"{row.worker_mb:.0f}",
        )
    console.print(drained)
    other = Table(show_header=False)
    other.add_row("enqueue in batches of 1,000", f"{figures.enqueue_bulk_per_s:,.0f} jobs/s")
    other.add_row(
        "Redis memory per waiting job, 200-byte payload",
        f"{figures.bytes_per_waiting_job:,.0f} bytes",
    )
    other.add_row(
        f"enqueue to start at 100 jobs/s ({figures.latency_jobs:,} jobs)",
        f"p50 {figures.latency_p50_ms:.1f} ms, p99 {figures.latency_p99_ms:.1f} ms",
    )
    console.print(other)
    console.print(f"Results and events kept, every write fenced; {log}; Redis on a unix socket.")


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
