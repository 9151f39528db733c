"""Reference pages made from the source: the keyspace with its scripts, metrics, error codes."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Metric

import gateway
import processors
from gateway.audit_metrics import AuditSnapshot
from gateway.courier_metrics import CallbackSnapshot, CourierMetrics
from gateway.courier_report import DeliveryReport
from gateway.engine_metrics import AppSnapshot, ClassSnapshot, JobSnapshot
from gateway.fleet_metrics import FleetSnapshot, ServerSnapshot
from gateway.journal.acceptor import Spool
from gateway.journal.measures import SpoolMetrics
from gateway.metrics import GatewayMetrics
from gateway.problems import STATUSES
from ops.metrics import WorkerMetrics
from ops.wireguard import LinkMetrics
from streams import keyspace
from streams.audit import Balance, Findings
from streams.callbacks import CallbackRecord
from streams.deliveries import DeliverySettled, RetryDelivery
from streams.directory import WorkerCard
from streams.endpoints import EndpointsNow
from streams.errors import Trouble
from streams.inspector import ClassView, LaneView, PoolView
from streams.memory import Memory, ServerState
from streams.model import Done, Lease, ResourceClass, Settled, State
from streams.scripts import parse_header, read_sources
from streams.telemetry import AttemptJudged, AttemptStarted, ChoreFailed, Happening
from tests.support.build import lane

KEYSPACE_HEAD = """\
# Keyspace

Every key in Redis, and the scripts and libraries whose header declares it. All keys share one hash
tag (`engine.tag`), so that a script may touch several of them. A key is permanent by design or has
a lifetime. The words are those of the [glossary](glossary.md).
"""

SCRIPTS_HEAD = """\
## Scripts

Each change of state is one of these files in `streams/lua/`. Keys and settings are bound into a
script when it is loaded ([decision 3](decisions/0003-bound-scripts.md)); a call carries the
arguments. What several scripts share stands once in `lua/lib/`.
"""

METRICS_HEAD = """\
# Metrics

In Prometheus' text format. Labels are bounded: processors, classes, priorities, states, outcomes;
never a job's id or the text of an error. Apps are a label of `roughneck_app_…` alone, and only the
fifty that submitted most; a key with scope `metrics` sees them. A counter's samples end in
`_total`; a histogram has `_bucket`, `_sum` and `_count`.
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

ERRORS_HEAD = """\
# Error codes

Public and stable: the same in the API's problem documents, in logs and in dead letters. Branch on
the code, never on the text.
"""

PLATFORM_ERRORS = """\
## The platform

The status is the one that the gateway answers.
"""

GATEWAY_ERRORS = """\
## The gateway alone
"""

ATTEMPT_ERRORS = """\
## Attempts

What else stands in the `error` of a job. Whether a failure is tried again is told in
[processors](processors.md#how-an-attempt-ends).
"""

# What no class of error stands for: scripts write it, or the judge of an attempt does.
WRITTEN_CODES = {
    "duplicate_of": "Another job had the idempotency key; it came to light after the acceptance.",
    "refused": "Redis refused the job after it had been accepted; the message tells why.",
    "kept": "The journal keeps the job and will not send it; the message tells why.",
    "cancelled": "Somebody cancelled the job; the message is their reason.",
    "expired": "The job did not start before its `expires_at`.",
    "processor_failed": "The processor raised an error of its own; the message tells its type.",
}


def keyspace_page() -> str:
    """docs/keyspace.md."""
    declared = declarations()
    rows = ["| key | type | lifetime | what | declared by |", "| --- | --- | --- | --- | --- |"]
    for name, kind, life, what in keyspace_rows():
        users = codes(declared.get(name, ())) or "no script: plain commands"
        rows.append(f"| `{pattern(name)}` | {kind} | {life} | {cell(what)} | {users} |")
    return "\n".join([KEYSPACE_HEAD, "\n".join([*rows, ""]), SCRIPTS_HEAD, scripts_table()])


def keyspace_rows() -> Iterator[tuple[str, str, str, str]]:
    """Name, type, lifetime and meaning of each key, from the module's docstring."""
    lines = (inspect.getdoc(keyspace) or "").splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:2] == ["name", "type"])
    for line in lines[start + 1 :]:
        name, kind, life, what = re.split(r"  +", line.strip(), maxsplit=3)
        yield name, kind, life, what


def pattern(name: str) -> str:
    """How a key of that name is spelt; `…` is what a script or a caller appends."""
    suffix = "…" if name in keyspace.PREFIXES else ""
    return keyspace.Keyspace().key(name, suffix)


def declarations() -> dict[str, list[str]]:
    """Which scripts and libraries name each key in their header."""
    found: dict[str, list[str]] = {}
    for name, text in sorted(read_sources().items()):
        for key in parse_header(text).keys:
            found.setdefault(key, []).append(name)
    return found


def scripts_table() -> str:
    """Name, purpose, libraries, arguments and answer of every script, from its header."""
    rows = ["| script | what it does | uses | arguments | answers |"]
    rows.append("| --- | --- | --- | --- | --- |")
    for name, text in sorted(read_sources().items()):
        if name.startswith("lib/"):
            continue
        header = parse_header(text)
        told = cell(sentence(text, f"{name}: ")), codes(header.uses), codes(header.argv)
        rows.append(f"| `{name}` | {' | '.join(told)} | {cell(sentence(text, 'Returns '))} |")
    return "\n".join([*rows, ""])


def sentence(text: str, start: str) -> str:
    """What the comment at the top of a script says behind `start`, up to a stop."""
    comment = [line[2:].strip() for line in text.splitlines() if line.startswith("--")]
    found = next(i for i, line in enumerate(comment) if line.startswith(start))
    paragraph = [comment[found].removeprefix(start)]
    for line in comment[found + 1 :]:
        if not line or line.startswith(("uses ", "KEYS ", "SETS ", "ARGV ")):
            break
        paragraph.append(line)
    return re.split(r"\.(?:\s|$)|;\s", " ".join(paragraph))[0]


def metrics_page() -> str:
    """docs/metrics.md."""
    parts = [METRICS_HEAD, GATEWAY_METRICS, metrics_table(gateway_families())]
    parts += [WORKER_METRICS, metrics_table(worker_families())]
    return "\n".join([*parts, LINK_METRICS, metrics_table(link_families())])


def metrics_table(families: Iterable[Metric]) -> str:
    """Name, type, labels and meaning of each family."""
    rows = ["| metric | type | labels | what |", "| --- | --- | --- | --- |"]
    for family in sorted(families, key=lambda family: family.name):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = dict.fromkeys(label for sample in family.samples for label in sample.labels)
        shown = codes(label for label in labels if label != "le")
        rows.append(f"| `{name}` | {family.type} | {shown} | {family.documentation} |")
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
    lanes = [LaneView(lane(), waiting=1, active=1, oldest_age_ms=1)]
    pools = {"io": PoolView(leases=1, expired=0, limit=1)}
    view = ClassView(ResourceClass.IO, False, 1, 1, 0, pools, lanes)
    snapshot = CollectorRegistry()
    whats = ("submitted", "replayed", "started", "retried", "succeeded")
    tallies = {(what, lane()): 1 for what in whats}
    worker = WorkerCard("w", "h", 1, "0", {}, {"ollama": 1}, {}, (), models=("small",))
    snapshot.register(ClassSnapshot({"io|waiting": 1}, [view]))
    snapshot.register(JobSnapshot(tallies))
    snapshot.register(AppSnapshot(tallies, [view]))
    snapshot.register(FleetSnapshot([worker], [view]))
    snapshot.register(ServerSnapshot(ServerState(Memory(1, 0), appends=True, writes=True), 0.0))
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
    held = Lease("0-j", "t", lane(), "1-0", "io", 1, 0, 3, 1_000, 1_000, 1_000, 0, b"{}", 2)
    happenings: list[Happening] = [
        AttemptStarted(held),
        AttemptJudged(held, Done(b"1"), 0.1),
        ChoreFailed("janitor", ""),
    ]
    for happening in happenings:
        metrics(happening)
    return list(metrics.registry.collect())


def link_families() -> list[Metric]:
    """What a scrape of the VPN's link holds, with one sample of everything."""
    return list(LinkMetrics(lambda what: "wg0 key 1 1").collect())


def errors_page() -> str:
    """docs/errors.md."""
    import_all()
    platform = [error for error in tree(Trouble) if error.__module__ == Trouble.__module__]
    platform.remove(Trouble)
    edge = [error for error in added("gateway.problems") if error.code in STATUSES]
    attempts = {error.code: first_line(error) for error in added("processors")} | WRITTEN_CODES
    parts = [ERRORS_HEAD, PLATFORM_ERRORS, errors_table(platform), GATEWAY_ERRORS]
    parts += [errors_table(edge), ATTEMPT_ERRORS, "| code | what happened |\n| --- | --- |"]
    parts[-1] += "".join(f"\n| `{code}` | {what} |" for code, what in sorted(attempts.items()))
    return "\n".join([*parts, ""])


def errors_table(errors: Iterable[type[Trouble]]) -> str:
    """Code, status and meaning of each error."""
    rows = ["| code | status | what happened |", "| --- | --- | --- |"]
    for error in errors:
        rows.append(f"| `{error.code}` | {STATUSES[error.code][0]} | {first_line(error)} |")
    return "\n".join([*rows, ""])


def added(package: str) -> list[type[Trouble]]:
    """Errors of that package with a code of their own, in alphabetical order."""
    inherited = {error.code for error in tree(Trouble) if error.__module__ == Trouble.__module__}
    found = {
        error.code: error
        for error in tree(Trouble)
        if error.__module__.startswith(package) and error.code not in inherited
    }
    return [found[code] for code in sorted(found)]


def import_all() -> None:
    """Import the packages that define errors, so that the tree is whole whoever asks."""
    for package in (processors, gateway):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def tree(error: type[Trouble]) -> Iterator[type[Trouble]]:
    """An error class and all below it."""
    yield error
    for child in error.__subclasses__():
        yield from tree(child)


def first_line(error: type[Trouble]) -> str:
    """The first line of an error's docstring."""
    return (inspect.getdoc(error) or "").splitlines()[0]


def cell(text: str) -> str:
    """Text as it may stand in a table."""
    return text.replace("|", "\\|")


def codes(names: Iterable[str]) -> str:
    """Names as they stand in a table."""
    return ", ".join(f"`{name}`" for name in names)
