"""The documents as a site: it is built without a warning, so every page has its place."""

import subprocess
from pathlib import Path

import pytest

from tests.deploy.conftest import tool

ROOT = Path(__file__).parents[2]


@pytest.mark.deploy
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    build = [tool("mkdocs"), "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {"NO_MKDOCS_2_WARNING": "1", "PATH": "/usr/bin:/bin"}
    ran = subprocess.run(
        build, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "WARNING" not in ran.stderr
    assert (tmp_path / "start" / "index.html").exists()
