"""Each alert fires when it should and is silent when it should not, says Prometheus' own tool."""

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from prometheus_client import CollectorRegistry, Metric, generate_latest

from tests.support.metrics_page import families
from tests.support.monitoring import DEPLOY, RULES, alerts

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool (prometheus) is not on PATH")

Series = Mapping[str, str]


class Case(msgspec.Struct, frozen=True):
    """One alert: series, a sample a minute, for which it fires `at`, and others for which not."""

    alert: str
    at: str
    fires: Series
    silent: tuple[Series, ...]


def of(resource_class: str = "io", **labels: str) -> str:
    """Labels as they stand in a series."""
    both = {"resource_class": resource_class, **labels}
    return "{" + ",".join(f'{name}="{value}"' for name, value in both.items()) + "}"


WAITING = f"roughneck_lanes_waiting{of(priority='normal')}"
PENDING = f"roughneck_lanes_pending{of(priority='normal')}"
PAUSED = f"roughneck_class_paused{of()}"
WORKING = f"roughneck_workers{of(condition='working')}"
HIGH = f"roughneck_oldest_age_seconds{of(priority='high')}"
UNSERVED = f"roughneck_lanes_unserved{of(missing='processor')}"
UNHEALTHY = f"roughneck_workers{of(condition='unhealthy')}"
DONE = f"roughneck_jobs_ended_total{of(processor='p', state='succeeded')}"
DEAD = f"roughneck_jobs_ended_total{of(processor='p', state='dead')}"
RETRIED = f"roughneck_attempts_continued_total{of(processor='p', outcome='retried')}"
LOST = f"roughneck_attempts_continued_total{of(processor='p', outcome='lost')}"
STARTED = f"roughneck_attempts_started_total{of(processor='p')}"
SPIKE = 'roughneck_agent_lines_total{agent="error-spikes",level="warning"}'
OVER = 'roughneck_agent_lines_total{agent="error-spikes",level="info"}'
CHORE = 'roughneck_chore_failures_total{chore="sweep"}'
LOADING = 'roughneck_model_load_seconds_sum{model="m",instance="w"}'
ASKS = 'roughneck_model_asks_total{model="m",processor="p"}'
REPAIRS = 'roughneck_model_repairs_total{model="m",processor="p"}'
FAILED = 'roughneck_attempt_failures_total{model="m",processor="p",error="ollama_away"}'
UP = 'up{job="roughneck-worker",instance="w"}'
GATEWAY_UP = 'up{job="roughneck-gateway",instance="g"}'
GOOD = 'roughneck_gateway_requests_total{code="200"}'
BAD = 'roughneck_gateway_requests_total{code="503"}'
REDIS_UP = 'roughneck_redis_up{job="roughneck-gateway",instance="g"}'
LINK_UP = 'roughneck_redis_link_up{job="roughneck-worker",instance="w"}'
USED = 'roughneck_redis_memory_bytes{what="used"}'
LIMIT = 'roughneck_redis_memory_bytes{what="limit"}'
SPOOLED = 'roughneck_journal_rows{instance="g",state="spooled"}'
SPOOL_AGE = 'roughneck_journal_oldest_seconds{instance="g"}'
KEPT = 'roughneck_journal_rows{instance="g",state="kept"}'
DIFFERENCE = f"roughneck_audit_difference{of(what='waiting')}"
MENDED = 'roughneck_audit_mended_jobs_total{what="entry gone"}'
GIVEN_UP = 'roughneck_callback_deliveries_total{outcome="dead"}'

CASES = [
    Case(
        "RoughneckHighPriorityWaits", "6m", {HIGH: "301x9"}, ({HIGH: "299x9"}, {HIGH: "301x4 0x5"})
    ),
    Case(
        "RoughneckClassStuck",
        "6m",
        {WAITING: "5x9", PENDING: "0x9", PAUSED: "0x9"},
        (
            {WAITING: "5x9", PENDING: "1x9", PAUSED: "0x9"},
            {WAITING: "0x9", PENDING: "0x9", PAUSED: "0x9"},
            {WAITING: "5x9", PENDING: "0x9", PAUSED: "1x9"},
        ),
    ),
    Case(
        "RoughneckNoWorker",
        "3m",
        {WAITING: "5x9", WORKING: "0x9"},
        ({WAITING: "5x9", WORKING: "1x9"}, {WAITING: "0x9", WORKING: "0x9"}),
    ),
    Case("RoughneckWorkerUnhealthy", "3m", {UNHEALTHY: "1x9"}, ({UNHEALTHY: "0x9"},)),
    Case("RoughneckLanesUnserved", "6m", {UNSERVED: "2x9"}, ({UNSERVED: "0x9"},)),
    Case(
        "RoughneckBacklog",
        "20m",
        {WAITING: "10000x30", DONE: "0+60x30"},
        (
            {WAITING: "100x30", DONE: "0+60x30"},
            {WAITING: "10000x30", DONE: "0+6000x30"},
            {WAITING: "10000x30", DONE: "7x30"},  # nothing ends: that is another alert's
        ),
    ),
    Case("RoughneckClassPaused", "31m", {PAUSED: "1x40"}, ({PAUSED: "0x40"}, {PAUSED: "0 0 1x40"})),
    Case(
        "RoughneckFailures",
        "12m",
        {STARTED: "0+10x20", RETRIED: "0+2x20", DEAD: "0+1x20", DONE: "0+7x20"},
        (
            {STARTED: "0+10x20", RETRIED: "0+1x20", DEAD: "0x20", DONE: "0+9x20"},
            {STARTED: "0+1x20", RETRIED: "0+0.5x20", DEAD: "0x20"},  # too few to say
        ),
    ),
    Case("RoughneckDeadLetters", "5m", {DEAD: "3 3 4x9"}, ({DEAD: "3x9"},)),
    Case("RoughneckAttemptsLost", "5m", {LOST: "0 1x9"}, ({LOST: "1x9"}, {RETRIED: "0 1x9"})),
    Case("RoughneckChoreFails", "12m", {CHORE: "0+1x20"}, ({CHORE: "0 1x20"},)),
    Case("RoughneckErrorSpike", "8m", {SPIKE: "0x3 1x9"}, ({SPIKE: "0x12", OVER: "0x3 1x9"},)),
    Case("RoughneckModelsAlternate", "50m", {LOADING: "0+40x60"}, ({LOADING: "0+20x60"},)),
    Case(
        "RoughneckModelRepairs",
        "50m",
        {ASKS: "0+10x60", REPAIRS: "0+4x60"},
        ({ASKS: "0+10x60", REPAIRS: "0+2x60"},),
    ),
    Case("RoughneckModelRefuses", "8m", {FAILED: "0+1x20"}, ({FAILED: "0 3x20"},)),
    Case("RoughneckTargetDown", "3m", {UP: "0x9"}, ({UP: "1x9"}, {'up{job="other"}': "0x9"})),
    Case("RoughneckGatewayAbsent", "3m", {UP: "1x9"}, ({GATEWAY_UP: "0x9"},)),
    Case(
        "RoughneckGatewayErrors",
        "9m",
        {GOOD: "0+90x15", BAD: "0+10x15"},
        ({GOOD: "0+1000x15", BAD: "0+1x15"},),
    ),
    Case(
        "RoughneckRedisAway",
        "2m",
        {LINK_UP: "0x9", REDIS_UP: "1x9"},
        ({REDIS_UP: "1x9", LINK_UP: "1x9"},),
    ),
    Case(
        "RoughneckRedisMemory",
        "6m",
        {USED: "81x9", LIMIT: "100x9"},
        ({USED: "79x9", LIMIT: "100x9"}, {USED: "81x9", LIMIT: "0x9"}),
    ),
    Case(
        "RoughneckRedisDisk",
        "2m",
        {"roughneck_redis_writes_to_disk": "0x9"},
        ({"roughneck_redis_writes_to_disk": "1x9"},),
    ),
    Case(
        "RoughneckLinkDead",
        "2m",
        {'roughneck_link_handshake_age_seconds{device="wg0",peer="10.88.0.2"}': "181x9"},
        (
            {'roughneck_link_handshake_age_seconds{device="wg0",peer="10.88.0.2"}': "120x9"},
            {"roughneck_link_known": "1x9"},
        ),
    ),
    Case(
        "RoughneckEventLoopLate",
        "6m",
        {'roughneck_event_loop_lag_seconds{instance="w"}': "1.5x9"},
        ({'roughneck_event_loop_lag_seconds{instance="w"}': "0.5x9"},),
    ),
    Case(
        "RoughneckVerdictsOwed",
        "11m",
        {'roughneck_verdicts_owed{instance="w"}': "1x20"},
        ({'roughneck_verdicts_owed{instance="w"}': "0x20"},),
    ),
    Case(
        "RoughneckSpooling",
        "6m",
        {SPOOLED: "5x9", SPOOL_AGE: "90x9"},
        ({SPOOLED: "0x9", SPOOL_AGE: "0x9"}, {SPOOLED: "5x9", SPOOL_AGE: "1x9"}),
    ),
    Case(
        "RoughneckJournalDisk",
        "2m",
        {'roughneck_journal_writable{instance="g"}': "0x9"},
        ({'roughneck_journal_writable{instance="g"}': "1x9"},),
    ),
    Case("RoughneckJobsKept", "6m", {KEPT: "1x9"}, ({KEPT: "0x9"}, {SPOOLED: "1x9"})),
    Case(
        "RoughneckRedisRolledBack",
        "5m",
        {"roughneck_journal_rollbacks_total": "0 1x9"},
        ({"roughneck_journal_rollbacks_total": "1x9"},),
    ),
    Case(
        "RoughneckJobsLost",
        "5m",
        {"roughneck_journal_lost_jobs_total": "0 2x9"},
        ({"roughneck_journal_lost_jobs_total": "2x9"},),
    ),
    Case(
        "RoughneckAuditDifference",
        "61m",
        {DIFFERENCE: "-1x70"},
        ({DIFFERENCE: "0x70"}, {DIFFERENCE: "1x30 0 1x40"}),
    ),
    Case(
        "RoughneckAuditBroken",
        "1m",
        {'roughneck_audit_broken_jobs{what="no result"}': "1x9"},
        ({'roughneck_audit_broken_jobs{what="no result"}': "0x9"},),
    ),
    Case("RoughneckAuditMends", "5m", {MENDED: "0 1x9"}, ({MENDED: "4x9"},)),
    Case(
        "RoughneckAuditStands",
        "12m",
        {"roughneck_audit_walk_timestamp_seconds": "-90000x20"},  # time begins at 0 here
        (
            {"roughneck_audit_walk_timestamp_seconds": "0x20"},  # never: a young deployment
            {"roughneck_audit_walk_timestamp_seconds": "-3600x20"},
        ),
    ),
    Case(
        "RoughneckCallbacksLate",
        "6m",
        {"roughneck_callback_oldest_age_seconds": "601x9"},
        ({"roughneck_callback_oldest_age_seconds": "599x9"},),
    ),
    Case("RoughneckCallbacksGivenUp", "5m", {GIVEN_UP: "0 1x9"}, ({GIVEN_UP: "1x9"},)),
    Case(
        "RoughneckEndpointOpen",
        "31m",
        {"roughneck_endpoints_open": "1x40"},
        ({"roughneck_endpoints_open": "0x40"},),
    ),
    Case(
        "RoughneckEndpointDisabled",
        "11m",
        {"roughneck_endpoints_disabled": "1x20"},
        ({"roughneck_endpoints_disabled": "0x20"},),
    ),
]


def test_every_alert_has_a_case() -> None:
    assert [case.alert for case in CASES] == [rule["alert"] for rule in alerts()]


@needs_promtool
def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    tests = []
    for case in CASES:
        tests.append(unit(case, case.fires, count=1))
        tests += [unit(case, series, count=0) for series in case.silent]
    checked(tmp_path, tests)


@needs_promtool
def test_several_gateways_tell_of_one_backlog(tmp_path: Path) -> None:
    """Each tells the truth of the same Redis: it must not be added up."""
    one = {
        f'roughneck_lanes_waiting{{resource_class="io",instance="g{n}"}}': "50x9" for n in (1, 2)
    }
    expr = "sum by (resource_class) (max without (instance) (roughneck_lanes_waiting))"
    sample = {"labels": '{resource_class="io"}', "value": 50}
    checked(tmp_path, [group(one, {"expr": expr, "eval_time": "1m", "exp_samples": [sample]})])


@needs_promtool
def test_what_an_alert_says_reads_well(tmp_path: Path) -> None:
    rule = next(one for one in alerts() if one["alert"] == "RoughneckBacklog")
    said = {
        "summary": "Class io: what waits will take 2h 46m 40s at the present pace.",
        "runbook_url": rule["annotations"]["runbook_url"],
    }
    expected = {
        "exp_labels": {"resource_class": "io", **rule["labels"]},
        "exp_annotations": said,
    }
    series = {WAITING: "10000x30", DONE: "0+60x30"}
    found = {
        **group(series),
        "alert_rule_test": [
            {"eval_time": "20m", "alertname": rule["alert"], "exp_alerts": [expected]}
        ],
    }
    checked(tmp_path, [found])


@needs_promtool
def test_configuration_and_rules_are_valid() -> None:
    assert PROMTOOL is not None
    for arguments in (
        ["check", "config", str(DEPLOY / "prometheus" / "prometheus.yml")],
        ["check", "rules", "--lint=all", "--lint-fatal", *map(str, RULES)],
    ):
        ran = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def unit(case: Case, series: Series, *, count: int) -> dict[str, Any]:
    """A test that the alert fires as often; what it says is not compared."""
    firing = f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}}) or vector(0)'
    sample = {"labels": "{}", "value": count}
    return group(series, {"expr": firing, "eval_time": case.at, "exp_samples": [sample]})


def group(series: Series, *queries: dict[str, Any]) -> dict[str, Any]:
    """One group of promtool's."""
    given = [{"series": name, "values": values} for name, values in series.items()]
    return {"interval": "1m", "input_series": given, "promql_expr_test": list(queries)}


def checked(folder: Path, tests: list[dict[str, Any]]) -> None:
    """Let promtool run them."""
    assert PROMTOOL is not None
    path = folder / "tests.yml"
    rules = [str(rule) for rule in RULES]
    path.write_text(yaml.safe_dump({"rule_files": rules, "tests": tests}), "utf-8")
    ran = subprocess.run(
        [PROMTOOL, "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@needs_promtool
def test_metrics_are_named_and_explained_as_prometheus_wants() -> None:
    assert PROMTOOL is not None
    text = generate_latest(Every())
    ran = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, b""), ran.stderr.decode()


class Every(CollectorRegistry):
    """Every family once."""

    def collect(self) -> Iterable[Metric]:
        return {family.name: family for family in families()}.values()
