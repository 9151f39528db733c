import pytest

from processors.sdk import Manifest, ResourceClass
from streams.errors import ConfigError

GOOD = {"name": "word-count", "version": "1.0.0", "summary": "Count words."}


def test_a_manifest_needs_only_name_version_and_summary():
    manifest = Manifest(**GOOD)
    assert manifest.resource_class is ResourceClass.IO
    assert (manifest.attempts_max, manifest.timeout_s, manifest.dependencies) == (3, 60.0, ())


def test_a_class_may_be_given_by_name_and_dependencies_as_a_list():
    manifest = Manifest(**GOOD, resource_class="cpu", dependencies=["log"])
    assert manifest.resource_class is ResourceClass.CPU
    assert manifest.dependencies == ("log",)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Word Count"),
        ("name", ""),
        ("name", "x" * 65),
        ("name", "a:b"),
        ("name", "line\n"),
        ("name", 3),
        ("version", ""),
        ("version", 1),
        ("summary", ""),
        ("summary", "two\nlines"),
        ("summary", "x" * 201),
        ("resource_class", "gpu"),
        ("resource_class", None),
        ("dependencies", "http"),
        ("dependencies", ("http", "http")),
        ("dependencies", ("HTTP",)),
        ("dependencies", (1,)),
        ("attempts_max", 0),
        ("attempts_max", 101),
        ("attempts_max", 2.5),
        ("attempts_max", True),
        ("backoff_s", 0),
        ("backoff_s", "1"),
        ("backoff_s", float("nan")),
        ("backoff_max_s", 1e9),
        ("timeout_s", 0),
        ("timeout_s", -1),
        ("timeout_s", float("inf")),
        ("model", None),
    ],
)
def test_a_wrong_field_is_named_with_its_processor(field, value):
    name = value if field == "name" else "word-count"
    with pytest.raises(ConfigError) as caught:
        Manifest(**{**GOOD, field: value})
    assert f"processor {name!r}: {field} " in str(caught.value)


def test_a_model_is_for_class_ollama_only():
    assert Manifest(**GOOD, resource_class=ResourceClass.OLLAMA, model="gen").model == "gen"
    with pytest.raises(ConfigError, match=r"'word-count': model 'gen' is for class ollama only"):
        Manifest(**GOOD, model="gen")


def test_the_longest_wait_is_not_shorter_than_the_first():
    with pytest.raises(ConfigError, match=r"'word-count': backoff_max_s 5"):
        Manifest(**GOOD, backoff_s=10, backoff_max_s=5)
