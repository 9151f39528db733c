"""What Prometheus reads from a worker: its own attempts, as telemetry tells of them.

Cluster-wide truth (jobs by state, waiting, oldest age) comes from the gateway. Labels are bounded:
processors, classes, priorities, outcomes; never job ids, apps or the text of an error.
"""

import time
from collections.abc import Callable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    start_http_server,
)

from ops.model_metrics import ModelMetrics
from streams.model import Again, Dead, Done, HandedBack, Lease, Parked, Stopped, Verdict
from streams.telemetry import (
    AgentTold,
    AttemptJudged,
    AttemptStarted,
    ChoreFailed,
    Happening,
    LeaseGone,
    LinkChanged,
)
from streams.worker import Health

RUN_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600, 1800, 3600)
WAIT_BUCKETS = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800, 3600, 14400, 86400)
LEVELS = ("info", "warning", "error")
ERRORS_MAX = 100  # processors may have codes of their own

disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations


class WorkerMetrics:
    """Listens to a worker's telemetry; `serve` answers scrapes."""

    def __init__(self, version: str, slots: Mapping[str, int]) -> None:
        self.registry = CollectorRegistry()
        self._tokens: set[str] = set()  # of the attempts under way
        self._attempts = self._counter("job_attempts", "Attempts ended.", "processor", "outcome")
        self._lost = self._counter("lease_lost", "Leases lost while their attempt ran.")
        self._chores = self._counter("chore_failures", "Ticks of a chore that raised.", "chore")
        self._told = self._counter("agent_lines", "Lines that agents told.", "agent", "level")
        self._run = self._histogram(
            "job_run_seconds", "How long attempts ran.", RUN_BUCKETS, "processor"
        )
        self._wait = self._histogram(
            "job_wait_seconds",
            "From submission to the first attempt, delays included.",
            WAIT_BUCKETS,
            "resource_class",
            "priority",
        )
        self._failures = self._counter(
            "attempt_failures",
            "Attempts that failed, by the code of the error; model is empty outside class ollama.",
            *("processor", "model", "error"),
        )
        self._errors: set[str] = set()  # that have series of their own
        self._models = ModelMetrics(self.registry)
        self._running = self._gauge("jobs_running", "Attempts under way.", "resource_class")
        self._link = self._gauge("redis_link_up", "1 while the worker reaches Redis.")
        self._link.set(1)
        slots_gauge = self._gauge("slots", "Attempts that may run at once.", "resource_class")
        for name, count in slots.items():
            slots_gauge.labels(name).set(count)
            self._running.labels(name).set(0)
        self._gauge("build_info", "1; the version is a label.", "version").labels(version).set(1)

    def __call__(self, happening: Happening) -> None:
        """Count one happening."""
        self._models(happening)
        match happening:
            case AttemptStarted(lease):
                self._begin(lease)
            case AttemptJudged(lease, verdict, took_s):
                self._end(lease)
                self._fail(lease, verdict)
                self._attempts.labels(lease.lane.processor, outcome(verdict)).inc()
                self._run.labels(lease.lane.processor).observe(took_s)
            case LeaseGone(lease):
                self._end(lease)
                self._lost.inc()
            case LinkChanged(up, _):
                self._link.set(int(up))
            case ChoreFailed(chore, _):
                self._chores.labels(chore).inc()
            case AgentTold(agent, level, _, _):
                for known in LEVELS:  # each is there from the first line on, at 0
                    self._told.labels(agent, known).inc(known == level)

    def watch(self, health: Callable[[], Health]) -> None:
        """Show the worker's health as it is when scraped."""
        self._gauge("worker_healthy", "1 while the worker works.").set_function(
            lambda: health().healthy
        )
        self._gauge("verdicts_owed", "Verdicts on disk that Redis has not answered.").set_function(
            lambda: health().verdicts_owed
        )
        self._gauge(
            "event_loop_lag_seconds", "How late the worker's event loop woke last."
        ).set_function(lambda: health().loop_lag_s)

    def _begin(self, lease: Lease) -> None:
        lane = lease.lane
        self._tokens.add(lease.token)
        self._running.labels(lane.resource_class).inc()
        if lease.attempt == 1:
            waited_s = max(0.0, time.time() - lease.submitted_ms / 1_000)
            self._wait.labels(lane.resource_class, lane.priority).observe(waited_s)

    def _end(self, lease: Lease) -> None:
        """Once per attempt, although a lost lease and its attempt's end are both told."""
        if lease.token in self._tokens:
            self._tokens.remove(lease.token)
            self._running.labels(lease.lane.resource_class).dec()

    def _fail(self, lease: Lease, verdict: Verdict) -> None:
        """Count a failure, by its code as long as there are not too many of these."""
        if isinstance(verdict, Again | Dead):
            code = verdict.fault.code
            if code not in self._errors and len(self._errors) >= ERRORS_MAX:
                code = "other"
            self._errors.add(code)
            self._failures.labels(lease.lane.processor, lease.lane.model, code).inc()

    def serve(self, host: str, port: int) -> Callable[[], None]:
        """Answer scrapes from a thread of its own; the answer stops it. Raises OSError."""
        server, thread = start_http_server(port, addr=host, registry=self.registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"roughneck_{name}", what, labels, registry=self.registry)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(f"roughneck_{name}", what, labels, registry=self.registry)

    def _histogram(
        self, name: str, what: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(f"roughneck_{name}", what, labels, buckets=buckets, registry=self.registry)


def outcome(verdict: Verdict) -> str:
    """The label of a verdict."""
    match verdict:
        case Done():
            return "succeeded"
        case Again(counts=True):
            return "retried"
        case Again():
            return "put_back"
        case Dead():
            return "dead"
        case Stopped():
            return "cancelled"
        case HandedBack():
            return "handed_back"
        case Parked():
            return "parked"
