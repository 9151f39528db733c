"""A valid instance of a JSON Schema, as a constrained model would write it."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

WORDS = (
    *("Vejle", "Fjord", "musik", "koncert", "familie", "torsdag", "gratis", "bibliotek", "havn"),
    *("evening", "market", "lecture", "harbour", "walk", "children", "autumn", "workshop", "choir"),
)
DEPTH_MAX = 12
ITEMS_AT_MOST = 3  # where the schema gives no upper bound


class UnusableSchema(ValueError):
    """No grammar can be made from it; the text is what llama-server would say."""


def instance(schema: object, rng: random.Random) -> object:
    """A value that the schema accepts. Raises UnusableSchema for what no model could be held to."""
    return _Maker(schema, rng).make(schema, 0)


class _Maker:
    def __init__(self, root: object, rng: random.Random) -> None:
        self._root = root
        self._rng = rng

    def make(self, schema: object, depth: int) -> object:
        if depth > DEPTH_MAX:
            raise UnusableSchema("failed to parse grammar: nested too deep")
        if schema is True or schema == {}:
            return self._words(2)
        if not isinstance(schema, Mapping):
            raise UnusableSchema("failed to parse grammar: not a schema")
        if "$ref" in schema:
            return self.make(self._resolve(str(schema["$ref"])), depth + 1)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][0]
        for choice in ("anyOf", "oneOf"):
            if choice in schema:
                return self.make(schema[choice][0], depth + 1)
        if "allOf" in schema:
            return self.make(_merged(schema["allOf"]), depth + 1)
        return self._typed(schema, depth)

    def _typed(self, schema: Mapping[str, Any], depth: int) -> object:
        match _kind(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return self._string(schema)
            case "integer":
                return round(self._number(schema, whole=True))
            case "number":
                return self._number(schema, whole=False)
            case "boolean":
                return True
            case "null":
                return None
            case other:
                raise UnusableSchema(f"failed to parse grammar: unknown type {other}")

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, object]:
        properties = schema.get("properties", {})
        required = schema.get("required", ())
        names = [*properties, *(name for name in required if name not in properties)]
        return {name: self.make(properties.get(name, True), depth + 1) for name in names}

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[object]:
        prefix = schema.get("prefixItems", ())
        least = int(schema.get("minItems", 1))
        most = int(schema.get("maxItems", max(least, len(prefix), ITEMS_AT_MOST)))
        count = max(min(least, most), min(most, len(prefix) or self._rng.randint(least, most)))
        items = schema.get("items", True)
        return [
            self.make(prefix[index] if index < len(prefix) else items, depth + 1)
            for index in range(count)
        ]

    def _string(self, schema: Mapping[str, Any]) -> str:
        shaped = {
            "date": "2026-11-28",
            "date-time": "2026-11-28T19:30:00Z",
            "time": "19:30:00Z",
            "email": "hej@example.com",
            "uri": "https://example.com/",
        }.get(str(schema.get("format", "")))
        if shaped is not None:
            return shaped
        text = self._words(self._rng.randint(2, 5))
        least = int(schema.get("minLength", 0))
        while len(text) < least:
            text += " " + self._words(1)
        return text[: int(schema.get("maxLength", len(text)))]

    def _number(self, schema: Mapping[str, Any], *, whole: bool) -> float:
        step = 1 if whole else 0.5
        low = schema.get("minimum")
        if low is None and "exclusiveMinimum" in schema:
            low = schema["exclusiveMinimum"] + step
        high = schema.get("maximum")
        if high is None and "exclusiveMaximum" in schema:
            high = schema["exclusiveMaximum"] - step
        if low is None:
            low = 0 if high is None or high >= 0 else high - 10
        high = low + 10 if high is None else max(low, high)
        factor = schema.get("multipleOf")
        if factor:
            return float(-(-low // factor) * factor)
        return self._rng.randint(int(low), int(high)) if whole else (low + high) / 2

    def _words(self, count: int) -> str:
        return " ".join(self._rng.choice(WORDS) for _ in range(count))

    def _resolve(self, reference: str) -> object:
        found: Any = self._root
        for part in reference.removeprefix("#").strip("/").split("/"):
            if not isinstance(found, Mapping) or part not in found:
                raise UnusableSchema(f"failed to parse grammar: unresolved {reference}")
            found = found[part]
        return found


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        return str(next((one for one in kind if one != "null"), "null"))
    if kind is None:
        return "array" if "items" in schema else "object"
    return str(kind)


def _merged(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            if name == "properties":
                merged[name] = {**merged.get(name, {}), **value}
            elif name == "required":
                merged[name] = [*merged.get(name, ()), *value]
            else:
                merged[name] = value
    return merged
