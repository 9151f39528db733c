"""What Prometheus reads of the audit: whether counters equal structures, and jobs out of place."""

from collections.abc import Iterable, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.audit import Balance, Findings


class AuditSnapshot(Collector):
    """The audit at one moment. Labels are the engine's own words."""

    def __init__(self, balances: Sequence[Balance], findings: Findings) -> None:
        self._balances = balances
        self._findings = findings

    def collect(self) -> Iterable[Metric]:
        """All families, once each."""
        difference = GaugeMetricFamily(
            "roughneck_audit_difference",
            "A counter less what the structures hold; must be 0.",
            labels=("resource_class", "what"),
        )
        for balance in self._balances:
            off = balance.counted - balance.held
            difference.add_metric((balance.resource_class, balance.what), off)
        broken = GaugeMetricFamily(
            "roughneck_audit_broken_jobs",
            "Jobs that the last whole walk found wrong beyond mending; must be 0.",
            labels=("what",),
        )
        mended = CounterMetricFamily(
            "roughneck_audit_mended_jobs", "Jobs found out of place and put back.", labels=("what",)
        )
        for family, jobs in ((broken, self._findings.broken), (mended, self._findings.mended)):
            for what, count in jobs.items():
                family.add_metric((what,), count)
        yield from (difference, broken, mended)
        yield GaugeMetricFamily(
            "roughneck_audit_walk_timestamp_seconds",
            "When the last whole walk over all jobs ended; 0 for never.",
            value=self._findings.ended_ms / 1_000,
        )
