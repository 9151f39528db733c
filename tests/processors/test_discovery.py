from importlib.metadata import EntryPoint
from pathlib import Path

import jsonschema_rs
import msgspec
import pytest

from processors.builtin.echo import EchoIn, EchoOut, echo
from processors.sdk import Manifest, discovery, processor
from processors.sdk.declaration import Origin, load_module
from processors.sdk.registry import Registry
from streams.errors import ConfigError
from tests.processors.support import processor_of

SOURCE = """
import msgspec
from processors.sdk import Manifest, processor

class Given(msgspec.Struct):
    text: str

@processor(Manifest(name="{name}", version="1", summary="Length."))
def length(given: Given) -> int:
    return len(given.text)
"""


@pytest.fixture(autouse=True)
def _no_builtin(tmp_path_factory, monkeypatch):
    """An empty built-in package: these tests are about what is found beside it."""
    folder = tmp_path_factory.mktemp("empty_package")
    (folder / "no_processors").mkdir()
    (folder / "no_processors" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(folder))


def discover(*folders: Path) -> Registry:
    return Registry.discover(folders, builtin="no_processors")


def write(folder: Path, file: str, name: str) -> Path:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SOURCE.format(name=name))
    return path


def test_the_built_in_package_is_searched_by_itself():
    assert Registry.discover().get("echo") is processor_of(echo)


def test_a_file_in_a_folder_is_found_and_parts_and_tests_are_not(tmp_path):
    write(tmp_path, "length.py", "length")
    write(tmp_path, "_draft.py", "draft")
    write(tmp_path, "_parts/__init__.py", "part")
    write(tmp_path, "test_length.py", "tested")
    write(tmp_path, "conftest.py", "conftest")
    found = discover(tmp_path)
    assert [one.name for one in found] == ["length"]
    assert found.get("length").origin.file == str(tmp_path / "length.py")


def test_a_package_in_a_folder_may_have_parts(tmp_path):
    write(tmp_path, "measure/parts.py", "length")
    (tmp_path / "measure" / "__init__.py").write_text("from .parts import length\n")
    [found] = discover(tmp_path)
    assert found.name == "length"
    assert load_module(found.origin).length is found.function


def test_a_folder_given_twice_is_searched_once(tmp_path):
    write(tmp_path, "length.py", "length")
    assert len(discover(tmp_path, tmp_path / ".")) == 1


def test_two_of_one_name_are_an_error_that_names_both_files(tmp_path):
    first = write(tmp_path / "a", "one.py", "length")
    second = write(tmp_path / "b", "two.py", "length")
    with pytest.raises(ConfigError) as caught:
        discover(tmp_path / "a", tmp_path / "b")
    assert str(caught.value) == f"two processors are named 'length': {first} and {second}"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(1)", "SystemExit(1)"),
        ("1 / 0", "ZeroDivisionError"),
        ("from processors.sdk import Manifest\nManifest(name='X', version='1', summary='s')", "X"),
    ],
)
def test_a_file_that_fails_to_import_is_named(tmp_path, source, why):
    file = tmp_path / "broken.py"
    file.write_text(source)
    with pytest.raises(ConfigError) as caught:
        discover(tmp_path)
    assert str(caught.value).startswith(f"cannot import {file}: ")
    assert why in str(caught.value)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="missing does not exist"):
        discover(tmp_path / "missing")


def entry_points_are(monkeypatch, *values: str) -> None:
    points = [
        EntryPoint(name=f"point-{n}", value=value, group="roughneck.processors")
        for n, value in enumerate(values)
    ]
    monkeypatch.setattr(discovery, "entry_points", lambda group: points)


def test_entry_points_name_a_module_or_a_function(monkeypatch):
    entry_points_are(monkeypatch, "processors.builtin.echo", "processors.builtin.echo:echo")
    assert [one.name for one in discover()] == ["echo"]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("no_such_module", "cannot load entry point 'point-0' = no_such_module"),
        (
            "processors.builtin.echo:EchoIn",
            "entry point 'point-0' = processors.builtin.echo:EchoIn",
        ),
    ],
)
def test_a_bad_entry_point_is_named(monkeypatch, value, why):
    entry_points_are(monkeypatch, value)
    with pytest.raises(ConfigError, match=why):
        discover()


class Opaque:
    pass


class Given(msgspec.Struct):
    opaque: Opaque


def declare(function):
    return processor(Manifest(name="odd", version="1", summary="Odd."))(function)


def no_input():
    return 1


def three(a: EchoIn, b: object, c: object) -> int:
    return 1


def untyped(given, context) -> int:
    return 1


def not_a_struct(given: dict) -> int:
    return 1


def no_result(given: EchoIn):
    return 1


def unresolved(given: "Nowhere") -> int:  # noqa: F821
    return 1


async def yields(given: EchoIn) -> int:
    yield 1


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (no_input, "must take its input"),
        (three, "must take its input"),
        (untyped, "the annotation of 'given' must be a msgspec Struct"),
        (not_a_struct, "the annotation of 'given' must be a msgspec Struct"),
        (no_result, "return annotation"),
        (unresolved, "annotation cannot be resolved: name 'Nowhere'"),
        (yields, "must return its result, not yield"),
        (Opaque(), "must be a function"),
    ],
)
def test_a_function_that_cannot_be_a_processor_is_refused_where_it_is_declared(function, why):
    with pytest.raises(ConfigError, match=f"processor 'odd' in .*: .*{why}"):
        declare(function)


def test_a_type_without_a_schema_is_an_error_at_boot():
    def opaque(given: Given) -> int:
        return 1

    declare(opaque)
    with pytest.raises(
        ConfigError, match=r"processor 'odd' in .*its input type has no JSON Schema"
    ):
        Registry([processor_of(opaque)])


def test_a_card_says_all_that_gateways_need():
    found = Registry([processor_of(echo)])
    [card] = found.cards({}, now_ms=17)
    assert (card.name, card.version, card.resource_class, card.model) == (
        "echo",
        "1.0.0",
        "cpu",
        "",
    )
    assert (card.attempts_max, card.timeout_ms, card.published_ms) == (1, 30_000, 17)
    assert (card.backoff_ms, card.backoff_max_ms) == (1_000, 300_000)
    assert msgspec.json.decode(card.input_schema) == msgspec.json.schema(EchoIn)
    assert msgspec.json.decode(card.output_schema) == msgspec.json.schema(EchoOut)
    schema = jsonschema_rs.validator_for(msgspec.json.decode(card.input_schema))
    assert schema.is_valid({"message": "x"})
    assert not schema.is_valid({"message": 3})


def test_a_model_alias_becomes_the_lanes_model_and_an_unknown_one_is_named():
    def ask(given: EchoIn) -> str:
        return ""

    manifest = Manifest(
        name="ask-it", version="1", summary="Ask.", resource_class="ollama", model="gen"
    )
    found = Registry([processor_of(processor(manifest)(ask))])
    assert found.cards({"gen": "qwen3:32b|8192"}, 0)[0].model == "qwen3:32b|8192"
    with pytest.raises(ConfigError, match=r"'ask-it': the model alias 'gen' is not configured"):
        found.cards({"classify": "qwen3:8b"}, 0)


def test_a_worker_of_some_classes_has_only_their_processors():
    found = Registry([processor_of(echo)])
    assert len(found.of_classes({"cpu"})) == 1
    assert len(found.of_classes({"io", "ollama"})) == 0


def test_an_origin_by_module_name_is_imported_by_name():
    assert load_module(Origin("processors.builtin.echo", "")).echo is echo
