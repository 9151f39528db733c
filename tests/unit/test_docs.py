"""Documents say what is: generated pages are current, and commands that are named exist."""

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from ops.cli.program import COMMANDS, program
from streams.keyspace import PLAIN, PREFIXES
from tests.support.cli_page import leaves
from tests.support.documents import DOCS, PAGES
from tests.support.reference import keyspace_rows

ROOT = DOCS.parent
PROSE = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
COMMAND = re.compile(r"(?:^|`|\$ |\.venv/bin/)roughneck((?: +[a-z][a-z-]*)+)", re.MULTILINE)
TARGET = re.compile(r"(?:^|`|\$ )make +([a-z-]+)", re.MULTILINE)
MODULE = re.compile(r"python -m ((?:streams|processors|gateway|ops|tests)[\w.]*)")
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)")
SOURCE = re.compile(r"`((?:streams|processors|gateway|ops|tests|lua|lib)/[\w/.-]+\.(?:py|lua))`")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
INNER = re.compile(r"\$\(([^()]*)\)")
BEFORE = r"^(?:sudo |.* rm tool |.*\.venv/bin/)?"
CALL = re.compile(BEFORE + r"roughneck (.*?)(?:$| #|  | &&| \|)", re.MULTILINE)
README_LINES_MAX = 120


@pytest.mark.parametrize("name", sorted(PAGES))
def test_generated_pages_are_current(name: str) -> None:
    path = DOCS / name
    assert path.exists(), "run: python -m tests.check --fix"
    assert path.read_text("utf-8") == PAGES[name](), "run: python -m tests.check --fix"


def test_every_command_says_what_it_does_and_shows_how() -> None:
    for name, command in leaves():
        assert command.help, name
        assert re.search(rf"^  .*\broughneck .*{name}", command.epilog or "", re.MULTILINE), name
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help or option.hidden, f"{name} {option.opts}"


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_commands_in_prose_exist(path: Path) -> None:
    text = path.read_text("utf-8")
    unknown = [words for words in COMMAND.findall(text) if not is_command(words.split())]
    assert unknown == []
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(TARGET.findall(text)) <= targets
    for module in MODULE.findall(text):
        bare = ROOT / module.replace(".", "/")
        assert bare.with_suffix(".py").exists() or (bare / "__main__.py").exists(), module


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_commands_in_prose_have_the_options_and_arguments_that_there_are(path: Path) -> None:
    """Each is read as the program would read it, and not run."""
    for block in SHELL.findall(path.read_text("utf-8")):
        whole = re.sub(r"\\\n\s*", " ", block)
        lines = "\n".join([INNER.sub("X", whole), *INNER.findall(whole)])
        for call in CALL.findall(lines):
            try:
                parsed(program, shlex.split(call))
            except click.exceptions.Exit:
                pass
            except click.ClickException as error:
                raise AssertionError(f"roughneck {call}: {error.format_message()}") from None


def parsed(command: click.Command, words: list[str]) -> None:
    """Read the words as this command, and those that are left as the command within it."""
    context = command.make_context(command.name, list(words))
    with context:
        if isinstance(command, click.Group):
            left = [*context._protected_args, *context.args]
            _, inner, rest = command.resolve_command(context, left)
            assert inner is not None
            parsed(inner, rest)


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_links_in_prose_lead_somewhere(path: Path) -> None:
    prose = CODE.sub("", path.read_text("utf-8"))
    broken = [link for link in LINK.findall(prose) if not leads(path, *link)]
    assert broken == []


def leads(path: Path, link: str, anchor: str) -> bool:
    """Whether a link of the document `path` has a target, and the heading in it."""
    target = path.parent / link if link else path
    if not target.exists():
        return False
    return not anchor or anchor in anchors(target)


def anchors(path: Path) -> set[str]:
    """What a document's headings are called in links, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_files_named_in_prose_exist(path: Path) -> None:
    named = set(SOURCE.findall(path.read_text("utf-8")))
    roots = (ROOT, ROOT / "streams", ROOT / "streams" / "lua")
    assert [name for name in named if not any((root / name).exists() for root in roots)] == []


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_prose_keeps_to_the_words_of_the_glossary(path: Path) -> None:
    if path.name == "glossary.md":
        return
    prose = CODE.sub("", path.read_text("utf-8")).lower()
    assert [word for word in never_used() if re.search(rf"\b{word.lower()}s?\b", prose)] == []


def never_used() -> list[str]:
    """The words that the glossary rules out altogether."""
    _, found, listed = (DOCS / "glossary.md").read_text("utf-8").partition("Never used")
    words = re.findall(r"`(\w+)`", listed)
    assert found
    assert "queue" in words
    return words


def test_the_keyspace_page_has_every_key() -> None:
    names = [name for name, *_ in keyspace_rows()]
    assert sorted(names) == sorted(PLAIN | PREFIXES)


def test_decisions_are_numbered_listed_and_of_one_form() -> None:
    index = (DOCS / "index.md").read_text("utf-8")
    paths = sorted((DOCS / "decisions").glob("*.md"))
    for number, path in enumerate(paths, 1):
        text = path.read_text("utf-8")
        assert path.name.startswith(f"{number:04}-")
        assert text.startswith(f"# {number}. ")
        headings = ["Context", "Decision", "Price", "What would change our mind"]
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == headings
        assert f"decisions/{path.name}" in index


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= README_LINES_MAX


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
    assert re.findall(r"^## \[?(\w+)", changelog, re.MULTILINE)[0] == "Unreleased"


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
