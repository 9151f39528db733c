"""The spool as metrics."""

from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.journal.acceptor import Spool


class SpoolMetrics(Collector):
    """How the journals stand that this process ships."""

    def __init__(self, look: Callable[[], Spool | None]) -> None:
        self._look = look

    def collect(self) -> Iterable[Metric]:
        """All families, once each; none without a journal."""
        spool = self._look()
        if spool is None:
            return
        rows = GaugeMetricFamily(
            "roughneck_journal_rows",
            "Jobs in the gateway's journal: spooled are not in Redis, shipped are not safe there "
            "yet, kept are not sent and wait for the operator.",
            labels=("state",),
        )
        for state, count in (
            ("spooled", spool.rows),
            ("shipped", spool.shipped),
            ("kept", spool.kept),
        ):
            rows.add_metric((state,), count)
        yield rows
        yield GaugeMetricFamily("roughneck_journal_bytes", "Size of what is spooled.", spool.bytes)
        yield GaugeMetricFamily(
            "roughneck_journal_oldest_seconds",
            "Since the oldest spooled job was accepted, 0 when none is.",
            spool.oldest_s,
        )
        yield GaugeMetricFamily(
            "roughneck_journal_writable", "1 while the disk takes the journal.", int(spool.writable)
        )
        yield GaugeMetricFamily(
            "roughneck_journals_adopted",
            "Journals of ended processes that are shipped here.",
            spool.adopted,
        )
        yield CounterMetricFamily(
            "roughneck_journal_rollbacks",
            "How often Redis had lost jobs that it had; they were shipped again.",
            value=spool.alarms,
        )
        yield CounterMetricFamily(
            "roughneck_journal_lost_jobs",
            "Accepted jobs that Redis lost after it had them safe; must be 0.",
            value=spool.gone,
        )
