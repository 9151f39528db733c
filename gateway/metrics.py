"""What Prometheus reads from a gateway: its own requests, and the truth in Redis at the scrape.

Labels are bounded: routes, methods and status codes here; what the snapshots of the truth bear is
said where they are.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.registry import Collector

from gateway.audit_metrics import AuditSnapshot
from gateway.courier_metrics import CallbackSnapshot
from gateway.engine_metrics import AppSnapshot, ClassSnapshot, JobSnapshot
from gateway.fleet_metrics import FleetSnapshot, ServerSnapshot
from gateway.window_metrics import WindowSnapshot
from streams.callbacks import CallbackStore
from streams.directory import Directory
from streams.errors import Trouble
from streams.inspector import Inspector
from streams.windows import WindowStore

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

    async def render(
        self,
        inspector: Inspector,
        callbacks: CallbackStore | None = None,
        directory: Directory | None = None,
        windows: WindowStore | None = None,
        *,
        app: str = "",
    ) -> bytes:
        """The text for Prometheus, with the series of all apps or of one.

        Without Redis: what this process knows by itself.
        """
        registries = [self.registry, *self._others]
        try:
            async with asyncio.timeout(SCRAPE_S):
                truth = await read_truth(inspector, callbacks, directory, windows, app)
        except (Trouble, TimeoutError):
            log.warning("Redis did not answer a scrape")
            self._redis_up.set(0)
        else:
            self._redis_up.set(1)
            snapshot = CollectorRegistry()
            for collector in truth:
                snapshot.register(collector)
            registries.append(snapshot)
        return b"".join(map(generate_latest, registries))


async def read_truth(
    inspector: Inspector,
    callbacks: CallbackStore | None,
    directory: Directory | None,
    windows: WindowStore | None,
    app: str = "",
) -> Sequence[Collector]:
    """What Redis has at this moment. Its cost follows lanes, workers and apps, never jobs."""
    began = time.monotonic()
    counts, tallies = await inspector.counts(), await inspector.tallies()
    classes = await inspector.classes()
    truth: list[Collector] = [
        ClassSnapshot(counts, classes),
        JobSnapshot(tallies),
        AppSnapshot(tallies, classes, app),
        AuditSnapshot(await inspector.auditing.balances(), await inspector.auditing.findings()),
    ]
    if callbacks is not None:
        truth.append(CallbackSnapshot(await callbacks.counts(), await callbacks.endpoints.now()))
    if directory is not None:
        truth.append(FleetSnapshot(await directory.workers(), classes))
    recent = None if windows is None else await windows.read()
    if recent is not None:
        truth.append(WindowSnapshot(recent))
    server = await inspector.server()
    return [*truth, ServerSnapshot(server, time.monotonic() - began)]
