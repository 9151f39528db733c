"""Checks that need the tools of deployment run with `make check-deploy`; they skip without."""

import shutil
from pathlib import Path

import pytest

VENV = Path(__file__).parents[2] / ".venv"
HOW = "run `make check-deploy`, which installs what it needs"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--deploy"):
        for item in items:
            if item.get_closest_marker("deploy"):
                item.add_marker(pytest.mark.skip(reason=HOW))


def tool(name: str) -> str:
    """The program's path; the test is skipped where it is not installed."""
    own = [VENV / tools / "bin" / name for tools in ("deploy", "docs")]
    where = next((str(path) for path in own if path.exists()), shutil.which(name))
    if where is None:
        pytest.skip(f"{name} is not installed: {HOW}")
    return where
