"""`python -m tests.chaos.soak`: the whole platform through many faults, and what came of it.

Ends with 0 only if nothing was lost, doubled, unexplained or told untruly. A run that fails says
its seed and keeps its folder.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from ops.redis_binary import installed
from tests.chaos.driver import Course, Drive, drive
from tests.chaos.ledger import Findings
from tests.chaos.plan import Blow, drawn

OPTIONS = {
    "--worker-kills": (Blow.KILL_WORKER, 50),
    "--redis-kills": (Blow.KILL_REDIS, 5),
    "--pauses": (Blow.PAUSE_WORKER, 10),
    "--cuts": (Blow.CUT, 50),
    "--gateway-kills": (Blow.KILL_GATEWAY, 0),
    "--tails": (Blow.LOSE_TAIL, 0),
    "--fills": (Blow.FILL_REDIS, 0),
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hours", type=float, default=0.0, help="go on with further seeds")
    parser.add_argument("--redis", default="", help="a version that is installed, such as 6.2")
    parser.add_argument("--job-ms", type=int, default=1_600, help="the longest job")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    for name, (blow, default) in OPTIONS.items():
        parser.add_argument(name, type=int, default=default, metavar="N", help=f"{blow}, N times")
    return parser.parse_args()


def percentile(values: list[float], share: float) -> float:
    """The value below which that share lies; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def figures(drive: Drive, findings: Findings, seconds: float) -> dict[str, object]:
    """The run in numbers."""
    struck = Counter(str(fault.blow) for fault in drive.course.plan)
    return {
        "jobs": len(drive.accepted),
        **struck,
        "lost": len(findings.lost),
        "ended twice": len(findings.doubled),
        "told untruly": len(findings.untrue),
        "finished before a lost tail, and run again": len(findings.redone),
        "extra runs unexplained": len(findings.unexplained),
        **{f"extra runs after: {cause}": n for cause, n in findings.extra.most_common()},
        "runs": findings.runs,
        "told, then lost with Redis' tail and run again": findings.forgotten,
        "went on after another had begun": findings.zombies,
        "callbacks, by id": len(drive.told.bodies),
        "callbacks delivered again": drive.told.repeated,
        "recovery p50 (s)": round(percentile(findings.recovery_s, 0.5), 2),
        "recovery p99 (s)": round(percentile(findings.recovery_s, 0.99), 2),
        "recoveries": len(findings.recovery_s),
        "recovery of jobs that died before, p99 (s)": round(
            percentile(findings.suspects_s, 0.99), 2
        ),
        "seconds": round(seconds),
    }


async def once(given: argparse.Namespace, seed: int, console: Console) -> bool:
    binaries = [each for each in installed() if str_version(each.version).startswith(given.redis)]
    binary = binaries[0]
    counts = {
        blow: getattr(given, name[2:].replace("-", "_")) for name, (blow, _) in OPTIONS.items()
    }
    folder = Path(tempfile.mkdtemp(prefix=f"rn-soak-{seed}-"))
    os.environ["HOME"] = str(folder)  # journals and keys of this run alone
    course = Course(given.jobs, drawn(seed, given.jobs, counts), folder, given.job_ms)
    began = time.monotonic()
    try:
        with (folder / "processes.log").open("w") as said, redirect_stdout(said):
            async with drive(binary, course) as running, asyncio.TaskGroup() as group:
                shown = group.create_task(progress(running, console))
                findings = await running.run()
                shown.cancel()
    except BaseException:
        console.print(f"seed {seed} did not come to its end; see {folder}", style="red")
        raise
    report = figures(running, findings, time.monotonic() - began)
    show(report, findings, f"Redis {str_version(binary.version)}, seed {seed}", console)
    if given.json:
        given.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    wrong = (*findings.lost, *findings.doubled, *findings.untrue, *findings.redone)
    good = not (wrong or findings.unexplained)
    if good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        console.print(f"seed {seed} failed; its logs and ledger are in {folder}", style="red")
    return good


async def progress(running: Drive, console: Console) -> None:
    """Say how far it is, every ten seconds."""
    while True:
        await asyncio.sleep(10)
        done, blows = len(running.told.bodies), len(running.hits)
        console.print(f"{done} of {running.course.jobs} jobs told of, {blows} blows", style="dim")


def show(report: dict[str, object], findings: Findings, title: str, console: Console) -> None:
    table = Table(title=title, show_header=False)
    for name, value in report.items():
        table.add_row(name, str(value))
    console.print(table)
    for found in (
        findings.lost,
        findings.doubled,
        findings.untrue,
        findings.redone,
        findings.unexplained,
    ):
        for line in found[:10]:
            console.print(line, style="red")


def str_version(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def main() -> int:
    given, console = options(), Console(file=sys.stdout)
    until = time.monotonic() + given.hours * 3_600
    seed, good = given.seed, True
    while True:
        good = asyncio.run(once(given, seed, console)) and good
        seed += 1
        if time.monotonic() > until:
            return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
