"""A field cut into segments at its block elements or lines, and put together again, exactly."""

import re
from collections.abc import Sequence

import msgspec

from processors.govejle.masking import TAG
from processors.govejle.page import INLINE

RAW = re.compile(r"<(script|style)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE)
TAG_NAME = re.compile(r"</?\s*([a-z][a-z0-9]*)", re.IGNORECASE)
EDGES = re.compile(r"^(\s*)(.*?)(\s*)$", re.DOTALL)


class Piece(msgspec.Struct, frozen=True):
    """A part of a field: a segment to be translated, or what stands between two."""

    text: str
    is_segment: bool


def pieces_of(text: str, *, is_html: bool) -> list[Piece]:
    """The pieces, which joined give `text` again."""
    parts = _html_parts(text) if is_html else _lines(text)
    pieces: list[Piece] = []
    for part, is_segment in parts:
        if not is_segment:
            pieces.append(Piece(part, False))
            continue
        match = EDGES.match(part)
        assert match is not None  # it matches any text
        before, middle, after = match.groups()
        pieces += [Piece(before, False), Piece(middle, bool(middle)), Piece(after, False)]
    return [piece for piece in pieces if piece.text]


def joined(pieces: Sequence[Piece], translated: Sequence[str]) -> str:
    """The pieces with their segments replaced, in order."""
    rest = iter(translated)
    return "".join(next(rest) if piece.is_segment else piece.text for piece in pieces)


def _lines(text: str) -> list[tuple[str, bool]]:
    return [(line, bool(line.strip())) for line in re.split(r"(\n+)", text)]


def _html_parts(text: str) -> list[tuple[str, bool]]:
    """Inline markup stays in its segment; block tags, scripts and comments stand between."""
    parts: list[tuple[str, bool]] = []
    run = ""
    here = 0
    for match in _tags(text):
        run += text[here : match.start()]
        here = match.end()
        name = TAG_NAME.match(match[0])
        if name is not None and name[1].lower() in INLINE and not match.re.groups:
            run += match[0]
            continue
        parts += [(run, True), (match[0], False)]
        run = ""
    return [*parts, (run + text[here:], True)]


def _tags(text: str) -> list[re.Match[str]]:
    raw = list(RAW.finditer(text))
    tags = [
        tag
        for tag in TAG.finditer(text)
        if not any(tag.start() < one.end() and one.start() < tag.end() for one in raw)
    ]
    return sorted([*raw, *tags], key=lambda match: match.start())
