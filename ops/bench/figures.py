"""Figures: what a suite measured in one round, and what all rounds say together."""

import statistics
from collections.abc import Iterable, Sequence

import msgspec


class Figure(msgspec.Struct, frozen=True):
    """One number of one round, with its unit and a line that says what it is."""

    name: str
    value: float
    unit: str
    says: str


class Summary(msgspec.Struct, frozen=True):
    """One figure over all rounds."""

    name: str
    unit: str
    says: str
    median: float
    lowest: float
    highest: float
    values: Sequence[float]


class Report(msgspec.Struct, frozen=True):
    """Everything that was measured, and where. `other_cores`: kept busy by others meanwhile."""

    version: str
    redis_version: str
    python_version: str
    machine: str
    cores: int
    append_only: bool
    rounds: int
    other_cores: float
    suites: dict[str, Sequence[Summary]]


def summaries(figures: Iterable[Figure]) -> list[Summary]:
    """Median and spread of each name, in the order in which names first came."""
    by_name: dict[str, list[Figure]] = {}
    for figure in figures:
        by_name.setdefault(figure.name, []).append(figure)
    return [_summary(same) for same in by_name.values()]


def _summary(same: Sequence[Figure]) -> Summary:
    values = [figure.value for figure in same]
    return Summary(
        name=same[0].name,
        unit=same[0].unit,
        says=same[0].says,
        median=statistics.median(values),
        lowest=min(values),
        highest=max(values),
        values=values,
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
