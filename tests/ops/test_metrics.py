"""A worker's metrics say what its telemetry said."""

import urllib.request

from prometheus_client import generate_latest

from ops.metrics import WorkerMetrics
from streams.model import Again, Dead, Done, Fault
from streams.telemetry import (
    AgentTold,
    AttemptJudged,
    AttemptStarted,
    ChoreFailed,
    LeaseGone,
    LinkChanged,
)
from tests.ops.test_logs import LEASE
from tests.support.redis_server import free_port

FAULT = Fault("retry", "text that must be no label")


def value(metrics: WorkerMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"roughneck_{name}", labels)


def test_attempts_are_counted_by_outcome_and_running_ones_are_seen() -> None:
    metrics = WorkerMetrics("0.1.0", {"io": 10})
    metrics(AttemptStarted(LEASE))
    assert value(metrics, "jobs_running", resource_class="io") == 1
    metrics(AttemptJudged(LEASE, Done(b"1"), 0.2))
    for verdict in (Again(1, FAULT), Again(1, FAULT, counts=False), Dead(FAULT)):
        metrics(AttemptJudged(LEASE, verdict, 0.2))
    assert value(metrics, "jobs_running", resource_class="io") == 0
    for outcome in ("succeeded", "retried", "put_back", "dead"):
        assert value(metrics, "job_attempts_total", processor="echo", outcome=outcome) == 1
    assert value(metrics, "job_run_seconds_count", processor="echo") == 4
    assert value(metrics, "slots", resource_class="io") == 10
    assert b"text that must" not in generate_latest(metrics.registry)


def test_a_lost_lease_frees_its_place_once() -> None:
    metrics = WorkerMetrics("0.1.0", {"io": 10})
    metrics(AttemptStarted(LEASE))
    metrics(LeaseGone(LEASE))
    metrics(AttemptJudged(LEASE, Done(b"1"), 0.2))
    assert value(metrics, "jobs_running", resource_class="io") == 0
    assert value(metrics, "lease_lost_total") == 1


def test_the_link_and_chores_are_seen() -> None:
    metrics = WorkerMetrics("0.1.0", {})
    assert value(metrics, "redis_link_up") == 1
    metrics(LinkChanged(up=False))
    metrics(ChoreFailed("sweep", "boom"))
    assert value(metrics, "redis_link_up") == 0
    assert value(metrics, "chore_failures_total", chore="sweep") == 1
    metrics(AgentTold("error-spikes", "debug", "the agent watches", {}))
    assert value(metrics, "agent_lines_total", agent="error-spikes", level="warning") == 0
    metrics(AgentTold("error-spikes", "warning", "a spike of errors", {"app": "shop"}))
    assert value(metrics, "agent_lines_total", agent="error-spikes", level="warning") == 1


def test_a_scrape_is_answered() -> None:
    port = free_port()
    metrics = WorkerMetrics("0.1.0", {"io": 1})
    stop = metrics.serve("127.0.0.1", port)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        text = response.read().decode()
    stop()
    assert 'roughneck_build_info{version="0.1.0"} 1.0' in text
    assert "_created" not in text
