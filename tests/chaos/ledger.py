"""What really happened, kept apart from the platform's own counters, and what it means.

Attempts write to a file when they begin and end, the receiver keeps what it was told, the driver
what it did to whom. Judging them is arithmetic: no Redis, no clock.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec

LATE_S = 1.2  # a copy of the append-only file is that much behind, with everysec
FULL = "Redis full"  # goes on with what it has
LOST_TAIL = "Redis lost its last two seconds"


class Run(msgspec.Struct):
    """One execution of a job's processor."""

    job_id: str
    attempt: int
    pid: int
    workers: frozenset[int]  # the process that ran it and its parent: one of them is the worker
    began: float
    ended: float | None = None  # None: it was cut off
    failed: bool = False  # as it was told to

    @property
    def who(self) -> tuple[int, int]:
        """What a result says of its run; a Redis that lost its tail counts attempts again."""
        return self.attempt, self.pid


class Hit(msgspec.Struct):
    """What the driver did: from when to when, and to which processes; none: to everybody."""

    what: str
    began: float
    ended: float
    pids: frozenset[int] = frozenset()


class Findings(msgspec.Struct):
    """What a run has shown. The first five must be empty."""

    lost: list[str]  # accepted, and not ended or not told
    doubled: list[str]  # ended twice: two callbacks, or an older attempt's result after a newer one
    unexplained: list[str]  # ran again although nothing had been done to its worker
    untrue: list[str]  # what the app was told is not what Redis holds
    redone: list[str] = msgspec.field(default_factory=list)  # finished, begun before the lost tail
    runs: int = 0
    extra: Counter[str] = msgspec.field(default_factory=Counter)  # by what had been done
    forgotten: int = 0  # ended, told, forgotten by Redis with its tail, and run again
    zombies: int = 0  # went on after another attempt had begun
    recovery_s: list[float] = msgspec.field(default_factory=list)  # from a death to the next run
    suspects_s: list[float] = msgspec.field(default_factory=list)  # after the second: one by one


def parsed(lines: Iterable[str]) -> list[Run]:
    """The runs that a ledger's lines tell of; a last line may be cut off.

    After a lost tail a process may run the same attempt of the same job again: that is a run too.
    """
    found: list[Run] = []
    newest: dict[tuple[str, int, int], Run] = {}
    for line in lines:
        parts = line.split()
        if len(parts) != 6:
            continue
        job_id, attempt, what, pid, parent, at = parts
        key = (job_id, int(attempt), int(pid))
        if what == "begin":
            workers = frozenset((int(pid), int(parent)))
            newest[key] = Run(job_id, int(attempt), int(pid), workers, float(at))
            found.append(newest[key])
        elif key in newest:
            newest[key].ended, newest[key].failed = float(at), what == "failed"
    return sorted(found, key=lambda run: run.began)


def judged(
    accepted: Sequence[str],
    runs: Sequence[Run],
    hits: Sequence[Hit],
    told: Mapping[str, Sequence[Mapping[str, Any]]],
    stored: Mapping[str, tuple[str, Any]],
) -> Findings:
    """`told` are the endings by job that callbacks told of; `stored` is state and result by job."""
    by_job: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_job[run.job_id].append(run)
    findings = Findings([], [], [], [], runs=len(runs))
    for job_id in accepted:
        endings = told.get(job_id, ())
        state, result = stored.get(job_id, ("gone", None))
        if state not in ("succeeded", "dead") or not endings:
            findings.lost.append(f"{job_id}: {state}, told {len(endings)} times")
            continue
        if len(endings) > 1:
            findings.doubled.append(f"{job_id}: told of {len(endings)} endings")
        told_result = endings[0].get("result")
        if (endings[0]["state"], told_result) != (state, result):
            if _forgotten(by_job[job_id], told_result, hits):
                findings.forgotten += 1
            else:
                findings.untrue.append(f"{job_id}: told {endings[0]['state']}, is {state}")
        _judge_runs(job_id, by_job[job_id], result, hits, findings)
    outages = [hit for hit in hits if not hit.pids and hit.what != FULL]
    for hit in hits:
        if hit.what == "worker killed":
            for run, seconds in _recoveries(hit, by_job, outages):
                first = run.attempt == 1
                (findings.recovery_s if first else findings.suspects_s).append(seconds)
    return findings


def _judge_runs(
    job_id: str, runs: Sequence[Run], result: Any, hits: Sequence[Hit], findings: Findings
) -> None:
    for run, following in pairwise(runs):
        if run.ended is not None and run.ended > following.began:
            findings.zombies += 1
            won = isinstance(result, dict) and (result["attempt"], result["pid"]) == run.who
            if won and not _lost_with_a_tail(following.began, hits):
                findings.doubled.append(f"{job_id}: attempt {run.attempt} won over a newer one")
        if run.failed:
            continue
        causes = [hit for hit in hits if _explains(hit, run, following)]
        if causes:
            cause = max(causes, key=lambda hit: (bool(hit.pids), hit.began))
            findings.extra[cause.what] += 1
            finished = run.ended is not None and run.ended < following.began
            known = not _lost_with_a_tail(run.began, hits)
            if cause.what == LOST_TAIL and finished and known:
                findings.redone.append(f"{job_id}: attempt {run.attempt} was finished")
        else:
            findings.unexplained.append(f"{job_id}: attempt {run.attempt} ran again")


def _lost_with_a_tail(moment: float, hits: Sequence[Hit]) -> bool:
    """Whether Redis may have forgotten what it was told then: a lease, for one."""
    tails = (hit for hit in hits if hit.what == LOST_TAIL)
    return any(tail.began - LATE_S <= moment <= tail.ended for tail in tails)


def _forgotten(runs: Sequence[Run], result: Any, hits: Sequence[Hit]) -> bool:
    """Whether the run of this result ended in the time that Redis has lost."""
    return any(
        isinstance(result, dict)
        and run.who == (result["attempt"], result["pid"])
        and run.ended is not None
        and any(hit.began <= run.ended <= hit.ended for hit in hits if hit.what == LOST_TAIL)
        for run in runs
    )


def _explains(hit: Hit, run: Run, following: Run) -> bool:
    """Whether this was done to the run's worker between its begin and the next run's.

    Where the next run is of an older attempt, its own worker was held up: it had the lease, stood
    still before the run began, and went on when a newer attempt had run.
    """
    held_up = following if following.attempt < run.attempt else run
    theirs = not hit.pids or bool(hit.pids & held_up.workers)
    return theirs and hit.ended >= run.began and hit.began <= following.began


def _recoveries(
    death: Hit, by_job: Mapping[str, Sequence[Run]], outages: Sequence[Hit]
) -> list[tuple[Run, float]]:
    """How long after a worker's death each job that it ran began anew, where Redis was there."""
    found = []
    for runs in by_job.values():
        for run, following in pairwise(runs):
            cut_off = death.pids & run.workers and run.ended is None
            cut_off = cut_off and run.began < death.began <= following.began
            away = any(hit.ended >= death.began and hit.began <= following.began for hit in outages)
            if cut_off and not away:
                found.append((run, following.began - death.began))
    return found
