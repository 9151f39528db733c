"""`python -m ops.bench`: the measurement without the rest of the command line."""

import sys

import click
import msgspec
from rich.console import Console

from ops.bench.report import show
from ops.bench.run import run


@click.command(
    help="Measure this machine: no-op jobs through a real worker on a private Redis.",
    epilog="\b\nExamples:\n  roughneck bench\n  roughneck bench --slots 10 --aof -o json",
)
@click.option("--jobs", default=20_000, show_default=True, help="Waiting jobs per measurement.")
@click.option("--slots", default="1,10,100", show_default=True, help="Slots, one run each.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; medians are printed.")
@click.option("--aof/--no-aof", default=False, help="With the append-only file, every second.")
@click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", help="How to print."
)
def bench(jobs: int, slots: str, rounds: int, aof: bool, output: str) -> None:
    """Run the measurement and print it."""
    progress = Console(stderr=True)
    figures = run(
        jobs=jobs,
        slots=[int(count) for count in slots.split(",")],
        rounds=rounds,
        append_only=aof,
        say=progress.print,
    )
    if output == "json":
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(figures)) + b"\n")
    else:
        show(figures, Console())


if __name__ == "__main__":
    bench()
