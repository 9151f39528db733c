"""Scripts with one fault each, which the machine must find: `python -m tests.model.mutants`.

A mutant that survives is a hole in the machine. `--only NAME` runs some of them, `--redis 6.2` on
another server; each seed is EXAMPLES runs of the machine.
"""

import argparse
import io
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.errors import Flaky
from hypothesis.internal.conjecture import engine
from hypothesis.stateful import run_state_machine_as_test
from rich.console import Console
from rich.table import Table as Lines

from ops.redis_binary import installed
from streams.scripts import read_sources
from tests.model.link import Link
from tests.model.machine import Machine
from tests.support.redis_server import RedisServer

TABLE = Path(__file__).parent / "mutants.txt"
EXAMPLES, STEPS = 40, 30  # of one seed
SHRINK_S = 15
RULE = re.compile(r"^.*state\.(\w+)\(", re.MULTILINE)
NO_RULES = {"begin", "everything_holds", "teardown"}


class Mutant(msgspec.Struct, frozen=True):
    """A fault in one script: `old` stands there exactly once and becomes `new`."""

    name: str
    script: str
    old: str
    new: str

    def sources(self) -> Mapping[str, str]:
        """All scripts, this one with its fault. Raises ValueError when `old` is not there."""
        sources = read_sources()
        if sources[self.script].count(self.old) != 1:
            raise ValueError(f"{self.name}: not exactly once in {self.script}.lua: {self.old!r}")
        return {**sources, self.script: sources[self.script].replace(self.old, self.new)}


class Outcome(msgspec.Struct, frozen=True):
    """What became of a mutant: how many rules the smallest example has, and what it broke."""

    killed: bool
    seconds: float
    seed: int = -1
    rules: int = 0
    by: str = ""


def parse(table: str) -> Iterator[Mutant]:
    """The mutants of a table in the form of mutants.txt."""
    for block in table.split("\n== ")[1:]:
        title, *lines = block.splitlines()
        name, _, script = title.rpartition(": ")
        old, new = ("\n".join(line[2:] for line in lines if line.startswith(sign)) for sign in "-+")
        yield Mutant(name, script, old, new)


MUTANTS = list(parse(TABLE.read_text("utf-8")))


def hunt(mutant: Mutant, url: str, seeds: range, *, shrink: bool) -> Outcome:
    """Run the machine against a mutant, seed after seed, until it is found."""
    began = time.monotonic()
    with mutated(mutant, url) as machine:
        for number in seeds:
            try:
                with redirect_stdout(io.StringIO()):  # Hypothesis complains that shrinking is slow
                    run_state_machine_as_test(
                        seed(number)(machine), settings=profile(shrink=shrink)
                    )
            except Flaky:
                continue  # a find that cannot be repeated is none
            except Exception as error:  # whatever the fault makes the machine stumble over
                rules = [rule for rule in RULE.findall(notes(error)) if rule not in NO_RULES]
                seconds = time.monotonic() - began
                return Outcome(True, seconds, number, len(rules), first_line(error))
    return Outcome(False, time.monotonic() - began)


@contextmanager
def mutated(mutant: Mutant, url: str) -> Iterator[type[Machine]]:
    """The machine over scripts with this fault."""

    class OverMutant(Machine):
        link = Link(url, mutant.sources())

    yield OverMutant
    OverMutant.link.close()


def profile(shrink: bool) -> settings:
    """One seed's run."""
    return settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
    )


def notes(error: BaseException) -> str:
    """Hypothesis' account of the example."""
    return "\n".join(getattr(error, "__notes__", ()))


def first_line(error: BaseException) -> str:
    """What the machine saw, shortly."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:60]


def main() -> int:
    """0 when every mutant was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.model.mutants", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="to try for each mutant")
    parser.add_argument("--only", default="", help="those whose name contains this")
    parser.add_argument("--redis", default="", help="a version, such as 6.2")
    parser.add_argument("--seed", type=int, default=0, help="the first seed of each")
    given = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if given.only in mutant.name]
    binary = next(each for each in installed() if each.label.startswith(given.redis))
    seeds = range(given.seed, given.seed + given.seeds)
    assert engine.MAX_SHRINKING_SECONDS > SHRINK_S
    engine.MAX_SHRINKING_SECONDS = SHRINK_S  # its own five minutes for each are too many
    server, console = RedisServer(binary), Console()
    table = Lines("mutant", "", "seed", "rules", "seconds", "found by", title=f"{binary.label}")
    survived = 0
    try:
        for number, mutant in enumerate(chosen, 1):
            found = hunt(mutant, server.url, seeds, shrink=True)
            survived += not found.killed
            fate = "killed" if found.killed else "SURVIVED"
            console.print(f"{number} of {len(chosen)}: {mutant.name}: {fate}", style="dim")
            row = [f"{found.seed}", f"{found.rules}", f"{found.seconds:.1f}", found.by]
            table.add_row(mutant.name, fate, *row)
    finally:
        server.stop()
        console.print(table)
    console.print(f"{len(chosen) - survived} of {len(chosen)} killed")
    return min(survived, 1)


if __name__ == "__main__":
    sys.exit(main())
