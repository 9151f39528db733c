"""What Prometheus reads from a gateway: its own requests, and the truth in Redis at the scrape.

Labels are bounded: classes, states, priorities, pools, routes and status codes; never ids or
anything that a caller makes up.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.audit_metrics import AuditSnapshot
from gateway.courier_metrics import CallbackSnapshot
from streams.callbacks import CallbackStore
from streams.errors import Trouble
from streams.inspector import ClassView, Inspector

log = logging.getLogger(__name__)

disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations

MEDIA = "text/plain; version=0.0.4; charset=utf-8"
SCRAPE_S = 5.0
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class GatewayMetrics:
    """Counts requests; renders everything for a scrape."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "roughneck_gateway_requests",
            "Requests answered.",
            ("method", "route", "code"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "roughneck_gateway_request_seconds",
            "From the request's head to the end of its answer.",
            ("method", "route"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._redis_up = Gauge(
            "roughneck_redis_up", "Whether Redis answered this scrape.", registry=self.registry
        )
        self._others: list[CollectorRegistry] = []
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def add(self, registry: CollectorRegistry) -> None:
        """Render what another part of this process counts, too."""
        self._others.append(registry)

    def observe(self, method: str, route: str, code: int, seconds: float) -> None:
        """Count one answered request. `route` is a path template, never a path."""
        children = self._children.get((method, route, code))
        if children is None:
            children = (
                self._requests.labels(method, route, str(code)),
                self._seconds.labels(method, route),
            )
            self._children[method, route, code] = children
        children[0].inc()
        children[1].observe(seconds)

    async def render(self, inspector: Inspector, callbacks: CallbackStore | None = None) -> bytes:
        """The text for Prometheus. Without Redis: what this process knows by itself."""
        registries = [self.registry, *self._others]
        try:
            async with asyncio.timeout(SCRAPE_S):
                counts, classes = await inspector.counts(), await inspector.classes()
                balances = await inspector.auditing.balances()
                findings = await inspector.auditing.findings()
                told = await _told(callbacks)
        except (Trouble, TimeoutError):
            log.warning("Redis did not answer a scrape")
            self._redis_up.set(0)
        else:
            self._redis_up.set(1)
            snapshot = CollectorRegistry()
            snapshot.register(Snapshot(counts, classes))
            snapshot.register(AuditSnapshot(balances, findings))
            if told:
                snapshot.register(told)
            registries.append(snapshot)
        return b"".join(map(generate_latest, registries))


async def _told(callbacks: CallbackStore | None) -> CallbackSnapshot | None:
    if callbacks is None:
        return None
    return CallbackSnapshot(await callbacks.counts(), await callbacks.endpoints.now())


class Snapshot(Collector):
    """Redis' state at one moment as metrics."""

    def __init__(self, counts: Mapping[str, int], classes: Sequence[ClassView]) -> None:
        self._counts = counts
        self._classes = classes

    def collect(self) -> Iterable[Metric]:
        """All families, once each."""
        yield from self._of_jobs()
        yield from self._of_classes()
        yield from self._of_pools()
        yield self._of_lanes()

    def _of_jobs(self) -> Iterable[Metric]:
        jobs = GaugeMetricFamily(
            "roughneck_jobs", "Jobs by state.", labels=("resource_class", "state")
        )
        submitted = CounterMetricFamily(
            "roughneck_jobs_submitted", "Jobs ever submitted.", labels=("resource_class",)
        )
        for field, count in sorted(self._counts.items()):
            resource_class, _, state = field.partition("|")
            if state == "submitted":
                submitted.add_metric((resource_class,), count)
            else:
                jobs.add_metric((resource_class, state), count)
        return jobs, submitted

    def _of_classes(self) -> Iterable[Metric]:
        paused = GaugeMetricFamily(
            "roughneck_class_paused", "1 while no jobs are leased.", labels=("resource_class",)
        )
        oldest = GaugeMetricFamily(
            "roughneck_oldest_age_seconds",
            "Open time since the oldest waiting job became runnable.",
            labels=("resource_class", "priority"),
        )
        for view in self._classes:
            paused.add_metric((view.name,), int(view.paused))
            ages: dict[str, int] = {}
            for lane in view.lanes:
                priority = lane.lane.priority
                ages[priority] = max(ages.get(priority, 0), lane.oldest_age_ms)
            for name, age_ms in sorted(ages.items()):
                oldest.add_metric((view.name, name), age_ms / 1_000)
        return paused, oldest

    def _of_pools(self) -> Iterable[Metric]:
        leases = GaugeMetricFamily(
            "roughneck_pool_leases", "Leases given out.", labels=("resource_class", "pool")
        )
        limits = GaugeMetricFamily(
            "roughneck_pool_limit",
            "Leases that there may be at once.",
            labels=("resource_class", "pool"),
        )
        for view in self._classes:
            for name, pool in sorted(view.pools.items()):
                leases.add_metric((view.name, name), pool.leases)
                if pool.limit is not None:
                    limits.add_metric((view.name, name), pool.limit)
        return leases, limits

    def _of_lanes(self) -> Metric:
        waiting = GaugeMetricFamily(
            "roughneck_lanes_waiting",
            "Undelivered entries of all lanes.",
            labels=("resource_class", "priority"),
        )
        for view in self._classes:
            sums: dict[str, int] = {}
            for lane in view.lanes:
                priority = lane.lane.priority
                sums[priority] = sums.get(priority, 0) + lane.waiting
            for name, count in sorted(sums.items()):
                waiting.add_metric((view.name, name), count)
        return waiting
