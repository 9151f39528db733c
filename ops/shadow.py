"""Compares results of jobs with those of their shadows. Decides only."""

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

import msgspec

from streams.model import Job, State

DIFFERENCES_MAX = 100  # of one pair; whole results that differ need not be told place by place
SHOWN_MAX = 80  # characters of a value


class Difference(msgspec.Struct, frozen=True):
    """One place where two results differ. Absent values are written `(absent)`."""

    path: str  # $.events[*].title: which element of a list it is does not matter to a count
    place: str  # $.events[3].title
    job: str
    shadow: str


class Pair(msgspec.Struct, frozen=True):
    """A job and its shadow, with their results where they succeeded."""

    job: Job | None  # None: its retention is over
    shadow: Job
    result: Any = None
    shadow_result: Any = None

    @property
    def both_succeeded(self) -> bool:
        """Whether there are two results to compare."""
        return self.job is not None and self.job.state is self.shadow.state is State.SUCCEEDED


class PathCount(msgspec.Struct, frozen=True):
    """In how many pairs one place differs, with an example."""

    path: str
    pairs: int
    job_id: str
    example: Difference


class Report(msgspec.Struct, frozen=True):
    """What came of all pairs. `seconds` are medians of the runs of pairs that both succeeded."""

    pairs: int
    equal: int
    different: int
    only_job_succeeded: int
    only_shadow_succeeded: int
    neither_succeeded: int
    not_run: int  # the shadow waits, or expired, or the job has not ended or is gone
    seconds: float | None
    shadow_seconds: float | None
    paths: tuple[PathCount, ...]

    @property
    def different_share(self) -> float:
        """Of pairs that can be judged, the share that is not equal."""
        judged = self.equal + self.different + self.only_job_succeeded + self.only_shadow_succeeded
        return (judged - self.equal) / judged if judged else 0.0


def report(pairs: Sequence[Pair], ignored: Sequence[str] = ()) -> Report:
    """Count what came of pairs. Paths in `ignored`, with all below them, are not compared."""
    outcomes = Counter(map(_outcome, pairs))
    counted: Counter[str] = Counter()
    examples: dict[str, tuple[str, Difference]] = {}
    equal = 0
    compared = [pair for pair in pairs if pair.both_succeeded]
    for pair in compared:
        found = [
            one
            for one in differences(pair.result, pair.shadow_result)
            if not is_ignored(one.path, ignored)
        ]
        equal += not found
        for path in {one.path for one in found}:
            counted[path] += 1
            first = next(one for one in found if one.path == path)
            examples.setdefault(path, (pair.job.id if pair.job else "", first))
    return Report(
        pairs=len(pairs),
        equal=equal,
        different=len(compared) - equal,
        only_job_succeeded=outcomes["job"],
        only_shadow_succeeded=outcomes["shadow"],
        neither_succeeded=outcomes["neither"],
        not_run=outcomes["not run"],
        seconds=_median(pair.job for pair in compared if pair.job),
        shadow_seconds=_median(pair.shadow for pair in compared),
        paths=tuple(PathCount(path, n, *examples[path]) for path, n in counted.most_common()),
    )


def differences(one: Any, other: Any) -> list[Difference]:
    """Where two JSON values differ, place by place, at most 100. 1 and 1.0 are equal."""
    return _at("$", "$", one, other)[:DIFFERENCES_MAX]


def is_ignored(path: str, ignored: Iterable[str]) -> bool:
    """Whether a path, or one above it, is among those ignored."""
    return any(path == top or path.startswith((f"{top}.", f"{top}[")) for top in ignored)


ABSENT = object()


def _at(path: str, place: str, one: Any, other: Any) -> list[Difference]:
    if isinstance(one, dict) and isinstance(other, dict):
        found = []
        for name in dict.fromkeys((*one, *other)):
            left, right = one.get(name, ABSENT), other.get(name, ABSENT)
            found += _at(f"{path}.{name}", f"{place}.{name}", left, right)
        return found
    if isinstance(one, list) and isinstance(other, list):
        found = []
        for index in range(max(len(one), len(other))):
            left, right = (each[index] if index < len(each) else ABSENT for each in (one, other))
            found += _at(f"{path}[*]", f"{place}[{index}]", left, right)
        return found
    same = one == other and isinstance(one, bool) == isinstance(other, bool)
    return [] if same else [Difference(path, place, _shown(one), _shown(other))]


def _shown(value: Any) -> str:
    if value is ABSENT:
        return "(absent)"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= SHOWN_MAX else f"{text[: SHOWN_MAX - 1]}…"


def _outcome(pair: Pair) -> str:
    if pair.job is None or not pair.job.state.ended or not pair.shadow.state.ended:
        return "not run"
    if pair.shadow.state in (State.EXPIRED, State.CANCELLED):
        return "not run"
    if pair.both_succeeded:
        return "both"
    if pair.job.state is State.SUCCEEDED:
        return "job"
    return "shadow" if pair.shadow.state is State.SUCCEEDED else "neither"


def _median(jobs: Iterable[Job]) -> float | None:
    ran = [(job.ended_ms - job.started_ms) / 1_000 for job in jobs if job.started_ms]
    return round(median(ran), 3) if ran else None
