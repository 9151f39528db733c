"""`python -m ops.bench`: the measurement without the rest of the command line."""

import sys
from typing import Any

import click
import msgspec
from rich.console import Console

from ops.bench.dispatch import Compared, compare
from ops.bench.figures import Report
from ops.bench.policies import POLICIES
from ops.bench.report import show, show_dispatch
from ops.bench.run import Say, run
from ops.bench.suites import Size, suites

NAMES = tuple(suites(Size()))
QUICK = ("drain", "enqueue", "latency", "memory")


@click.command(
    help="Measure this machine: no-op jobs, real workers and gateways, a private Redis.\n\n"
    "With --dispatch, compare rules for the order of work, over a day of it against a simulated "
    "Ollama on a fast clock: first come first served, strict priority, draining each model, and "
    "ours.",
    epilog="\b\nExamples:\n  roughneck bench\n  roughneck bench --suite all --rounds 5 -o json\n"
    "  roughneck bench --suite drain --suite http --aof\n  roughneck bench --slots 10 --rounds 1\n"
    "  roughneck bench --dispatch\n  roughneck bench --dispatch --hours 4 --speed 200 --one-by-one",
)
@click.option(
    "--suite",
    "names",
    multiple=True,
    type=click.Choice([*NAMES, "all"]),
    help=f"What to measure; repeat it. Default: {', '.join(QUICK)}.",
)
@click.option("--jobs", type=click.IntRange(1_000), default=20_000, show_default=True, help="Jobs.")
@click.option("--slots", default="1,10,100", show_default=True, help="Of drain, one run each.")
@click.option(
    "--seconds", type=click.IntRange(1), default=10, show_default=True, help="Of latency and idle."
)
@click.option(
    "--backlog",
    type=click.IntRange(1_000),
    default=1_000_000,
    show_default=True,
    help="Jobs that wait meanwhile, at most; a million takes about a GB.",
)
@click.option(
    "--rounds", type=click.IntRange(1), default=3, show_default=True, help="Medians are printed."
)
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

    def say(said: str) -> None:
        progress.print(said, style="dim", highlight=False)

    found = _dispatch(say, **given) if dispatch else _suites(say, **given)
    if output == "json":
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    elif isinstance(found, Compared):
        show_dispatch(found, Console())
    else:
        show(found, Console())


def _suites(say: Say, *, names: tuple[str, ...], rounds: int, aof: bool, **given: Any) -> Report:
    size = Size(given["jobs"], slots_of(given["slots"]), given["seconds"], given["backlog"])
    found = suites(size)
    chosen = NAMES if "all" in names else names or QUICK
    picked = {name: found[name] for name in NAMES if name in chosen}
    return run(picked, rounds=rounds, append_only=aof, say=say)


def _dispatch(
    say: Say, *, policies: tuple[str, ...], hours: float, load: float, **given: Any
) -> Compared:
    return compare(
        policies=policies or POLICIES,
        hours=hours,
        load=load,
        speed=given["speed"],
        at_once=given["at_once"],
        say=say,
    )


def slots_of(given: str) -> tuple[int, ...]:
    """The numbers of `1,10,100`. Raises UsageError."""
    try:
        found = tuple(int(each) for each in given.split(","))
    except ValueError:
        found = ()
    if not found or not all(1 <= each <= 1_000 for each in found):
        raise click.BadParameter("numbers from 1 to 1,000, a comma between", param_hint="--slots")
    return found


if __name__ == "__main__":
    bench()
