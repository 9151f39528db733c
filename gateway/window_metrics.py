"""What Prometheus reads of the last minute, as one worker counts it over the events of all."""

from collections.abc import Iterable

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from gateway.engine_metrics import gauge
from streams.windows import Recent


class WindowSnapshot(Collector):
    """The windows as they were last published. Errors are codes, never texts."""

    def __init__(self, recent: Recent) -> None:
        self._recent = recent

    def collect(self) -> Iterable[Metric]:
        """All families, once each."""
        jobs = gauge(
            "minute_jobs",
            "Jobs in the last minute: submitted, started, and ends by state.",
            *("processor", "what"),
        )
        failures = gauge(
            "minute_failures",
            "Attempts that failed in the last minute, by the code of the error.",
            *("processor", "error"),
        )
        for processor, counts in self._recent.jobs.items():
            for what, count in counts.items():
                jobs.add_metric((processor, what), count)
        for processor, errors in self._recent.failures.items():
            for error, count in errors.items():
                failures.add_metric((processor, error), count)
        return jobs, failures
