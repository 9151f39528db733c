"""What Prometheus reads of the engine: jobs, attempts, lanes, pools and apps, as Redis has them.

Labels are bounded: classes, processors, priorities, states, outcomes, pools, and at most APPS_MAX
apps; never a job's id or anything else that a caller makes up.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.inspector import ClassView, LaneView
from streams.model import ENDED, Lane, Priority

APPS_MAX = 50
CONTINUED = ("retried", "put_back", "handed_back", "parked", "lost")

Tallies = Mapping[tuple[str, Lane], int]


class ClassSnapshot(Collector):
    """The three classes with their pools and lanes at one moment."""

    def __init__(self, counts: Mapping[str, int], classes: Sequence[ClassView]) -> None:
        self._counts = counts
        self._classes = classes

    def collect(self) -> Iterable[Metric]:
        """All families, once each."""
        jobs = gauge("jobs", "Jobs by state.", "resource_class", "state")
        for field, count in sorted(self._counts.items()):
            resource_class, _, state = field.partition("|")
            if state != "submitted":
                jobs.add_metric((resource_class, state), count)
        yield jobs
        paused = gauge("class_paused", "1 while no jobs are leased.", "resource_class")
        lanes = gauge("lanes", "Lanes that hold anything.", "resource_class")
        for view in self._classes:
            paused.add_metric((view.name,), int(view.paused))
            lanes.add_metric((view.name,), len(view.lanes))
        yield from (paused, lanes, *self._of_pools(), *self._of_priorities())
        yield from self._of_estimates()

    def _of_pools(self) -> Iterable[Metric]:
        labels = ("resource_class", "pool")
        leases = gauge("pool_leases", "Leases given out.", *labels)
        expired = gauge("pool_leases_expired", "Leases that ran out and nobody took yet.", *labels)
        limits = gauge("pool_limit", "Leases that there may be at once.", *labels)
        for view in self._classes:
            for name, pool in sorted(view.pools.items()):
                leases.add_metric((view.name, name), pool.leases)
                expired.add_metric((view.name, name), pool.expired)
                if pool.limit is not None:
                    limits.add_metric((view.name, name), pool.limit)
        return leases, expired, limits

    def _of_estimates(self) -> Iterable[Metric]:
        off = gauge(
            "start_estimate_off_seconds",
            "How far estimates of when jobs start were off lately, whatever the sign.",
            "resource_class",
        )
        late = gauge(
            "start_estimate_late_seconds",
            "How much later than estimated jobs started lately; negative: earlier.",
            "resource_class",
        )
        for view in self._classes:
            if view.offness:
                off.add_metric((view.name,), view.offness.off_ms / 1_000)
                late.add_metric((view.name,), view.offness.late_ms / 1_000)
        return off, late

    def _of_priorities(self) -> Iterable[Metric]:
        yield self._over_lanes(
            "lanes_waiting", "Undelivered entries of all lanes.", lambda of: total(of, _waiting)
        )
        yield self._over_lanes(
            "lanes_pending",
            "Entries that the consumer groups delivered and nobody acknowledged yet.",
            lambda of: total(of, lambda lane: lane.active),
        )
        yield self._over_lanes(
            "lanes_lag",
            "What the consumer groups have not delivered; absent where Redis does not know it.",
            lag_of,
        )
        yield self._over_lanes(
            "oldest_age_seconds",
            "Open time since the oldest waiting job became runnable.",
            lambda of: max((lane.oldest_age_ms for lane in of), default=0) / 1_000,
        )

    def _over_lanes(
        self, name: str, what: str, value: Callable[[Sequence[LaneView]], float | None]
    ) -> Metric:
        family = gauge(name, what, "resource_class", "priority")
        for view in self._classes:
            for priority in Priority:
                of = [lane for lane in view.lanes if lane.lane.priority is priority]
                found = value(of)
                if found is not None:
                    family.add_metric((view.name, priority), found)
        return family


class JobSnapshot(Collector):
    """What ever happened to jobs: counted where it happens, so true whatever restarts."""

    def __init__(self, tallies: Tallies) -> None:
        self._tallies = tallies

    def collect(self) -> Iterable[Metric]:
        """All families, once each."""
        yield self._counted(
            counter(
                "jobs_submitted",
                "Jobs ever submitted.",
                *("resource_class", "processor", "priority"),
            ),
            lambda what, of: (of.resource_class, of.processor, of.priority),
            ("submitted",),
        )
        by_processor = ("resource_class", "processor")
        yield self._counted(
            counter("jobs_replayed", "Ended jobs made runnable again.", *by_processor),
            lambda what, of: (of.resource_class, of.processor),
            ("replayed",),
        )
        yield self._counted(
            counter("jobs_ended", "Jobs ever ended, by state.", *by_processor, "state"),
            lambda what, of: (of.resource_class, of.processor, what),
            ENDED,
        )
        yield self._counted(
            counter("attempts_started", "Attempts ever started.", *by_processor),
            lambda what, of: (of.resource_class, of.processor),
            ("started",),
        )
        yield self._counted(
            counter(
                "attempts_continued",
                "Attempts after which their job went on, by what became of them. The others "
                "ended it.",
                *(*by_processor, "outcome"),
            ),
            lambda what, of: (of.resource_class, of.processor, what),
            CONTINUED,
        )

    def _counted(
        self,
        family: CounterMetricFamily,
        labels: Callable[[str, Lane], tuple[str, ...]],
        wanted: Iterable[str],
    ) -> Metric:
        sums: Counter[tuple[str, ...]] = Counter()
        for (what, lane), times in self._tallies.items():
            if what in wanted:
                sums[labels(what, lane)] += times
        return filled(family, sums)


class AppSnapshot(Collector):
    """How the apps fare that submitted most, or one of them; the others are only counted."""

    def __init__(self, tallies: Tallies, classes: Sequence[ClassView], app: str = "") -> None:
        self._tallies = tallies
        self._app = app
        self._lanes = [lane for view in classes for lane in view.lanes]

    def collect(self) -> Iterable[Metric]:
        """All families, once each."""
        submitted: Counter[str] = Counter()
        for (what, lane), times in self._tallies.items():
            if what == "submitted":
                submitted[lane.app] += times
        listed = {app for app, _ in submitted.most_common(APPS_MAX)}
        if self._app:
            listed = {self._app} & submitted.keys()
        yield filled(
            counter("app_jobs_submitted", "Jobs ever submitted, by app.", "app"),
            {(app,): submitted[app] for app in listed},
        )
        ended: Counter[tuple[str, ...]] = Counter()
        for (what, lane), times in self._tallies.items():
            if what in ENDED and lane.app in listed:
                ended[lane.app, what] += times
        yield filled(
            counter("app_jobs_ended", "Jobs ever ended, by app and state.", "app", "state"), ended
        )
        yield from self._now(sorted(listed))
        unlisted = len(submitted) - len(listed)
        yield gauge("apps_unlisted", "Apps that have no series of their own.", value=unlisted)

    def _now(self, listed: Sequence[str]) -> Iterable[Metric]:
        waiting = gauge("app_waiting", "Jobs that wait for a slot, by app.", "app")
        active = gauge("app_active", "Jobs under way, by app.", "app")
        oldest = gauge("app_oldest_age_seconds", "Age of an app's oldest waiting job.", "app")
        for app in listed:
            of = [lane for lane in self._lanes if lane.lane.app == app]
            waiting.add_metric((app,), total(of, _waiting))
            active.add_metric((app,), total(of, lambda lane: lane.active))
            oldest.add_metric((app,), max((lane.oldest_age_ms for lane in of), default=0) / 1_000)
        return waiting, active, oldest


def total(lanes: Iterable[LaneView], value: Callable[[LaneView], int]) -> int:
    """The sum over lanes."""
    return sum(map(value, lanes))


def lag_of(lanes: Sequence[LaneView]) -> int | None:
    """What Redis says of all of them, None unless it knows each."""
    lags = [lane.lag for lane in lanes if lane.lag is not None]
    return sum(lags) if len(lags) == len(lanes) else None


def gauge(name: str, what: str, *labels: str, value: float | None = None) -> GaugeMetricFamily:
    """A family under our prefix."""
    return GaugeMetricFamily(f"roughneck_{name}", what, labels=labels or None, value=value)


def counter(name: str, what: str, *labels: str) -> CounterMetricFamily:
    """A family under our prefix."""
    return CounterMetricFamily(f"roughneck_{name}", what, labels=labels)


def filled(family: CounterMetricFamily, sums: Mapping[tuple[str, ...], int]) -> CounterMetricFamily:
    """The family with a sample for each."""
    for labels, count in sorted(sums.items()):
        family.add_metric(labels, count)
    return family


def _waiting(lane: LaneView) -> int:
    return lane.waiting
