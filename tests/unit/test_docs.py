"""Documents say what is: generated pages are current, and commands that are named exist."""

import re
import tomllib
from pathlib import Path

import click
import pytest

from ops.cli.program import COMMANDS, program
from tests.support.documents import DOCS, PAGES

ROOT = DOCS.parent
PROSE = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
COMMAND = re.compile(r"(?:^|`|\$ |\.venv/bin/)roughneck((?: +[a-z][a-z-]*)+)", re.MULTILINE)
TARGET = re.compile(r"(?:^|`|\$ )make +([a-z]+)", re.MULTILINE)
MODULE = re.compile(r"python -m ((?:streams|processors|gateway|ops|tests)[\w.]*)")
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(?:#[^)\s]*)?\)")


@pytest.mark.parametrize("name", sorted(PAGES))
def test_generated_pages_are_current(name: str) -> None:
    path = DOCS / name
    assert path.exists(), "run: python -m tests.check --fix"
    assert path.read_text("utf-8") == PAGES[name](), "run: python -m tests.check --fix"


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_commands_in_prose_exist(path: Path) -> None:
    text = path.read_text("utf-8")
    unknown = [words for words in COMMAND.findall(text) if not is_command(words.split())]
    assert unknown == []
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(TARGET.findall(text)) <= targets
    for module in MODULE.findall(text):
        bare = ROOT / module.replace(".", "/")
        assert bare.with_suffix(".py").exists() or (bare / "__main__.py").exists(), module


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_links_in_prose_lead_somewhere(path: Path) -> None:
    broken = [link for link in LINK.findall(path.read_text("utf-8")) if not at(path, link).exists()]
    assert broken == []


def at(path: Path, link: str) -> Path:
    return path.parent / link


def is_command(words: list[str]) -> bool:
    """Whether the words begin with a command; after it come arguments of any kind."""
    if words[0] not in COMMANDS:
        return False
    context = click.Context(program)
    command = program.get_command(context, words[0])
    if isinstance(command, click.Group) and len(words) > 1:
        return words[1] in command.commands
    return command is not None


def test_the_version_stands_on_top_of_the_changelog() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    changelog = (DOCS / "changelog.md").read_text("utf-8")
    versions = re.findall(r"^## \[?(\d+\.\d+\.\d+)", changelog, re.MULTILINE)
    assert versions[0] == project["version"]


def test_every_command_can_say_what_it_does() -> None:
    context = click.Context(program)
    for name, (place, what) in COMMANDS.items():
        if place.startswith("ops.demo") and not (ROOT / "ops" / "demo").exists():
            continue
        command = program.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.help
        assert what.endswith(".")
