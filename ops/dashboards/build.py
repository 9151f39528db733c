"""Dashboards as values, and the classic JSON that Grafana provisions from.

A dashboard is rows of panels; a panel is a title, queries, a unit and a sentence. Where panels
lie, their ids and everything that Grafana wants to be told follows from that.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

SCHEMA = 42
COLUMNS = 24
HEIGHTS = {"stat": 4, "timeseries": 8, "state-timeline": 6}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
TAG = "roughneck"
GOOD, WARN, BAD = "green", "orange", "red"


class Query(msgspec.Struct, frozen=True):
    """PromQL and what its series are called: `{{label}}`s, or a fixed name."""

    expr: str
    legend: str = ""


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One panel. `steps` are (value, colour), each from its value on."""

    title: str
    what: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    steps: tuple[tuple[float, str], ...] = ()
    stack: bool = False
    names: Mapping[str, str] = {}  # texts for values, of a stat or a state


class Row(msgspec.Struct, frozen=True):
    """Panels beside each other under a heading, all of one height."""

    title: str
    panels: tuple[Panel, ...]


class Dashboard(msgspec.Struct, frozen=True, kw_only=True):
    """One dashboard. `variables` are names → queries for their values, each of many or all."""

    uid: str
    title: str
    what: str
    rows: tuple[Row, ...]
    variables: Mapping[str, str] = {}

    @property
    def panels(self) -> list[Panel]:
        """All panels, row by row."""
        return [panel for row in self.rows for panel in row.panels]


def truth(metric: str, by: str = "", where: str = "") -> str:
    """A gauge of Redis' truth, summed by labels: every gateway tells the same, so once."""
    return f"sum{_by(by)}(max without (instance) ({metric}{_where(where)}))"


def highest(metric: str, by: str = "", where: str = "") -> str:
    """The same for what is not to be summed: ages, flags."""
    return f"max{_by(by)}({metric}{_where(where)})"


def truth_rate(metric: str, by: str = "", where: str = "") -> str:
    """How fast a counter of Redis' truth rises, a second."""
    inner = f"rate({metric}{_where(where)}[$__rate_interval])"
    return f"sum{_by(by)}(max without (instance) ({inner}))"


def own_rate(metric: str, by: str = "", where: str = "") -> str:
    """How fast a counter rises that each process has for itself, a second."""
    return f"sum{_by(by)}(rate({metric}{_where(where)}[$__rate_interval]))"


def quantile(share: float, histogram: str, by: str = "") -> str:
    """A quantile of a histogram that each process has for itself."""
    labels = f"le, {by}" if by else "le"
    rate = f"rate({histogram}_bucket[$__rate_interval])"
    return f"histogram_quantile({share}, sum by ({labels}) ({rate}))"


def share(part: str, whole: str) -> str:
    """One rate as a share of another of the same labels."""
    return f"{part} / {whole}"


def rendered(dashboard: Dashboard) -> str:
    """The file, as Grafana reads it."""
    return msgspec.json.format(msgspec.json.encode(model(dashboard)), indent=2).decode() + "\n"


def model(dashboard: Dashboard) -> dict[str, Any]:
    """Grafana's classic model of a dashboard."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.what,
        "tags": [TAG],
        "editable": False,
        "graphTooltip": 1,  # one crosshair for all panels
        "schemaVersion": SCHEMA,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "links": [_links()],
        "templating": {"list": [_source(), *_variables(dashboard.variables)]},
        "panels": list(_placed(dashboard.rows)),
    }


def _placed(rows: Iterable[Row]) -> Iterable[dict[str, Any]]:
    number, y = 0, 0
    for row in rows:
        number += 1
        yield _heading(row.title, number, y)
        y += 1
        width, height = COLUMNS // len(row.panels), max(HEIGHTS[one.kind] for one in row.panels)
        for column, panel in enumerate(row.panels):
            number += 1
            place = {"x": column * width, "y": y, "w": width, "h": height}
            yield {"id": number, "gridPos": place, **_panel(panel)}
        y += height


def _heading(title: str, number: int, y: int) -> dict[str, Any]:
    place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
    return {
        "id": number,
        "type": "row",
        "title": title,
        "collapsed": False,
        "gridPos": place,
        "panels": [],
    }


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.what,
        "datasource": SOURCE,
        "targets": [_target(*pair, panel.kind) for pair in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel.kind),
    }


def _target(index: int, query: Query, kind: str) -> dict[str, Any]:
    return {
        "refId": chr(ord("A") + index),
        "datasource": SOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "instant": kind == "stat",
        "range": kind != "stat",
        "format": "time_series",
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"value": None, "color": GOOD}]
    steps += [{"value": value, "color": colour} for value, colour in panel.steps]
    found: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.kind == "timeseries":
        found["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 20 if panel.stack else 5,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stack else "none"},
        }
    else:
        found["color"] = {"mode": "thresholds"}
    if panel.names:
        texts = {value: {"text": text} for value, text in panel.names.items()}
        found["mappings"] = [{"type": "value", "options": texts}]
    return found


def _options(kind: str) -> dict[str, Any]:
    match kind:
        case "stat":
            return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background"}
        case "state-timeline":
            return {"mergeValues": True, "showValue": "never"}
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}


def _source() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
    }


def _variables(given: Mapping[str, str]) -> Sequence[dict[str, Any]]:
    return [
        {
            "name": name,
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": query, "refId": name},
            "refresh": 2,  # whenever the time range changes
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]},
            "sort": 1,
        }
        for name, query in given.items()
    ]


def _links() -> dict[str, Any]:
    return {
        "type": "dashboards",
        "title": "Roughneck",
        "tags": [TAG],
        "asDropdown": True,
        "keepTime": True,
        "includeVars": False,
    }


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else " "


def _where(matchers: str) -> str:
    return f"{{{matchers}}}" if matchers else ""
