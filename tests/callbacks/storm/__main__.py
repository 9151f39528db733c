"""`python -m tests.callbacks.storm --callbacks 10000 --failing 0.3 --seed 1`."""

import argparse
import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

from tests.callbacks.storm.pace import Pace, pace
from tests.callbacks.storm.storm import Outcome, storm

SLOWER_MAX = 1.10


def main() -> int:
    """Run both parts and print what was seen; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.callbacks.storm")
    parser.add_argument("--callbacks", type=int, default=10_000, help="0: no storm")
    parser.add_argument("--failing", type=float, default=0.3, help="share of the receivers")
    parser.add_argument("--endpoints", type=int, default=40)
    parser.add_argument("--kills", type=int, default=2, help="couriers killed on the way")
    parser.add_argument("--rounds", type=int, default=14, help="of measuring the pace; 0: none")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rn-storm-") as name:
        folder, wrong = Path(name), []
        if given.callbacks:
            outcome = asyncio.run(
                storm(
                    *(folder, given.callbacks, given.failing, given.seed),
                    endpoints=given.endpoints,
                    kills=given.kills,
                )
            )
            wrong = tell(outcome, given.callbacks, given.seed)
        if given.rounds:
            measured = asyncio.run(pace(folder, given.seed, rounds=given.rounds))
            wrong += tell_pace(measured)
    for sentence in wrong:
        print(f"WRONG: {sentence}")
    return 1 if wrong else 0


def tell(outcome: Outcome, callbacks: int, seed: int) -> list[str]:
    """Print a storm; what was wrong."""
    tempers = ", ".join(f"{count} {temper}" for temper, count in outcome.tempers.most_common())
    attempts = sum(attempts for attempts, _, _ in outcome.seen.values())
    print(f"storm, seed {seed}: {callbacks} callbacks to {sum(outcome.tempers.values())} endpoints")
    print(f"  endpoints          {tempers}")
    print(f"  delivered          {len(outcome.delivered)}")
    print(f"  dead letters       {len(outcome.dead)}, each with a reason:")
    for reason, count in outcome.reasons.most_common():
        print(f"    {count:6}  {reason}")
    print(f"  attempts received  {attempts}, {outcome.forged} not verified by standardwebhooks")
    print(f"  couriers killed    {outcome.kills}")
    print(f"  accepted again     {outcome.twice}, same id and same bytes")
    print(f"  took               {outcome.took_s:.1f} s")
    return outcome.wrong(callbacks)


def tell_pace(measured: Pace) -> list[str]:
    """Print the pace; what was wrong."""
    alone, beside = statistics.median(measured.alone_s), statistics.median(measured.beside_s)
    print(
        f"pace of 8 healthy endpoints: {len(measured.alone_s)} rounds of twins at the same moment"
    )
    print(f"  alone              {alone:.2f} s (median)")
    print(f"  beside a dead one and a tar pit  {beside:.2f} s (median)")
    print(f"  ratio              {measured.ratio:.3f} (median of the rounds)")
    slower = measured.ratio >= SLOWER_MAX
    return [f"the others slow down by {measured.ratio - 1:.0%}"] if slower else []


if __name__ == "__main__":
    sys.exit(main())
