"""What is watched: which panels and rules use which metric."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ops.dashboards import DASHBOARDS

DEPLOY = Path(__file__).parents[2] / "ops" / "deploy"
RULES = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
METRIC = re.compile(r"\b(roughneck_[a-z0-9_]+)")
SUFFIXES = re.compile(r"_(bucket|sum|count)$")

# Metrics that no panel and no rule uses, and what they are good for.
BY_HAND: dict[str, str] = {}


def rules() -> list[dict[str, Any]]:
    """Every recording and alert rule."""
    loaded = [yaml.safe_load(path.read_text("utf-8")) for path in RULES]
    return [rule for file in loaded for group in file["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """Every alert."""
    return [rule for rule in rules() if "alert" in rule]


def used_in() -> dict[str, list[str]]:
    """Metric → the dashboards and alerts that show it, by name; through recorded rules too."""
    recorded = {rule["record"]: names_in(rule["expr"]) for rule in rules() if "record" in rule}
    found: dict[str, list[str]] = {}
    for user, expr in _users():
        names = names_in(expr)
        for record, inner in recorded.items():
            if record in expr:
                names |= inner
        for name in names:
            found.setdefault(name, []).append(user)
    return {name: list(dict.fromkeys(users)) for name, users in found.items()}


def names_in(expr: str) -> set[str]:
    """The metrics of an expression; a histogram's by its own name."""
    bare = re.sub(r"\b\w+:[\w:]+", "", expr)  # recorded ones have a colon
    return {SUFFIXES.sub("", name) for name in METRIC.findall(bare)}


def _users() -> Iterator[tuple[str, str]]:
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for query in panel.queries:
                yield dashboard.title.removeprefix("Roughneck: "), query.expr
    for rule in rules():
        yield rule.get("alert", rule.get("record")), rule["expr"]
