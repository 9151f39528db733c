"""Nested results as people read them."""

import pytest

from ops.cli.outline import outline


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        ("hej", ["hej"]),
        (3.5, ["3.5"]),
        (None, ["–"]),
        (True, ["yes"]),
        ([], ["[]"]),
        ({}, ["{}"]),
        (["a", 1, True], ["a, 1, yes"]),
        ("X:1\nK:C\nCDE|\n", ["X:1", "K:C", "CDE|"]),
        ({"a": 1, "b": {"c": None}}, ["a: 1", "b:", "  c: –"]),
        ([{"a": 1, "b": "x\ny"}, {"a": 2}], ["- a: 1", "  b:", "    x", "    y", "- a: 2"]),
        (["w" * 50, "w" * 50], ["- " + "w" * 50, "- " + "w" * 50]),
        ([[1, 2], [3]], ["- 1, 2", "- 3"]),
        ({"text": "w " * 60}, ["text: " + "w " * 60]),
    ],
)
def test_a_line_for_each_field_and_texts_as_they_are(value, lines):
    assert [line.rstrip() for line in outline(value).split("\n")] == [one.rstrip() for one in lines]
