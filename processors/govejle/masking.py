"""What must survive a translation is taken out of the text before a model sees it.

Tags, addresses, phones, prices, times, dates and proper names become `⟦1⟧`, `⟦2⟧`, … and are put
back afterwards: as they were, or as a table says (months, weekdays, the app's glossary).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from processors.govejle.calendars import CALENDARS
from processors.govejle.danish import DATE, PRICE
from processors.govejle.prose import VENUES

PLACEHOLDER = re.compile(r"⟦(\d+)⟧")
COMMENT = r"<!--.{0,5000}?-->"  # bounded, like all here that may begin anywhere and never end
TAG = re.compile(rf"{COMMENT}|<(?:\"[^\"]*\"|'[^']*'|[^<>\"'])*>", re.DOTALL)
ENTITY = re.compile(r"&(?:#\d+|#x[0-9a-f]+|\w+);", re.IGNORECASE)
BRACKET = re.compile(r"[⟦⟧]")
WEB = re.compile(r"(?:https?://|www\.)[^\s<>\"'⟦⟧]*[^\s<>\"'⟦⟧.,;:!?)]")
EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
PHONE = re.compile(r"(?<![\d.,])(?:\+\d{2}\s?)?\d{2}(?:\s?\d{2}){3}(?![\d.,]\d|\d)")
CLOCK = re.compile(
    r"(?<![\d.,:])(?:[01]?\d|2[0-4])[.:][0-5]\d(?:\s*[-–]\s*(?:[01]?\d|2[0-4])[.:][0-5]\d)?(?![\d.])"
    r"|(?<=\bkl\. )(?:[01]?\d|2[0-4])\b|(?<=\bkl )(?:[01]?\d|2[0-4])\b",
    re.IGNORECASE,
)
NAMES = (*VENUES, "Vejle Fjord", "Vejle Ådal", "Jelling", "Vejle", "Kolding", "Egtved", "Give")

SOURCE = "da"
WORD = re.compile(r"[a-zæøå]+", re.IGNORECASE)


class Kind(StrEnum):
    """What was taken out."""

    TAG = "tag"
    FACT = "fact"  # comes back as it was
    DATE = "date"  # its words come from a table
    NAME = "name"  # comes back as it was, or as the glossary says


class Mark(msgspec.Struct, frozen=True):
    """What a placeholder stands for."""

    original: str
    restored: str
    kind: Kind


class Masked(msgspec.Struct, frozen=True):
    """A text with placeholders; `⟦1⟧` stands for the first of `marks`."""

    text: str
    marks: tuple[Mark, ...]

    @property
    def has_words(self) -> bool:
        """Whether there is anything to translate."""
        return any(character.isalpha() for character in PLACEHOLDER.sub("", self.text))

    def original(self) -> str:
        """The text before it was masked."""
        return _filled(self.text, [mark.original for mark in self.marks])

    def restored(self, text: str) -> str:
        """`text`, which must have the same placeholders, with what they stand for."""
        return _filled(text, [mark.restored for mark in self.marks])


class Masker:
    """Masks texts of one job: its names and its glossary, the same in all of them."""

    def __init__(
        self, target: str, names: Iterable[str] = (), glossary: Mapping[str, str] = {}
    ) -> None:
        """`names` stay as they are, a word of `glossary` becomes what that says."""
        self._target = target
        known = {name: name for name in (*NAMES, *names) if name.strip()}
        self._names = {**known, **{word: said for word, said in glossary.items() if word.strip()}}
        # The longest first, so that »Vejle Fjord« is one name. An ending s belongs to the sentence.
        longest = sorted(self._names, key=len, reverse=True)
        either = "|".join(map(re.escape, longest))
        self._name = re.compile(rf"(?<!\w)(?:{either})(?=s?(?!\w))")

    def mask(self, text: str, *, is_html: bool = False) -> Masked:
        """Take out what must survive; `Masked.original` gives `text` back."""
        taken: list[tuple[int, int, Mark]] = []
        for pattern, kind in self._patterns(is_html):
            for match in pattern.finditer(text):
                begin, end = match.span()
                if begin < end and not any(
                    begin < stop and start < end for start, stop, _ in taken
                ):
                    taken.append((begin, end, self._mark(match[0], kind)))
        taken.sort(key=lambda one: one[0])
        parts: list[str] = []
        here = 0
        for number, (begin, end, _) in enumerate(taken, start=1):
            parts += (text[here:begin], f"⟦{number}⟧")
            here = end
        return Masked("".join([*parts, text[here:]]), tuple(mark for *_, mark in taken))

    def _patterns(self, is_html: bool) -> Sequence[tuple[re.Pattern[str], Kind]]:
        markup = [(TAG, Kind.TAG), (ENTITY, Kind.FACT)] if is_html else []
        facts = [(one, Kind.FACT) for one in (BRACKET, WEB, EMAIL)]
        dates = [(DATE, Kind.DATE)] if self._target != SOURCE else []
        more = [(one, Kind.FACT) for one in (PRICE, PHONE, CLOCK)]
        return [*markup, *facts, *dates, *more, (self._name, Kind.NAME)]

    def _mark(self, original: str, kind: Kind) -> Mark:
        if kind is Kind.DATE:
            return Mark(original, translated_date(original, self._target), kind)
        if kind is Kind.NAME:
            return Mark(original, self._names[original], kind)
        return Mark(original, original, kind)


def translated_date(text: str, target: str) -> str:
    """`fredag d. 12. juni` as `Friday 12 June`: the numbers stay, the words come from a table."""
    danish, foreign = CALENDARS[SOURCE], CALENDARS[target]
    text = re.sub(r"\b(?:den|d\.)\s*", "", text, flags=re.IGNORECASE)
    if target == "en" and WORD.search(text):  # a number alone may be one in which dots divide
        text = re.sub(r"(\d)\.", r"\1", text)
    tables = ((danish.months, foreign.months), (danish.weekdays, foreign.weekdays))

    def said(match: re.Match[str]) -> str:
        word = match[0].lower()
        for names, foreign_names in tables:
            for index, name in enumerate(names):
                if name == word or (len(word) >= 3 and name.startswith(word)):
                    return foreign_names[index]
        return {danish.to: foreign.to, danish.and_: foreign.and_}.get(word, match[0])

    return WORD.sub(said, text)


def _filled(text: str, originals: Sequence[str]) -> str:
    return PLACEHOLDER.sub(lambda match: originals[int(match[1]) - 1], text)
