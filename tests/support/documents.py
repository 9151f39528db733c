"""Documents that are made from the source: written by `tests.check --fix`, compared by a test."""

import ast
import inspect
import re
import tokenize
from collections.abc import Callable
from functools import partial
from io import StringIO
from pathlib import Path

from msgspec import inspect as shapes

from ops.dashboards import DASHBOARDS
from ops.dashboards.build import rendered
from ops.settings import Settings, fields, shown
from tests.support.cli_page import cli_page
from tests.support.metrics_page import metrics_page
from tests.support.reference import errors_page, keyspace_page
from tests.support.site import site_page

ROOT = Path(__file__).parents[2]
DOCS, DEPLOY = ROOT / "docs", ROOT / "ops" / "deploy"

SETTINGS_HEAD = """\
# Settings

Defaults, then `roughneck.toml`, then the environment, then the command line; the later wins.
`port` of `[gateway]` is `ROUGHNECK_GATEWAY__PORT=9000` in the environment. A list is split on
commas. A setting marked *secret* may stand in a file: `ROUGHNECK_CLIENT__KEY_FILE=/run/key`.
An unknown name is an error that names it. `roughneck settings` shows what holds.

Units are in the names: `_s` seconds, `_ms` milliseconds, `_bytes`, `_mb`.

Tables `[schedules.<name>]` declare schedules: see [schedules](schedules.md#in-the-settings).
"""


def settings_page() -> str:
    """docs/settings.md."""
    sections: dict[str, list[str]] = {}
    for section, field in fields():
        default = shown(field, getattr(getattr(Settings(), section), field.name))
        marks = field.type.extra if isinstance(field.type, shapes.Metadata) else None
        note = comments(section).get(field.name, "")
        secret = "*secret* " if marks else ""
        row = f"| `{field.name}` | {_code(default)} | {secret}{note} |"
        sections.setdefault(section, []).append(row)
    parts = [SETTINGS_HEAD]
    for section, rows in sections.items():
        parts.append(f"## {section}\n\n| name | default | what |\n| --- | --- | --- |\n")
        parts[-1] += "\n".join(rows) + "\n"
    return "\n".join(parts)


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "errors.md": errors_page,
    "keyspace.md": keyspace_page,
    "metrics.md": metrics_page,
    "cli.md": cli_page,
    "../mkdocs.yml": site_page,
}


DASHBOARD_FILES: dict[Path, Callable[[], str]] = {
    DEPLOY / "grafana" / "dashboards" / f"{dashboard.uid}.json": partial(rendered, dashboard)
    for dashboard in DASHBOARDS
}


def write_all() -> list[Path]:
    """Write every page and dashboard that is not as it should be; which they were."""
    written = []
    pages = {DOCS / name: page for name, page in PAGES.items()}
    for path, page in (pages | DASHBOARD_FILES).items():
        text = page()
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            written.append(path)
    return written


def comments(section: str) -> dict[str, str]:
    """What stands behind each field of a section's struct, in the source."""
    struct = type(getattr(Settings(), section))
    source = inspect.getsource(struct)
    by_line = {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for statement in definition.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            lines = range(statement.lineno, (statement.end_lineno or 0) + 1)
            said = [by_line[line] for line in lines if line in by_line]
            found[statement.target.id] = " ".join(said)
    return found


def _code(text: str) -> str:
    return "" if not text else f"`{re.sub(r'[|]', '/', text)}`"
