"""House rules that no linter knows: sizes, words, Lua headers, and whose folders these are."""

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import pytest

from streams.scripts import parse_header, read_sources

ROOT = Path(__file__).parents[2]
FOLDERS = ("streams", "processors", "gateway", "ops")
MODULE_MAX, FUNCTION_MAX, PARAMETERS_MAX = 400, 50, 6
TEST_MODULE_MAX = 500

# One word per idea: these have another name here (docs/glossary.md), or say nothing.
BANNED = frozenset(
    {
        *("task", "tasks", "queue", "queues", "plugin", "plugins", "handler", "handlers"),
        *("workflow", "dag", "morgue", "dlq", "nack", "msg", "msgs", "cfg", "ctx"),
        *("manager", "mgr", "util", "utils", "helper", "helpers", "common"),
    }
)
# Names of others that we must use: Ollama's options, asyncio's tasks, logging's handlers.
FOREIGN = {"num_ctx", "max_queue", "task"}
FOREIGN_IN = {"ops/logs.py": {"handler", "handlers"}}
WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")

SOURCES = read_sources()
SCRIPTS = sorted(name for name in SOURCES if not name.startswith("lib/"))


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from `def` to its end, without decorators."""
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def positional(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """What a caller must keep in order: without self, and without keyword-only parameters."""
    names = [argument.arg for argument in [*node.args.posonlyargs, *node.args.args]]
    return len([name for name in names if name not in ("self", "cls", "session", "context")])


def defined_names(tree: ast.AST) -> Iterator[str]:
    """Names that this code makes up: of functions, classes, parameters, variables and fields."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.arg():
                yield node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr


def words(name: str) -> set[str]:
    return {word.lower() for word in WORD.findall(name)}


@pytest.mark.parametrize("path", modules(*FOLDERS), ids=short)
def test_a_module_is_small_and_so_are_its_functions(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= MODULE_MAX
    for node in functions(ast.parse(text)):
        assert code_lines(node) <= FUNCTION_MAX, node.name
        assert positional(node) <= PARAMETERS_MAX, node.name


@pytest.mark.parametrize("path", modules("tests"), ids=short)
def test_a_module_of_tests_is_not_long(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= TEST_MODULE_MAX


@pytest.mark.parametrize("path", modules(*FOLDERS), ids=short)
def test_names_keep_to_the_words_of_the_glossary(path: Path) -> None:
    names = set(defined_names(ast.parse(path.read_text("utf-8")))) | {path.stem}
    bad = {name for name in names if words(name) & BANNED}
    assert bad - FOREIGN - FOREIGN_IN.get(short(path), set()) == set()


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_scripts_header_is_its_contract(name: str) -> None:
    """The header binds the names; what it declares is used, and it says what comes back."""
    text = SOURCES[name]
    header = parse_header(text)
    comment, code = split_header(text)
    assert comment.startswith(f"-- {name}: ")
    assert "-- Returns" in comment
    libraries = "\n".join(split_header(SOURCES[f"lib/{one}"])[1] for one in header.uses)
    for declared in (*header.keys, *header.sets, *header.argv):
        bare = declared.removesuffix("...")
        assert re.search(rf"\b{re.escape(bare)}(?![\w])", code + libraries), declared


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_no_script_spells_a_key(name: str) -> None:
    _, code = split_header(SOURCES[name])
    assert not re.search(r"['\"]\{?rn\}?:", code)
    assert not re.search(r"\bKEYS\s*\[|\bredis\.call\('KEYS'|\bmath\.random\b", code)


def split_header(text: str) -> tuple[str, str]:
    """The comment at the top of a script, and the code after it."""
    lines = text.splitlines()
    end = next(i for i, line in enumerate(lines) if not line.startswith("--"))
    return "\n".join(lines[:end]), "\n".join(lines[end:])


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_other_distribution_shadows_a_folder(folder: str) -> None:
    """The folders are top-level packages with plain names: ours must be the ones imported."""
    found = importlib.import_module(folder).__file__
    assert found is not None
    assert Path(found).parent == ROOT / folder
    owners = {
        distribution.metadata["Name"]
        for distribution in distributions()
        for file in distribution.files or ()
        if file.parts[:1] == (folder,) and file.suffix == ".py"
    }
    assert owners <= {"roughneck"}


def test_no_folder_is_named_as_a_module_of_the_standard_library() -> None:
    assert not set(FOLDERS) & sys.stdlib_module_names
