"""Flows decided: what a flow may be, what a stage is given, and which shapes can never fit."""

from typing import Any

import msgspec
import pytest

from gateway.fitting import ANYTHING, Shape, clash, completed, part, shape_of
from processors.flows.govejle_weekly import FLOW as WEEKLY
from processors.sdk.flows import discover_flows, flow_card
from processors.sdk.named_flow import NamedFlow
from streams.errors import ConfigError, InvalidInput
from streams.flow import (
    Each,
    Flow,
    Stage,
    fanned,
    planned,
    references,
    resolved,
    result_stage,
)


def stage(name: str, *after: str, **fields: Any) -> Stage:
    return Stage(name, "p", after, **fields)


def names(*stages: Stage) -> list[str]:
    return [one.name for one in planned(Flow(stages))]


def test_stages_come_after_those_before_them_and_otherwise_as_given() -> None:
    assert names(stage("c", "b"), stage("b", "a"), stage("a"), stage("d")) == ["a", "d", "b", "c"]


def test_what_an_input_refers_to_comes_before_it() -> None:
    late = stage("late", payload={"x": [{"$result": "early", "path": "/y"}]})
    fan = stage("fan", each=Each("late"))
    assert names(fan, late, stage("early")) == ["early", "late", "fan"]
    assert result_stage(Flow((fan, late, stage("early")))) == "fan"
    assert result_stage(Flow((stage("a"), stage("b")))) == ""


def test_ten_thousand_stages_are_planned_in_a_moment() -> None:
    chain = [stage("s0"), *(stage(f"s{n}", f"s{n - 1}") for n in range(1, 10_000))]
    assert names(*reversed(chain))[-1] == "s9999"


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        ({"a": 1}, []),
        ({"$result": "a"}, [("$result", "a", "")]),
        ([{"b": {"$input": "/c~1d"}}], [("$input", "", "/c~1d")]),
        ({"x": {"$item": ""}, "y": {"$result": "a", "path": "/0"}}, None),
    ],
)
def test_references_are_found_wherever_they_stand(payload: Any, found: Any) -> None:
    told = list(references(payload))
    assert told == (found or told)
    assert bool(told) == (found != [])


def test_references_are_replaced_and_what_failed_is_null() -> None:
    payload = {"a": {"$result": "one", "path": "/x/1"}, "b": [{"$result": "gone", "path": "/x"}]}
    given = resolved(payload | {"c": {"$item": "/a~1b"}}, {"one": {"x": [1, 2]}}, {}, {"a/b": 3})
    assert given == {"a": 2, "b": [None], "c": 3}
    with pytest.raises(InvalidInput, match="nothing at /x/9"):
        resolved({"$result": "one", "path": "/x/9"}, {"one": {"x": [1]}}, {})
    with pytest.raises(InvalidInput, match="the result of one at /x is no list"):
        fanned(Each("one", "/x"), {"one": {"x": "text"}}, None)


# ---------------------------------------------------------------------- shapes


class Inner(msgspec.Struct):
    count: int


class Outer(msgspec.Struct):
    inner: Inner
    names: list[str]
    pair: tuple[int, str]
    maybe: Inner | None = None
    free: dict[str, int] = {}


class OtherInner(msgspec.Struct):
    count: str


def shape(of: Any) -> Shape:
    return shape_of(msgspec.json.encode(msgspec.json.schema(of)))


@pytest.mark.parametrize(
    ("given", "wanted", "why"),
    [
        (int, int, ""),
        (int, float, ""),
        (float, int, ""),  # 2.0 is a whole number
        (int, str, "is a whole number, and a text is wanted"),
        (str, int | None, "is a text, and a whole number or null is wanted"),
        (str | None, str, ""),
        (None, str, "is null, and a text is wanted"),
        (Any, str, ""),
        (str, Any, ""),
        (list[int], list[float], ""),
        (list[int], list[str], "is a list each of which is a whole number, and a text is wanted"),
        (list[Any], list[str], ""),
        (tuple[int, str], list[int], ""),  # what is said by place is not compared
        (dict[str, int], Inner, ""),
        (list[int], Inner, "is a list, and an object is wanted"),
        (Inner, Inner, ""),
        (Inner, Outer, ""),  # unlike, yet some value may be both
        (OtherInner, Inner, "has a field count that is a text, and a whole number is wanted"),
        (
            OtherInner | None,
            Inner,
            "has a field count that is a text, and a whole number is wanted",
        ),
        (
            list[OtherInner],
            list[Inner | None],
            "is a list each of which has a field count that is a text, "
            "and a whole number is wanted",
        ),
        (bool, int, "is true or false, and a whole number is wanted"),
    ],
)
def test_two_shapes_clash_only_where_no_value_is_of_both(given: Any, wanted: Any, why: str) -> None:
    assert clash(shape(given), shape(wanted)) == why


@pytest.mark.parametrize(
    ("path", "kinds", "declared"),
    [
        ("", {"object"}, True),
        ("/inner/count", {"integer"}, True),
        ("/names", {"array"}, True),
        ("/names/0", {"string"}, True),
        ("/names/x", None, True),
        ("/names/0/x", None, True),
        ("/pair/0", {"integer"}, True),
        ("/pair/1", {"string"}, True),
        ("/pair/2", None, True),
        ("/maybe/count", {"integer"}, True),
        ("/free/anything", {"integer"}, True),
        ("/typo", "any", False),
        ("/inner/typo/deeper", "any", False),
    ],
)
def test_a_part_of_a_shape_is_known_nothing_or_not_declared(
    path: str, kinds: Any, declared: bool
) -> None:
    found, says = part(shape(Outer), path)
    assert says is declared
    if kinds is None:
        assert found is None
    elif kinds == "any":
        assert found is not None
        assert found.kinds is None
    else:
        assert found is not None
        assert found.kinds == kinds


def test_schemas_that_say_little_or_refer_to_themselves_clash_with_nothing() -> None:
    endless = {"$ref": "#/$defs/A", "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}]}}}
    for odd in (endless, {"$ref": "http://elsewhere/"}, {"allOf": [{"type": "string"}]}, True, {}):
        assert clash(Shape(odd, odd), shape(int)) == ""
        assert part(Shape(odd, odd), "/a/b")[0] is not None
    assert shape_of(b"no json") == ANYTHING
    tree = {"type": "array", "items": {"$ref": "#"}}
    assert clash(Shape(tree, tree), Shape(tree, tree)) == ""
    assert Shape({"enum": ["a", 1]}, {}).kinds == {"string", "integer"}
    assert Shape({"const": None}, {}).kinds == {"null"}


def test_an_input_is_completed_with_the_defaults_of_its_schema() -> None:
    given = {"inner": {"count": 1}, "names": [], "pair": [1, "a"]}
    assert completed(shape(Outer), given) == given | {"maybe": None, "free": {}}
    assert completed(shape(Outer), [1]) == [1]


# ---------------------------------------------------------------------- named flows


class Given(msgspec.Struct):
    pages: list[str]


def named(**fields: Any) -> NamedFlow:
    told: dict[str, Any] = {
        "name": "n",
        "version": "1",
        "summary": "s",
        "input": Given,
        "stages": (stage("a"),),
    }
    return NamedFlow(**(told | fields))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"name": "N"}, "name must match"),
        ({"name": "flow"}, "name must match"),
        ({"version": ""}, "version"),
        ({"summary": "a\nb"}, "summary"),
        ({"deadline_s": 0.0}, "deadline_s"),
        ({"stages": ()}, "at least one stage"),
        ({"stages": (stage("a", "b"),)}, "after b"),
        ({"stages": (stage("a", each=Each(path="/pagez")),)}, "a refers to /pagez"),
        ({"stages": (stage("a", payload={"$input": "/x/y"}),)}, "a refers to /x/y"),
    ],
)
def test_a_named_flow_that_cannot_be_is_refused_where_it_is_made(fields: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        named(**fields)


def test_named_flows_are_found_and_make_cards() -> None:
    assert WEEKLY in discover_flows()
    card = flow_card(WEEKLY, 7)
    assert (card.result, card.published_ms) == ("newsletter", 7)
    assert msgspec.json.decode(msgspec.json.encode(card), type=type(card)) == card
