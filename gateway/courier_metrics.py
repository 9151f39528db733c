"""What Prometheus reads of callbacks: one courier's deliveries, and how all lanes stand in Redis.

Labels are bounded: outcomes, classes of errors, spans of time; never an endpoint, which another app
has no business to know. `roughneck endpoints list` tells how long each one's callbacks wait.
"""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.courier_report import DeliveryReport
from streams.deliveries import DeadDelivery, Delivered, DeliveryVerdict, RetryDelivery
from streams.endpoints import EndpointsNow

SPANS_S = (0, 10, 60, 600, 3_600, 86_400)
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15)


class CourierMetrics:
    """Listens to a courier."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._deliveries = Counter(
            "roughneck_callback_deliveries",
            "Attempts to deliver a callback; the error is the class of the failure.",
            ("outcome", "error"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "roughneck_callback_delivery_seconds",
            "From the connection to the receiver's answer, or to giving it up.",
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._changes = Counter(
            "roughneck_endpoint_changes",
            "Endpoints whose breaker opened or closed, or that were disabled.",
            ("change",),
            registry=self.registry,
        )

    def __call__(self, report: DeliveryReport) -> None:
        """Count one attempt."""
        verdict = report.verdict
        error = "" if isinstance(verdict, Delivered) else verdict.error
        self._deliveries.labels(outcome(verdict), error).inc()
        self._seconds.observe(verdict.took_ms / 1_000)
        if report.settled.endpoint:
            self._changes.labels(report.settled.endpoint).inc()

    def serve(self, host: str, port: int) -> Callable[[], None]:
        """Answer scrapes from a thread of its own; the answer stops it. Raises OSError."""
        server, thread = start_http_server(port, addr=host, registry=self.registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop


class CallbackSnapshot(Collector):
    """Redis' view of callbacks at one moment."""

    def __init__(self, counts: Mapping[str, int], now: EndpointsNow) -> None:
        self._counts = counts
        self._now = now

    def collect(self) -> Iterable[Metric]:
        """All families, once each."""
        callbacks = GaugeMetricFamily(
            "roughneck_callbacks", "Callbacks by state.", labels=("state",)
        )
        for state in ("waiting", "delivered", "dead"):
            callbacks.add_metric((state,), self._counts.get(state, 0))
        ages = self._now.ages_ms.values()
        waiting = GaugeMetricFamily(
            "roughneck_endpoints_waiting",
            "Endpoints whose oldest deliverable callback is older than so many seconds.",
            labels=("older_than",),
        )
        for span_s in SPANS_S:
            waiting.add_metric((str(span_s),), sum(age > span_s * 1_000 for age in ages))
        yield from (callbacks, waiting)
        yield GaugeMetricFamily(
            "roughneck_callback_oldest_age_seconds",
            "Since the oldest of all deliverable callbacks became so.",
            max(ages, default=0) / 1_000,
        )
        yield CounterMetricFamily(
            "roughneck_callbacks_recorded",
            "Callbacks ever recorded.",
            value=self._counts.get("recorded", 0),
        )
        yield GaugeMetricFamily(
            "roughneck_endpoints_open", "Endpoints with an open breaker.", self._now.open_breakers
        )
        yield GaugeMetricFamily(
            "roughneck_endpoints_disabled",
            "Endpoints that get nothing until enabled.",
            self._now.disabled,
        )


def outcome(verdict: DeliveryVerdict) -> str:
    """The label of a verdict."""
    match verdict:
        case Delivered():
            return "delivered"
        case RetryDelivery(counts=False):
            return "put_back"
        case RetryDelivery():
            return "retried"
        case DeadDelivery():
            return "dead"
