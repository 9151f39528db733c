"""Whether what one processor returns can be what another takes, by their JSON Schemas. No I/O.

Schemas promise little: what they do not say may fit. Two shapes clash only where both name a type
and the types exclude each other, so that no value could ever pass.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

DEPTH_MAX = 8  # of schemas compared within each other, and of references followed
OBJECT, ARRAY = frozenset({"object"}), frozenset({"array"})
NAMES = {"object": "an object", "array": "a list", "string": "a text", "null": "null"}
NAMES |= {"integer": "a whole number", "number": "a number", "boolean": "true or false"}


class Shape(msgspec.Struct, frozen=True):
    """A JSON Schema, or a part of one. `whole` is the document that its references point into."""

    schema: Any
    whole: Any

    @property
    def kinds(self) -> frozenset[str] | None:
        """The JSON types that a value may have; None: any."""
        found: set[str] = set()
        for branch in branches(self.schema, self.whole):
            named = types_of(branch)
            if named is None:
                return None
            found |= named
        return frozenset(found)

    def or_null(self) -> "Shape":
        """This, or null."""
        return Shape({"anyOf": [self.schema, {"type": "null"}]}, self.whole)

    def listed(self) -> "Shape":
        """A list of these."""
        return Shape({"type": "array", "items": self.schema}, self.whole)

    def item(self) -> "Shape":
        """What a list of this shape holds."""
        parts: list[Any] = []
        for branch in branches(self.schema, self.whole):
            if "array" in (types_of(branch) or ARRAY):
                parts += [*branch.get("prefixItems", ()), branch.get("items", True)]
        return Shape({"anyOf": parts or [True]}, self.whole)


ANYTHING = Shape(True, {})


def shape_of(schema: bytes | msgspec.Raw) -> Shape:
    """The shape that a published schema describes; anything, if it is none."""
    try:
        decoded = msgspec.json.decode(schema)
    except msgspec.DecodeError:
        return ANYTHING
    return Shape(decoded, decoded)


def part(shape: Shape, path: str) -> tuple[Shape | None, bool]:
    """The shape at a JSON Pointer, None where there can be nothing, and whether it is declared."""
    declared = True
    for raw in path.split("/")[1:]:
        key = raw.replace("~1", "/").replace("~0", "~")
        found: list[Any] = []
        for branch in branches(shape.schema, shape.whole):
            below, says = member(branch, key)
            declared = declared and says
            if below is not False:
                found.append(below)
        if not found:
            return None, True
        shape = Shape(found[0] if len(found) == 1 else {"anyOf": found}, shape.whole)
    return shape, declared


def member(schema: Mapping[str, Any], key: str) -> tuple[Any, bool]:
    """The schema of one member of an object or list, False for none; whether it is declared."""
    kinds = types_of(schema)
    if kinds is not None and not kinds & {"object", "array"}:
        return False, True
    if kinds == ARRAY:
        first = schema.get("prefixItems", ())
        if not key.isdecimal():
            return False, True
        return (first[int(key)] if int(key) < len(first) else schema.get("items", True)), True
    properties = schema.get("properties")
    if properties is None:
        return schema.get("additionalProperties", True), True
    if key in properties:
        return properties[key], True
    return schema.get("additionalProperties", True), "additionalProperties" in schema


def clash(given: Shape, wanted: Shape, depth: int = 0) -> str:
    """Why no value of the one shape is ever one of the other; empty when some may be."""
    has, takes = given.kinds, wanted.kinds
    if has is None or takes is None or depth > DEPTH_MAX:
        return ""
    both = has & takes
    if has and not both:
        return f"is {worded(has)}, and {worded(takes)} is wanted"
    if both == ARRAY:
        inside = clash(given.item(), wanted.item(), depth + 1)
        return f"is a list each of which {inside}" if inside else ""
    if both == OBJECT:
        return _clash_inside(given, wanted, depth)
    return ""


def _clash_inside(given: Shape, wanted: Shape, depth: int) -> str:
    """The clash of two objects: of a field that is always there and is known to both."""
    have, want = _only_object(given), _only_object(wanted)
    for name in have.get("required", ()):
        own, other = (each.get("properties", {}).get(name) for each in (have, want))
        if own is None or other is None:
            continue
        inside = clash(Shape(own, given.whole), Shape(other, wanted.whole), depth + 1)
        if inside:
            return f"has a field {name} that {inside}"
    return ""


def _only_object(shape: Shape) -> Mapping[str, Any]:
    """The one branch that describes objects; empty where there are several."""
    found = [one for one in branches(shape.schema, shape.whole) if types_of(one) == OBJECT]
    return found[0] if len(found) == 1 else {}


def completed(shape: Shape, value: Any) -> Any:
    """An object with the defaults of the fields that it leaves out."""
    properties = _only_object(shape).get("properties", {})
    if not isinstance(value, dict):
        return value
    missing = {
        name: field["default"]
        for name, field in properties.items()
        if name not in value and isinstance(field, dict) and "default" in field
    }
    return {**value, **missing}


def branches(schema: Any, whole: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """The alternatives of a schema, references followed; one that says nothing is `{}`."""
    if schema is False:
        return
    if not isinstance(schema, dict) or depth > DEPTH_MAX:
        yield {}
        return
    if "$ref" in schema:
        yield from branches(_referred(schema["$ref"], whole), whole, depth + 1)
        return
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if not alternatives:
        yield schema if "allOf" not in schema else {}
        return
    for one in alternatives:
        yield from branches(one, whole, depth + 1)


def _referred(reference: Any, whole: Any) -> Any:
    """What a reference into the same document points at; anything for any other."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return True
    found = whole
    for raw in reference.split("/")[1:]:
        key = raw.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or key not in found:
            return True
        found = found[key]
    return found


def types_of(schema: Mapping[str, Any]) -> frozenset[str] | None:
    """The types that a schema without alternatives names; None: any. A number may be whole."""
    named = schema.get("type")
    if named is None and "const" in schema:
        named = [_type_of(schema["const"])]
    elif named is None and "enum" in schema:
        named = [_type_of(value) for value in schema["enum"]]
    if named is None:
        return None
    found = {named} if isinstance(named, str) else set(named)
    return frozenset(found | {"integer"} if "number" in found else found)


def _type_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def worded(kinds: frozenset[str]) -> str:
    """Types as a reader says them."""
    shown = kinds - {"integer"} if "number" in kinds else kinds
    return " or ".join(sorted(NAMES.get(kind, kind) for kind in shown)) or "nothing"
