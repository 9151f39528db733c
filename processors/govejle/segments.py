"""A field cut into segments at its block elements or lines, and put together again, exactly."""

import re
from collections.abc import Iterator, Sequence

import msgspec

from processors.govejle.masking import TAG
from processors.govejle.page import INLINE

RAW = ("script", "style")
ENDS = {name: re.compile(rf"</{name}\s*>", re.IGNORECASE) for name in RAW} | {
    "!--": re.compile("-->")
}
OPENED = re.compile(r"<(!--|script\b|style\b)", re.IGNORECASE)
TAG_NAME = re.compile(r"</?\s*([a-z][a-z0-9]*)", re.IGNORECASE)


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
        begin = len(part) - len(part.lstrip())
        end = max(begin, len(part.rstrip()))
        middle = part[begin:end]
        around = Piece(part[:begin], False), Piece(part[end:], False)
        pieces += [around[0], Piece(middle, bool(middle)), around[1]]
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
    for begin, end in markup(text):
        run += text[here:begin]
        here = end
        name = TAG_NAME.match(text, begin, end)
        if name is not None and name[1].lower() in INLINE:
            run += text[begin:end]
            continue
        parts += [(run, True), (text[begin:end], False)]
        run = ""
    return [*parts, (run + text[here:], True)]


def markup(text: str) -> Iterator[tuple[int, int]]:
    """Where tags, comments, scripts and styles stand. One that never ends is text.

    Takes time that grows with the length of the text, whatever it holds: an end that is not there
    is looked for once.
    """
    endless: set[str] = set()
    here = text.find("<")
    while here >= 0:
        stop, kind = -1, ""
        if opened := OPENED.match(text, here):
            kind = opened[1].lower()
            end = None if kind in endless else ENDS[kind].search(text, opened.end())
            stop = end.end() if end else -1
            endless |= set() if end else {kind}
        if stop < 0 and kind != "!--" and (tag := TAG.match(text, here)):
            stop = tag.end()
        if stop >= 0:
            yield here, stop
        here = text.find("<", max(stop, here + 1))
