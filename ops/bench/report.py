"""The figures of a measurement as a person reads them, each with what it says."""

from rich.console import Console
from rich.table import Table

from ops.bench.run import Figures


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
