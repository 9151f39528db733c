"""Dashboards and alerts: complete, consistent, and nothing measured that nobody sees."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ops.dashboards import DASHBOARDS
from ops.dashboards.build import SOURCE, Dashboard, Query
from tests.support.documents import DASHBOARD_FILES, DEPLOY, DOCS
from tests.support.metrics_page import metric_names
from tests.support.monitoring import BY_HAND, alerts, names_in, rules, used_in
from tests.unit.test_docs import anchors

UNITS = {"short", "s", "bytes", "percentunit", "cps", "reqps", "Bps"}
SEVERITIES = {"critical", "warning", "info"}

both = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.uid)


@pytest.mark.parametrize("path", DASHBOARD_FILES, ids=lambda path: path.stem)
def test_dashboards_are_current(path: Path) -> None:
    assert path.read_text("utf-8") == DASHBOARD_FILES[path](), "run: python -m tests.check --fix"


def test_no_other_dashboard_lies_beside_them() -> None:
    assert set((DEPLOY / "grafana" / "dashboards").iterdir()) == set(DASHBOARD_FILES)


@both
def test_a_dashboard_is_as_grafana_wants_it(dashboard: Dashboard) -> None:
    found = json.loads(DASHBOARD_FILES[path_of(dashboard)]())
    panels: list[dict[str, Any]] = found["panels"]
    assert found["uid"].startswith("roughneck-")
    assert not found["editable"]
    assert found["templating"]["list"][0]["name"] == "datasource"
    assert "__inputs" not in found
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert [
        title for title, n in Counter(one.title for one in dashboard.panels).items() if n > 1
    ] == []
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        if panel["type"] != "row":
            assert panel["datasource"] == SOURCE
            assert panel["description"].endswith(".")
            assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
            references = [target["refId"] for target in panel["targets"]]
            assert len(set(references)) == len(references)
            assert all(target["datasource"] == SOURCE for target in panel["targets"])
    assert overlapping(panels) == []


def test_uids_and_titles_are_unique() -> None:
    assert len({one.uid for one in DASHBOARDS}) == len({one.title for one in DASHBOARDS})


def test_rates_follow_the_scrape_interval() -> None:
    """A fixed window in a panel is either too short for a scrape or hides what is new."""
    rates = [query.expr for query in queries() if "rate(" in query.expr]
    assert rates
    assert [expr for expr in rates if expr.count("rate(") != expr.count("[$__rate_interval]")] == []


def test_every_metric_that_is_used_exists_and_every_one_that_exists_is_used() -> None:
    used, known = set(used_in()), set(metric_names())
    assert used - known == set(), "a query asks for what nobody measures"
    unused = known - used
    assert unused == set(BY_HAND), "a metric without panel, rule or documented use"


def test_recorded_series_that_are_used_are_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    exprs = [query.expr for query in queries()] + [rule["expr"] for rule in rules()]
    assert {name for expr in exprs for name in re.findall(r"\w+:\w+:\w+", expr)} == recorded


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_has_a_runbook_entry(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("Roughneck")
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"]["summary"].endswith(".")
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert page == "docs/operations.md"
    assert anchor == rule["alert"].lower()
    assert anchor in anchors(DOCS / "operations.md")
    assert names_in(rule["expr"]) or "up{" in rule["expr"] or ":" in rule["expr"]


def test_the_runbook_has_no_entry_for_an_alert_that_is_gone() -> None:
    entries = {name for name in anchors(DOCS / "operations.md") if name.startswith("roughneck")}
    assert entries == {rule["alert"].lower() for rule in alerts()}


def queries() -> list[Query]:
    return [query for one in DASHBOARDS for panel in one.panels for query in panel.queries]


def path_of(dashboard: Dashboard) -> Path:
    return next(path for path in DASHBOARD_FILES if path.stem == dashboard.uid)


def overlapping(panels: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Pairs of panels that lie on one another."""
    cells: dict[tuple[int, int], int] = {}
    found = []
    for panel in panels:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if (x, y) in cells:
                    found.append((cells[x, y], panel["id"]))
                cells[x, y] = panel["id"]
    return found
