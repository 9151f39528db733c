"""`python -m ops.bench`: the measurement without the rest of the command line."""

import sys
from typing import Any

import click
import msgspec
from rich.console import Console

from ops.bench.dispatch import Compared, compare
from ops.bench.policies import POLICIES
from ops.bench.report import show, show_dispatch
from ops.bench.run import Figures, run


@click.command(
    help="Measure this machine: no-op jobs through a real worker on a private Redis.\n\nWith "
    "--dispatch, compare rules for the order of work, over a day of it against a simulated Ollama "
    "on a fast clock: first come first served, strict priority, draining each model, and ours.",
    epilog="\b\nExamples:\n  roughneck bench\n  roughneck bench --slots 10 --aof -o json\n"
    "  roughneck bench --dispatch\n  roughneck bench --dispatch --hours 4 --speed 200 --one-by-one",
)
@click.option("--jobs", default=20_000, show_default=True, help="Waiting jobs per measurement.")
@click.option("--slots", default="1,10,100", show_default=True, help="Slots, one run each.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; medians are printed.")
@click.option("--aof/--no-aof", default=False, help="With the append-only file, every second.")
@click.option("--dispatch", is_flag=True, help="Compare dispatch rules.")
@click.option("--policy", "policies", multiple=True, type=click.Choice(POLICIES), help="Only this.")
@click.option("--hours", default=24.0, show_default=True, help="Of work, on the simulated clock.")
@click.option("--load", default=0.65, show_default=True, help="Share of time, loads left out.")
@click.option("--speed", default=100.0, show_default=True, help="Of the clock; too fast distorts.")
@click.option("--at-once/--one-by-one", default=True, help="All policies side by side.")
@click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", help="How to print."
)
def bench(output: str, dispatch: bool, **given: Any) -> None:
    """Run the measurement and print it."""
    progress = Console(stderr=True)
    figures = _dispatch(progress, **given) if dispatch else _engine(progress, **given)
    if output == "json":
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(figures)) + b"\n")
    elif isinstance(figures, Compared):
        show_dispatch(figures, Console())
    else:
        show(figures, Console())


def _engine(
    progress: Console, *, jobs: int, slots: str, rounds: int, aof: bool, **_: Any
) -> Figures:
    return run(
        jobs=jobs,
        slots=[int(count) for count in slots.split(",")],
        rounds=rounds,
        append_only=aof,
        say=progress.print,
    )


def _dispatch(
    progress: Console, *, policies: tuple[str, ...], hours: float, load: float, **given: Any
) -> Compared:
    return compare(
        policies=policies or POLICIES,
        hours=hours,
        load=load,
        speed=given["speed"],
        at_once=given["at_once"],
        say=progress.print,
    )


if __name__ == "__main__":
    bench()
