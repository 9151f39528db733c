"""JSON Schema that llama.cpp makes a good grammar of, and the same fields in words.

After llama.cpp's `grammars/README.md` and the reports behind it: nested `$ref`, `pattern`, lengths
and large ranges end in "failed to parse grammar", or in a grammar that is silently dropped. What
is left out of the grammar is in the words, and is checked when the answer is decoded.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from streams.errors import ConfigError

DEPTH_MAX = 3  # objects within objects: more than that models get wrong
ITEMS_MAX = 20  # a grammar repeats its rule for each
RANGE_MAX = 1_000  # of whole numbers that a grammar spells out
UNUSABLE = ("oneOf", "allOf", "not", "prefixItems", "discriminator", "additionalProperties")

Schema = dict[str, Any]


def answer_schema(answer: type[msgspec.Struct]) -> Schema:
    """The schema of `answer`: inlined, every property required, nothing but what is safe.

    Raises ConfigError for a type that no safe grammar can be made of: maps, unions, recursion.
    """
    return _bare(_inlined(answer))


def described_fields(answer: type[msgspec.Struct]) -> Iterator[str]:
    """A line for each field: `- minutes: whole number from 1 to 180; what it means`."""
    yield from _lines(_inlined(answer), "")


def _inlined(answer: type[msgspec.Struct]) -> Schema:
    (root,), known = msgspec.json.schema_components([answer], ref_template="{name}")
    return _resolved(answer.__name__, root, (known, 0))


def _resolved(
    where: str, schema: Mapping[str, Any], scope: tuple[Mapping[str, Any], int]
) -> Schema:
    """`schema` without references; words at the place of use go before those of the type."""
    known, depth = scope
    if "$ref" in schema:
        target = {name: value for name, value in known[schema["$ref"]].items() if name != "title"}
        own_words = {"description": schema.get("description", "")}
        return _resolved(where, {**target, **own_words}, scope)
    for keyword in UNUSABLE:
        if keyword in schema:
            raise ConfigError(f"{where}: a model's answer cannot have {keyword} in its schema")
    found = dict(schema)
    if schema.get("type") == "object":
        if depth == DEPTH_MAX or not schema.get("properties"):
            raise ConfigError(f"{where}: a model's answer needs fields, {DEPTH_MAX} levels at most")
        found["properties"] = {
            name: _resolved(f"{where}.{name}", one, (known, depth + 1))
            for name, one in schema["properties"].items()
        }
    if "items" in schema:
        found["items"] = _resolved(f"{where}[]", schema["items"], scope)
    if "anyOf" in schema:
        found["anyOf"] = [_resolved(where, one, scope) for one in schema["anyOf"]]
    return found


def _bare(schema: Schema) -> Schema:
    """What the grammar is made of."""
    if "anyOf" in schema:
        return {"anyOf": [_bare(one) for one in schema["anyOf"]]}
    if "enum" in schema:
        return {"enum": schema["enum"]}
    bare: Schema = {"type": schema["type"]}
    if schema["type"] == "object":
        bare["properties"] = {name: _bare(one) for name, one in schema["properties"].items()}
        bare["required"] = list(schema["properties"])
    if "items" in schema:
        bare["items"] = _bare(schema["items"])
        limits = (name for name in ("minItems", "maxItems") if schema.get(name, 99) <= ITEMS_MAX)
        bare |= {name: schema[name] for name in limits}
    if schema["type"] == "integer" and _is_small(schema):
        bare |= {"minimum": schema["minimum"], "maximum": schema["maximum"]}
    return bare


def _is_small(schema: Schema) -> bool:
    """Whether the range of a whole number is one that a grammar can spell out."""
    low, high = schema.get("minimum"), schema.get("maximum")
    return low is not None and high is not None and 0 <= low <= high <= RANGE_MAX


def _lines(schema: Schema, indent: str) -> Iterator[str]:
    for name, one in schema["properties"].items():
        meaning = _meaning(one)
        yield f"{indent}- {name}: {_kind(one)}{f'; {meaning}' if meaning else ''}"
        if (inner := _object_in(one)) is not None:
            yield from _lines(inner, f"{indent}  ")


def _object_in(schema: Schema) -> Schema | None:
    if "anyOf" in schema:
        return next((found for one in schema["anyOf"] if (found := _object_in(one))), None)
    if schema.get("type") == "array":
        return _object_in(schema["items"])
    return schema if schema.get("type") == "object" else None


def _meaning(schema: Schema) -> str:
    said = schema.get("description", "")
    inner = schema.get("anyOf", ())
    return str(said or next((one["description"] for one in inner if one.get("description")), ""))


def _kind(schema: Schema) -> str:
    """A type in words, with the limits that are checked."""
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(msgspec.json.encode(one).decode() for one in schema["enum"])
    match schema["type"]:
        case "object":
            return "object with"
        case "array":
            return f"list{_between(schema, 'minItems', 'maxItems')} of {_kind(schema['items'])}"
        case "string":
            limit = _between(schema, "minLength", "maxLength")
            return f"text{f' of{limit} characters' if limit else ''}"
        case "integer":
            return f"whole number{_between(schema, 'minimum', 'maximum')}"
        case "number":
            return f"number{_between(schema, 'minimum', 'maximum')}"
        case "boolean":
            return "true or false"
        case other:
            return str(other)


def _between(schema: Schema, least: str, most: str) -> str:
    low, high = schema.get(least), schema.get(most)
    if low is not None and high is not None:
        return f" {low} to {high}"
    if high is not None:
        return f" at most {high}"
    return f" at least {low}" if low is not None else ""
