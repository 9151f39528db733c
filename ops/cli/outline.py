"""A nested value for people to read: a line for each field, texts as they are."""

from collections.abc import Iterator

import msgspec

INDENT = "  "
LINE_MAX = 76  # what is longer is a list of lines


def outline(value: object) -> str:
    """The lines of a value that came from JSON."""
    return "\n".join(_lines(value))


def _lines(value: object) -> Iterator[str]:
    flat = _flat(value)
    if flat is not None:
        yield flat
    elif isinstance(value, str):
        yield from value.rstrip("\n").split("\n")
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _field(f"{name}:", part)
    elif isinstance(value, list):
        for part in value:
            yield from _item(part)


def _field(name: str, value: object) -> Iterator[str]:
    flat = _flat(value)
    if flat is not None:
        yield f"{name} {flat}".rstrip()
    elif isinstance(value, str) and "\n" not in value:
        yield f"{name} {value}"
    else:
        yield name
        yield from (INDENT + line for line in _lines(value))


def _item(value: object) -> Iterator[str]:
    for number, line in enumerate(_lines(value)):
        yield f"{INDENT if number else '- '}{line}"


def _flat(value: object) -> str | None:
    """What fits into a line with its name; None for what does not."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case str():
            return value if "\n" not in value and len(value) <= LINE_MAX else None
        case dict() if value:
            return None
        case list() if value:
            parts = [_flat(part) for part in value if isinstance(part, str | int | float)]
            if len(parts) < len(value) or None in parts:
                return None
            line = ", ".join(part for part in parts if part)
            return line if len(line) <= LINE_MAX else None
    return msgspec.json.encode(value).decode()
