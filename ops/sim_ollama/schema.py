"""A valid instance of a JSON Schema, as a constrained model would write it.

Where the prompt holds data, the instance speaks of it: objects answer to objects that have an id of
the same name, ids are dealt out, texts are put in other words.
"""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from ops.sim_ollama.comprehension import told
from ops.sim_ollama.reading import Reading
from ops.sim_ollama.wording import fitted, phrase, translated

WORDS = (
    *("Vejle", "Fjord", "musik", "koncert", "familie", "torsdag", "gratis", "bibliotek", "havn"),
    *("evening", "market", "lecture", "harbour", "walk", "children", "autumn", "workshop", "choir"),
)
DEPTH_MAX = 12
ITEMS_AT_MOST = 3  # where the schema gives no upper bound


class UnusableSchema(ValueError):
    """No grammar can be made from it; the text is what llama-server would say."""


Data = Mapping[str, Any]
NO_DATA: Data = {}
NOTHING_READ = Reading()
ALL_IDS = "s"  # what the name of a list of ids has more than that of an id


def instance(schema: object, rng: random.Random, reading: Reading = NOTHING_READ) -> object:
    """A value that the schema accepts. Raises UnusableSchema for what no model could be held to."""
    return _Maker(schema, rng, reading).make(schema, 0)


class _Maker:
    def __init__(self, root: object, rng: random.Random, reading: Reading) -> None:
        self._root = root
        self._rng = rng
        self._reading = reading
        self._dealt: dict[str, int] = {}  # how many values of a name are used
        self._share: dict[str, int] = {}  # how many of them a list gets

    def make(self, schema: object, depth: int, name: str = "", about: Data = NO_DATA) -> object:
        if depth > DEPTH_MAX:
            raise UnusableSchema("failed to parse grammar: nested too deep")
        if schema is True or schema == {}:
            return self._words(2)
        if not isinstance(schema, Mapping):
            raise UnusableSchema("failed to parse grammar: not a schema")
        if "$ref" in schema:
            return self.make(self._resolve(str(schema["$ref"])), depth + 1, name, about)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return about[name] if about.get(name) in schema["enum"] else schema["enum"][0]
        for choice in ("anyOf", "oneOf"):
            if choice in schema:
                return self.make(schema[choice][0], depth + 1, name, about)
        if "allOf" in schema:
            return self.make(_merged(schema["allOf"]), depth + 1, name, about)
        return self._typed(schema, depth, name, about)

    def _typed(self, schema: Data, depth: int, name: str, about: Data) -> object:
        match _kind(schema):
            case "object":
                return self._object(schema, depth, about)
            case "array":
                return self._array(schema, depth, name)
            case "string":
                return self._string(schema, name, about)
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

    def _object(self, schema: Data, depth: int, about: Data) -> dict[str, object]:
        properties = schema.get("properties", {})
        required = schema.get("required", ())
        names = [*properties, *(name for name in required if name not in properties)]
        said: dict[str, object] = {}
        for name in names:
            said[name] = self.make(properties.get(name, True), depth + 1, name, {**said, **about})
        return said

    def _array(self, schema: Data, depth: int, name: str) -> list[object]:
        prefix = schema.get("prefixItems", ())
        least = int(schema.get("minItems", 1))
        most = int(schema.get("maxItems", max(least, len(prefix), ITEMS_AT_MOST)))
        items = schema.get("items", True)
        subjects = self._subjects(items)
        if subjects is not None:
            most = int(schema.get("maxItems", len(subjects)))
            return [self.make(items, depth + 1, name, one) for one in subjects[:most]]
        if name.endswith(f"id{ALL_IDS}") and (ids := self._deal(name, most)):
            return list(ids)
        count = max(min(least, most), min(most, len(prefix) or self._rng.randint(least, most)))
        count = self._hands(items, most) or count
        return [
            self.make(prefix[index] if index < len(prefix) else items, depth + 1, name)
            for index in range(count)
        ]

    def _subjects(self, items: object) -> list[Data] | None:
        """What each item of a list is about: the data's objects, or what it says of a page."""
        properties = items.get("properties", {}) if isinstance(items, Mapping) else {}
        for records in self._reading.records():
            if any(name in records[0] for name in properties if is_id(name)):
                return list(records)
        for name, one in properties.items():
            options = one.get("enum", ()) if isinstance(one, Mapping) else ()
            for words in self._reading.words():
                if options and set(words) <= set(options):
                    pairs = ((word, told(word, self._reading)) for word in words)
                    return [{name: word, **found} for word, found in pairs if found]
        return None

    def _hands(self, items: object, most: int) -> int:
        """How many items share the ids of the data among them; 0 where they hold none."""
        properties = items.get("properties", {}) if isinstance(items, Mapping) else {}
        for name, one in properties.items():
            total = len(self._reading.values(name.removesuffix(ALL_IDS)))
            if name.endswith(f"id{ALL_IDS}") and total:
                holds = int(one.get("maxItems", total))
                listed = [len(self._listed(other)) for other in properties if self._listed(other)]
                most = min([most, *listed])
                hands = min(most, max(math.ceil(total / holds), min(ITEMS_AT_MOST, total)))
                self._share[name] = math.ceil(total / hands)
                return math.ceil(total / self._share[name])
        return 0

    def _deal(self, name: str, most: int) -> Sequence[str]:
        """The next ids of the data that nobody has yet."""
        ids = self._reading.values(name.removesuffix(ALL_IDS))
        start = self._dealt.get(name, 0)
        dealt = ids[start : start + min(most, self._share.get(name, most))]
        self._dealt[name] = start + len(dealt)
        return dealt

    def _string(self, schema: Data, name: str, about: Data) -> str:
        shaped = {
            "date": "2026-11-28",
            "date-time": "2026-11-28T19:30:00Z",
            "time": "19:30:00Z",
            "email": "hej@example.com",
            "uri": "https://example.com/",
        }.get(str(schema.get("format", "")))
        if shaped is not None:
            return shaped
        text = self._said(name, about)
        least = int(schema.get("minLength", 0))
        while len(text) < least:
            text += " " + self._words(1)
        most = int(schema.get("maxLength", self._reading.limits.get(name, len(text))))
        return fitted(text, most)

    def _said(self, name: str, about: Data) -> str:
        """The data's own word of that name, other words for its text, a phrase, or any words."""
        given = about.get(name)
        if isinstance(given, str):
            is_kept = is_id(name) or name in ("quote", "value")
            return given if is_kept else translated(given, self._reading.language)
        if name.startswith(("quote", "evidence")) and (lines := self._reading.lines(name)):
            return self._rng.choice(lines)
        if listed := self._listed(name):
            place = self._dealt.get(name, 0)
            self._dealt[name] = place + 1
            return str(listed[place % len(listed)])
        data = about if "title" in about else {**about, **self._titled()}
        turn = self._dealt.setdefault(name, self._rng.randrange(100))
        self._dealt[name] = turn + 1
        said = phrase(name, self._reading.language, data, turn)
        return said or self._words(self._rng.randint(2, 5))

    def _listed(self, name: str) -> list[Any]:
        """The words that the data lists for a field: HEADINGS for a heading."""
        listed = self._reading.sections.get(f"{name}s".upper())
        return listed if isinstance(listed, list) else []

    def _titled(self) -> Data:
        """A title out of the data, for what is said of all of it."""
        titles = self._reading.values("title")
        for records in self._reading.records():
            titles += [str(t) for one in records for t in one.get("titles", ())]
        return {"title": self._rng.choice(titles)} if titles else {}

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


def is_id(name: str) -> bool:
    """Whether a field of that name says which object is meant."""
    return name == "id" or name.endswith("_id")


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
