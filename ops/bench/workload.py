"""A day of the apps' work for models: who asks for what, when, how urgently and for how long.

Seven processors over four models: practice sessions that somebody waits for, bursts of pages every
two hours, a newsletter at six, storms of machine errors, a trickle of old work. Seeded: the same
arguments are the same jobs. What runs on other classes is left out.
"""

import math
import random
from collections.abc import Callable, Iterator

import msgspec

from streams.model import Priority

HIGH, NORMAL, LOW = Priority.HIGH, Priority.NORMAL, Priority.LOW
HOUR_S, DAY_S = 3_600.0, 86_400.0
RUN_MIN_S, RUN_MAX_S = 2.0, 60.0
# Mean seconds to bring a model into memory.
LOADS_S = {"small-8b": 8.0, "mid-14b": 15.0, "mt-27b": 28.0, "gen-32b": 40.0}


class Work(msgspec.Struct, frozen=True, order=True):
    """One job: when it comes, in seconds from the start, and how long it runs without a load."""

    at_s: float
    priority: Priority
    model: str
    run_s: float


class Kind(msgspec.Struct, frozen=True):
    """A kind of work: mean of its run time and how far single ones lie from it."""

    name: str
    priority: Priority
    model: str
    mean_s: float
    spread: float


SESSION = Kind("etyde-session", HIGH, "gen-32b", 20.0, 0.4)
STUDY = Kind("etyde-set", NORMAL, "gen-32b", 42.0, 0.3)
ENRICH = Kind("govejle-enrichment", NORMAL, "mid-14b", 11.0, 0.5)
TRANSLATE = Kind("govejle-translation", NORMAL, "mt-27b", 14.0, 0.5)
EDIT = Kind("govejle-translation", HIGH, "mt-27b", 12.0, 0.5)
NEWS = Kind("govejle-newsletter", NORMAL, "gen-32b", 48.0, 0.2)
CLASSIFY = Kind("cnc-error-classify", NORMAL, "small-8b", 3.5, 0.4)
ALARM = Kind("cnc-error-classify", HIGH, "small-8b", 3.5, 0.4)
PATTERN = Kind("cnc-pattern-detection", LOW, "gen-32b", 38.0, 0.3)
OLD_TEXT = Kind("govejle-translation", LOW, "mt-27b", 14.0, 0.5)
OLD_PAGE = Kind("govejle-enrichment", LOW, "mid-14b", 11.0, 0.5)


def day(seed: int, hours: float, scale: float) -> list[Work]:
    """The jobs of `hours`, in order; `scale` multiplies every rate."""
    return sorted(_Day(seed, hours, scale).works())


def scale_for(load: float, hours: float = 30 * 24.0) -> float:
    """The scale at which running alone, loads left out, takes `load` of the time."""
    scale = 1.0
    for _ in range(3):  # bursts are of whole jobs: come closer by steps
        busy_s = sum(work.run_s for work in day(12_345, hours, scale))
        scale *= load * hours * HOUR_S / busy_s
    return scale


class _Day:
    def __init__(self, seed: int, hours: float, scale: float) -> None:
        self._rng = random.Random(seed)
        self._end_s = hours * HOUR_S
        self._scale = scale

    def works(self) -> Iterator[Work]:
        found = (*self._people(), *self._pages(), *self._errors(), *self._backfill())
        yield from (work for work in found if work.at_s < self._end_s)

    def _people(self) -> Iterator[Work]:
        for at_s in self._arrivals(5.0, _between(16, 21, 3.0), 3.0):
            yield self._work(SESSION, at_s)
        for at_s in self._arrivals(2.0, _between(16, 21, 3.0), 3.0):
            yield self._work(STUDY, at_s)
        for at_s in self._arrivals(1.5, _between(8, 17, 2.0), 2.0):
            yield self._work(EDIT, at_s)

    def _pages(self) -> Iterator[Work]:
        """Every two hours a burst of pages; each is read, then translated. News in the morning."""
        at_s = self._rng.uniform(0, 2 * HOUR_S)
        while at_s < self._end_s:
            for _ in range(max(1, int(self._rng.gauss(26 * self._scale, 6 * self._scale)))):
                page_s = at_s + self._rng.uniform(0, 120)
                yield self._work(ENRICH, page_s)
                yield self._work(TRANSLATE, page_s + self._rng.uniform(30, 900))
            at_s += 2 * HOUR_S
        morning_s = 6 * HOUR_S
        while morning_s < self._end_s:
            for section in range(max(1, round(9 * self._scale))):
                yield self._work(NEWS, morning_s + section)
            morning_s += DAY_S

    def _errors(self) -> Iterator[Work]:
        for at_s in self._arrivals(14.0, _between(8, 17, 2.0), 2.0):
            yield self._work(ALARM if self._rng.random() < 0.06 else CLASSIFY, at_s)
        for at_s in self._arrivals(0.35):
            for _ in range(self._rng.randint(25, 70)):
                yield self._work(CLASSIFY, at_s + self._rng.uniform(0, 300))
        at_s = self._rng.uniform(0, 1_800)
        while at_s < self._end_s:
            yield self._work(PATTERN, at_s)
            at_s += HOUR_S / max(self._scale, 0.05)

    def _backfill(self) -> Iterator[Work]:
        for at_s in self._arrivals(6.0):
            yield self._work(OLD_TEXT, at_s)
        for at_s in self._arrivals(5.0):
            yield self._work(OLD_PAGE, at_s)

    def _work(self, kind: Kind, at_s: float) -> Work:
        variance = math.log(1.0 + kind.spread**2)
        run_s = self._rng.lognormvariate(math.log(kind.mean_s) - variance / 2, math.sqrt(variance))
        run_s = min(RUN_MAX_S, max(RUN_MIN_S, run_s))
        return Work(at_s, kind.priority, kind.model, run_s)

    def _arrivals(
        self, per_hour: float, shape: Callable[[float], float] | None = None, most: float = 1.0
    ) -> Iterator[float]:
        """Poisson arrivals, thinned to a shape of the day whose highest value is `most`."""
        rate = per_hour * self._scale * most / HOUR_S
        at_s = 0.0
        while (at_s := at_s + self._rng.expovariate(rate)) < self._end_s:
            if shape is None or self._rng.random() <= shape(at_s) / most:
                yield at_s


def _between(first: int, last: int, gain: float) -> Callable[[float], float]:
    """`gain` within these hours of the day, else 1."""
    return lambda at_s: gain if first <= at_s / HOUR_S % 24 < last else 1.0
