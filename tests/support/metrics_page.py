"""docs/metrics.md, made from the families that gateway and worker really have."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Metric

from gateway.audit_metrics import AuditSnapshot
from gateway.courier_metrics import CallbackSnapshot, CourierMetrics
from gateway.courier_report import DeliveryReport
from gateway.engine_metrics import AppSnapshot, ClassSnapshot, JobSnapshot
from gateway.fleet_metrics import FleetSnapshot, ServerSnapshot
from gateway.journal.acceptor import Spool
from gateway.journal.measures import SpoolMetrics
from gateway.metrics import GatewayMetrics
from gateway.window_metrics import WindowSnapshot
from ops.metrics import WorkerMetrics
from ops.wireguard import LinkMetrics
from streams.audit import Balance, Findings
from streams.callbacks import CallbackRecord
from streams.deliveries import DeliverySettled, RetryDelivery
from streams.directory import WorkerCard
from streams.endpoints import EndpointsNow
from streams.inspector import ClassView, LaneView, PoolView
from streams.learned import Offness
from streams.memory import Memory, ServerState
from streams.model import Dead, Done, Fault, Lease, ResourceClass, Settled, State
from streams.telemetry import (
    AttemptJudged,
    AttemptStarted,
    ChoreFailed,
    Happening,
    ModelAsked,
)
from streams.usage import Usage
from streams.windows import Recent
from streams.worker import Health
from tests.support.build import lane
from tests.support.monitoring import BY_HAND, used_in
from tests.support.reference import codes

METRICS_HEAD = """\
# Metrics

In Prometheus' text format. Labels are bounded: processors, classes, priorities, states, outcomes;
never a job's id or the text of an error. Apps are a label of `roughneck_app_…` alone, and only the
fifty that submitted most; a key with scope `metrics` sees them. A counter's samples end in
`_total`; a histogram has `_bucket`, `_sum` and `_count`. The last column names the dashboards and
alerts that show a metric: [watching](operations.md#watching).

A scrape of a gateway reads Redis at that moment, at a cost that follows lanes, workers and apps and
not jobs: with 100,000 jobs waiting in 60 lanes `python -m ops.bench.scrape` saw a median of 19 ms
on two busy cores, 12 ms of it on the gateway's processor.
"""

GATEWAY_METRICS = """\
## The gateway: `GET /metrics`

The truth in Redis at the moment of the scrape, for the whole platform, and this process's requests.
Scrape one gateway, or take the maximum over several: each tells the same of Redis.
"""

WORKER_METRICS = """\
## A worker: `worker.metrics_port`

What this worker did since it started. Off until the port is set; on loopback unless
`worker.metrics_host` says otherwise.
"""

LINK_METRICS = """\
## The VPN: `roughneck link --metrics-port`

What WireGuard says of its peers on this machine. Needs root, or CAP_NET_ADMIN.
"""


def metrics_page() -> str:
    """docs/metrics.md."""
    parts = [METRICS_HEAD, GATEWAY_METRICS, metrics_table(gateway_families())]
    parts += [WORKER_METRICS, metrics_table(worker_families())]
    return "\n".join([*parts, LINK_METRICS, metrics_table(link_families())])


def families() -> list[Metric]:
    """Everything that is measured, with one sample of everything."""
    return [*gateway_families(), *worker_families(), *link_families()]


def metric_names() -> list[str]:
    """Every metric that is measured, as queries name it; histograms without their suffixes."""
    return sorted({name_of(family) for family in families()})


def name_of(family: Metric) -> str:
    """A family's name as queries have it."""
    return f"{family.name}_total" if family.type == "counter" else family.name


def metrics_table(families: Iterable[Metric]) -> str:
    """Name, type, labels and meaning of each family."""
    users = used_in()
    rows = ["| metric | type | labels | what | seen in |", "| --- | --- | --- | --- | --- |"]
    for family in sorted(families, key=lambda family: family.name):
        name = name_of(family)
        labels = dict.fromkeys(label for sample in family.samples for label in sample.labels)
        shown = codes(label for label in labels if label != "le")
        seen = ", ".join(users.get(name, ())) or BY_HAND.get(name, "")
        rows.append(f"| `{name}` | {family.type} | {shown} | {family.documentation} | {seen} |")
    return "\n".join([*rows, ""])


EMPTY_SPOOL = Spool(
    gateway="",
    rows=0,
    bytes=0,
    oldest_s=0,
    shipped=0,
    kept=0,
    alarms=0,
    gone=0,
    adopted=0,
    writable=True,
    full=False,
    away=False,
)


def gateway_families() -> list[Metric]:
    """What a gateway's scrape holds, with one sample of everything."""
    metrics = GatewayMetrics()
    metrics.observe("GET", "/v1/jobs", 200, 0.1)
    lanes = [LaneView(lane(), waiting=1, active=1, oldest_age_ms=1, lag=1)]
    pools = {"io": PoolView(leases=1, expired=0, limit=1)}
    view = ClassView(
        ResourceClass.IO, False, 1, 1, 0, pools, lanes, offness=Offness(1, 1.0, 1.0, 1.0)
    )
    snapshot = CollectorRegistry()
    whats = ("submitted", "replayed", "started", "retried", "succeeded")
    tallies = {(what, lane()): 1 for what in whats}
    worker = WorkerCard("w", "h", 1, "0", {}, {"ollama": 1}, {}, (), models=("small",))
    snapshot.register(ClassSnapshot({"io|waiting": 1}, [view]))
    snapshot.register(JobSnapshot(tallies))
    snapshot.register(AppSnapshot(tallies, [view]))
    snapshot.register(FleetSnapshot([worker], [view]))
    snapshot.register(ServerSnapshot(ServerState(Memory(1, 0), appends=True, writes=True), 0.0))
    happened = {"echo": {"started": 1}}
    recent = Recent("w", 0, happened, {"echo": {"timed_out": 9}})
    snapshot.register(WindowSnapshot(recent))
    findings = Findings(broken={"no result": 1}, mended={"entry gone": 1})
    snapshot.register(CallbackSnapshot({}, EndpointsNow({}, 0, 0)))
    snapshot.register(AuditSnapshot([Balance("io", "waiting", 1, 1)], findings))
    snapshot.register(SpoolMetrics(lambda: EMPTY_SPOOL))
    return [*metrics.registry.collect(), *courier_registry().collect(), *snapshot.collect()]


def courier_registry() -> CollectorRegistry:
    """What a courier counts, with one sample of everything."""
    told = CourierMetrics()
    verdict = RetryDelivery(1, "", error="timeout")
    record = CallbackRecord(*("",) * 4, State.DEAD, *(0,) * 4, None, None, 0, "", "", 1)
    told(DeliveryReport(record, 1, verdict, DeliverySettled(Settled.SETTLED, "opened")))
    return told.registry


def worker_families() -> list[Metric]:
    """What a worker's scrape holds, with one sample of everything."""
    metrics = WorkerMetrics("0", {"io": 1})
    metrics.watch(lambda: Health(True, True, 0.0, 0.0, 0))
    held = Lease("0-j", "t", lane(), "1-0", "io", 1, 0, 3, 1_000, 1_000, 1_000, 0, b"{}", 2)
    happenings: list[Happening] = [
        AttemptStarted(held),
        AttemptJudged(held, Done(b"1"), 0.1, Usage(cached=1)),
        AttemptJudged(held, Dead(Fault("timed_out", "")), 0.1),
        ModelAsked(held, Usage(asks=1, swaps=1), 0.1),
        ChoreFailed("janitor", ""),
    ]
    for happening in happenings:
        metrics(happening)
    return list(metrics.registry.collect())


def link_families() -> list[Metric]:
    """What a scrape of the VPN's link holds, with one sample of everything."""
    return list(LinkMetrics(lambda what: "wg0 key 1 1").collect())
