"""Whether more happens than usual: counts against what the same hour of earlier days had.

The expectation is an exponentially weighted mean of those hours, newest heaviest; a count over it
is judged as one of a Poisson process. Times are seconds since the epoch, in UTC.
"""

from bisect import bisect_left
from collections.abc import Sequence
from math import exp, lgamma, log, sqrt

import msgspec

HOUR, DAY = 3_600.0, 86_400.0
BUCKET_S = 600.0  # the window is looked at in pieces of this length
WEIGHT = 0.3  # of the newest day in the mean
SCORE_LEAST = 4.0
COUNT_LEAST = 5
TREND_LEAST = 4.0  # standard errors
LAG_MAX_S = 600.0  # after a deploy it is thought of as its cause


class Span(msgspec.Struct, frozen=True):
    """A stretch of time, the end not included."""

    start: float
    end: float

    @property
    def length(self) -> float:
        """Its seconds."""
        return self.end - self.start


class Spike(msgspec.Struct, frozen=True):
    """More than usual. `rate` and `baseline` are of a minute; `chance`: of so many by accident."""

    rate: float
    baseline: float
    score: float
    chance: float
    at: float  # when the first of them happened


def score_of(count: float, expected: float) -> float:
    """How far a count lies over what is expected, in standard deviations."""
    return (count - expected) / sqrt(max(expected, 1.0))


def tail(count: int, expected: float) -> float:
    """The chance of `count` or more where `expected` come on average (Poisson)."""
    if count <= 0:
        return 1.0
    if expected <= 0:
        return 0.0
    term = exp(count * log(expected) - expected - lgamma(count + 1))
    if count > expected:  # what is above falls off from here on
        total, k = 0.0, count
        while term > total * 1e-12 and term > 0:
            total += term
            k += 1
            term *= expected / k
        return min(1.0, total)
    below, k = 0.0, count - 1
    term = exp(k * log(expected) - expected - lgamma(k + 1))
    while k >= 0 and term > 0:
        below += term
        term *= k / expected
        k -= 1
    return max(0.0, 1.0 - below)


def is_spike(count: int, expected: float) -> bool:
    """Whether so many are unusual where `expected` are usual."""
    return count >= COUNT_LEAST and score_of(count, expected) >= SCORE_LEAST


def mean_of(counts: Sequence[float]) -> float:
    """The exponentially weighted mean, the newest count last; 0 of none."""
    mean = counts[0] if counts else 0.0
    for count in counts[1:]:
        mean += WEIGHT * (count - mean)
    return mean


def counted(times: Sequence[float], span: Span) -> int:
    """How many of the sorted times lie in it."""
    return bisect_left(times, span.end) - bisect_left(times, span.start)


def expected_in(bucket: Span, baseline: Span, times: Sequence[float]) -> float:
    """How many are usual in a bucket: by the same hour of the days of the baseline.

    Where the baseline has no such hour whole, by its mean rate. `times` are sorted.
    """
    hour = bucket.start - bucket.start % HOUR
    counts: list[float] = []
    for back in range(int((hour - baseline.start) // DAY), 0, -1):
        same = Span(hour - back * DAY, hour - back * DAY + HOUR)
        if baseline.start <= same.start and same.end <= baseline.end:
            counts.append(counted(times, same))
    if counts:
        return mean_of(counts) * bucket.length / HOUR
    if baseline.length <= 0:
        return 0.0
    return counted(times, baseline) * bucket.length / baseline.length


def buckets(window: Span) -> list[Span]:
    """The window in pieces; the last may be shorter."""
    found, at = [], window.start
    while at < window.end:
        found.append(Span(at, min(at + BUCKET_S, window.end)))
        at += BUCKET_S
    return found


def find_spike(
    window: Span, times: Sequence[float], baseline: Span, usual: Sequence[float]
) -> Spike | None:
    """The strongest spike of sorted `times` in the window, None where nothing is unusual."""
    best: Spike | None = None
    for bucket in buckets(window):
        count, expected = counted(times, bucket), expected_in(bucket, baseline, usual)
        if not is_spike(count, expected):
            continue
        score = round(score_of(count, expected), 2)
        if best is None or score > best.score:
            per_minute = 60 / bucket.length
            at = times[bisect_left(times, bucket.start)]
            rate, base = round(count * per_minute, 3), round(expected * per_minute, 3)
            best = Spike(rate, base, score, float(f"{tail(count, expected):.2g}"), at)
    return best


def trend(window: Span, times: Sequence[float]) -> str:
    """`rising`, `falling` or `steady`: whether the times lie late or early in the window.

    Were they spread evenly, their mean place would be the middle, with a variance of 1/12.
    """
    if not times or window.length <= 0:
        return "steady"
    place = sum(time - window.start for time in times) / len(times) / window.length
    off = (place - 0.5) * sqrt(12 * len(times))
    return "rising" if off >= TREND_LEAST else "falling" if off <= -TREND_LEAST else "steady"
