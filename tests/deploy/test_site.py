"""The documents as a site: every page has its place, and it is built without a warning."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import tool

ROOT = Path(__file__).parents[2]


def pages(nav: Any) -> Iterator[str]:
    match nav:
        case str():
            yield nav
        case dict():
            for inner in nav.values():
                yield from pages(inner)
        case list():
            for inner in nav:
                yield from pages(inner)


def test_every_document_has_its_place_in_the_site() -> None:
    nav = list(pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]))
    docs = ROOT / "docs"
    assert sorted(nav) == sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))
    assert len(nav) == len(set(nav))


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
