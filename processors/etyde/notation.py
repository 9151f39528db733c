"""A subset of ABC notation (abcnotation.com, version 2.1): what an étude for one voice needs.

Header fields, notes with accidentals, octaves and lengths, rests, chords, broken rhythm, tuplets,
ties, slurs, grace notes, decorations, chord symbols, bar lines with repeats and endings, inline
fields. What is not in it is an error that names the bar: several voices, macros, overlays.
"""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction

import msgspec

from processors.etyde.keys import signature

LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
MIDDLE_C = 60
ACCIDENTALS = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}
HEADER = re.compile(r"^([A-Za-z]):\s*(.*?)\s*$")
BROKEN = {">": (Fraction(3, 2), Fraction(1, 2)), "<": (Fraction(1, 2), Fraction(3, 2))}
TUPLETS = {2: 3, 3: 2, 4: 3, 5: 2, 6: 2, 7: 2, 8: 3, 9: 2}  # p notes in the time of q
BODY_MAX = 20_000  # characters
NOTE = r"(?P<accidental>\^\^|\^|__|_|=)?(?P<letter>[A-Ga-g])(?P<octave>[',]*)"
LENGTH = r"(?P<number>\d*)(?P<slashes>/*)(?P<divisor>\d*)"
TOKENS = re.compile(
    "|".join(
        (
            r"(?P<space>[ \t\n\\`y]+)",
            r"(?P<inline>\[[A-Za-z]:[^\]]*\])",
            r"(?P<bar>:*(?:\|\]|\|\||\[\||\|)+:*|::+)(?P<ending>\s*\[?\d(?:[,-]\d)*)?",
            r"(?P<second>\[\d(?:[,-]\d)*)",
            r"(?P<chord>\[(?:[\^_=]*[A-Ga-g][',]*\d*/*\d*)+\])" + LENGTH.replace("<", "<c_"),
            r"(?P<note>" + NOTE + LENGTH + ")",
            r"(?P<rest>[zx])" + LENGTH.replace("<", "<r_"),
            r"(?P<bars>[ZX])(?P<count>\d*)",
            r"(?P<tuplet>\((?P<p>[2-9])(?::(?P<q>\d?))?(?::(?P<r>\d?))?)",
            r"(?P<broken>[<>]+)",
            r"(?P<tie>-)",
            r"(?P<slur>\()",
            r"(?P<unslur>\))",
            r"(?P<grace>\{[^}]*\})",
            r"(?P<quoted>\"[^\"\n]*\")",
            r"(?P<decoration>![^!\n]+!|\+[^+\n]+\+|[.~HLMOPSTuv])",
        )
    )
)


class NotationError(ValueError):
    """Text that is not of the subset; the message says where."""


class Note(msgspec.Struct, frozen=True):
    """A note, a chord or a rest. Lengths are parts of a whole note, pitches those of MIDI."""

    pitches: tuple[int, ...]  # none: a rest
    length: Fraction
    begins: Fraction  # within its bar
    slurred: bool = False
    tied: bool = False  # to the note before it
    staccato: bool = False
    altered: bool = False  # by an accidental of its own
    tuplet: bool = False


class Bar(msgspec.Struct, frozen=True):
    """A bar. `metre` is None where there is none."""

    number: int
    notes: tuple[Note, ...]
    metre: Fraction | None

    @property
    def length(self) -> Fraction:
        """The sum of its notes."""
        return sum((note.length for note in self.notes), Fraction(0))


class Tune(msgspec.Struct, frozen=True):
    """A tune that was read."""

    title: str
    key: str
    metre: str
    unit: Fraction
    bars: tuple[Bar, ...]
    fields: Mapping[str, str]

    @property
    def notes(self) -> list[Note]:
        """The notes of all bars, rests too."""
        return [note for bar in self.bars for note in bar.notes]

    @property
    def pitches(self) -> list[int]:
        """The highest pitch of each note that begins anew; rests and tied notes have none."""
        return [max(note.pitches) for note in self.notes if note.pitches and not note.tied]


def parse(text: str) -> Tune:
    """The tune in `text`. Raises NotationError for what is not of the subset."""
    fields, body = split(text)
    for name in ("X", "T", "M", "L", "K"):
        if name not in fields:
            raise NotationError(f"the header lacks {name}:")
    if not body.strip():
        raise NotationError("there are no notes after K:")
    if len(body) > BODY_MAX:
        raise NotationError(f"more than {BODY_MAX} characters")
    reader = Reader(metre_of(fields["M"]), unit_of(fields["L"]), fields["K"])
    for match in tokens(body):
        reader.read(match)
    return Tune(
        title=fields["T"],
        key=fields["K"],
        metre=fields["M"],
        unit=unit_of(fields["L"]),
        bars=tuple(reader.end()),
        fields=fields,
    )


def split(text: str) -> tuple[dict[str, str], str]:
    """Header fields, the first of each name, and the body behind `K:`; words and comments go."""
    fields: dict[str, str] = {}
    body: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        bare = line.split("%", 1)[0].rstrip()
        match = HEADER.match(bare)
        if "K" not in fields:
            if match:
                fields.setdefault(match[1], match[2])
            elif bare.strip():
                raise NotationError(f"{bare.strip()[:40]!r} stands before K: and is no field")
        elif match is None:
            body.append(bare)
        elif match[1] in "KML":
            body.append(f"[{match[1]}:{match[2]}]")
        elif match[1] not in "wWNTRrZPQ":
            raise NotationError(f"the field {match[1]}: in the body is not supported")
    return fields, "\n".join(body)


def tokens(body: str) -> Iterator[re.Match[str]]:
    """The pieces of the body. Raises NotationError at the first that is none."""
    at, bar = 0, 1
    while at < len(body):
        match = TOKENS.match(body, at)
        if match is None or match.end() == at:
            raise NotationError(f"bar {bar}: {body[at : at + 10].strip()!r} is not understood")
        bar += match.lastgroup in ("bar", "ending")
        at = match.end()
        yield match


def metre_of(text: str) -> Fraction | None:
    """The length of a bar: `3/4`, `C`, `C|`, `none`. Raises NotationError."""
    plain = text.strip()
    named = {"C": Fraction(1), "C|": Fraction(1), "none": None}
    if plain in named:
        return named[plain]
    match = re.fullmatch(r"(\d{1,2})/(1|2|4|8|16|32)", plain)
    if match is None or int(match[1]) == 0:
        raise NotationError(f"M:{plain[:20]} is no metre")
    return Fraction(int(match[1]), int(match[2]))


def unit_of(text: str) -> Fraction:
    """The length of a note without a number: `1/8`. Raises NotationError."""
    match = re.fullmatch(r"1(?:/(1|2|4|8|16|32|64))?", text.strip())
    if match is None:
        raise NotationError(f"L:{text[:20]} is no note length")
    return Fraction(1, int(match[1] or 1))


def key_of(text: str) -> Mapping[str, int]:
    """What a key alters. Raises NotationError."""
    try:
        return signature(text)
    except ValueError as error:
        raise NotationError(f"K:{text[:30]}: {error}") from None


def factor(number: str, slashes: str, divisor: str) -> Fraction:
    """The length behind a note: `3`, `/`, `//`, `3/2`. Raises NotationError for 0."""
    top = int(number or 1)
    bottom = int(divisor) if divisor else 2 ** len(slashes)
    if not top or not bottom or len(number) > 3 or len(divisor) > 3 or len(slashes) > 6:
        raise NotationError(f"{number}{slashes}{divisor} is no length")
    return Fraction(top, bottom)


class Reader:
    """Reads the body piece by piece; knows where in the bar it is."""

    def __init__(self, metre: Fraction | None, unit: Fraction, key: str) -> None:
        self._metre, self._unit, self._key = metre, unit, key_of(key)
        self._bars: list[Bar] = []
        self._notes: list[Note] = []
        self._accidentals: dict[tuple[str, str], int] = {}  # of this bar
        self._tuplet: tuple[Fraction, int] = (Fraction(1), 0)  # factor, notes left
        self._waiting: Fraction | None = None  # the factor that broken rhythm has for the next note
        self._slurs = 0
        self._tie = self._staccato = False

    def read(self, match: re.Match[str]) -> None:
        """Take one piece."""
        groups = match.groupdict()
        if groups["note"]:
            pitch, altered = self._pitch(groups)
            length = factor(groups["number"], groups["slashes"], groups["divisor"])
            self._add((pitch,), length, altered=altered)
        elif groups["chord"]:
            self._chord(groups)
        elif groups["rest"]:
            length = factor(groups["r_number"], groups["r_slashes"], groups["r_divisor"])
            self._add((), length)
        elif groups["bar"]:
            self._close()
        elif groups["bars"]:
            self._rest_bars(int(groups["count"] or 1))
        elif groups["inline"]:
            self._field(groups["inline"][1], groups["inline"][3:-1])
        elif groups["tuplet"]:
            self._begin_tuplet(groups)
        elif groups["broken"]:
            self._break(groups["broken"])
        else:
            self._mark(groups)

    def end(self) -> list[Bar]:
        """The bars; notes after the last bar line make one of their own."""
        if self._tuplet[1] or self._waiting is not None:
            raise NotationError("the tune ends within a tuplet or a broken rhythm")
        self._close()
        return self._bars

    def _mark(self, groups: Mapping[str, str | None]) -> None:
        """Slurs, ties and signs at notes."""
        self._slurs += bool(groups["slur"]) - bool(groups["unslur"])
        self._tie = self._tie or bool(groups["tie"])
        self._staccato = self._staccato or groups["decoration"] in (".", "!staccato!")
        if self._slurs < 0:
            raise NotationError(f"{self._here}: a slur ends that was not begun")

    @property
    def _here(self) -> str:
        return f"bar {len(self._bars) + 1}"

    def _pitch(self, groups: Mapping[str, str]) -> tuple[int, bool]:
        letter, octave = groups["letter"], groups["octave"]
        if len(octave) > 4:
            raise NotationError(f"{self._here}: {letter}{octave} is no note")
        place = (letter, octave)
        accidental = groups["accidental"]
        if accidental:
            self._accidentals[place] = ACCIDENTALS[accidental]
        by = self._accidentals.get(place, self._key.get(letter.upper(), 0))
        base = MIDDLE_C + LETTERS[letter.upper()] + (12 if letter.islower() else 0)
        return base + 12 * (octave.count("'") - octave.count(",")) + by, bool(accidental)

    def _chord(self, groups: Mapping[str, str]) -> None:
        inner = list(re.finditer(NOTE + LENGTH, groups["chord"][1:-1]))
        read = [self._pitch(one.groupdict()) for one in inner]
        own = inner[0].groupdict()
        length = factor(own["number"], own["slashes"], own["divisor"])
        outer = factor(groups["c_number"], groups["c_slashes"], groups["c_divisor"])
        pitches = tuple(sorted(pitch for pitch, _ in read))
        self._add(pitches, length * outer, altered=any(altered for _, altered in read))

    def _add(self, pitches: tuple[int, ...], length: Fraction, *, altered: bool = False) -> None:
        by, left = self._tuplet
        length *= self._unit
        if left:
            length *= by
            self._tuplet = (by, left - 1)
        if self._waiting is not None:
            length *= self._waiting
            self._waiting = None
        begins = sum((note.length for note in self._notes), Fraction(0))
        self._notes.append(
            Note(
                pitches=pitches,
                length=length,
                begins=begins,
                slurred=self._slurs > 0 and bool(pitches),
                tied=self._tie and bool(pitches),
                staccato=self._staccato and bool(pitches),
                altered=altered,
                tuplet=left > 0,
            )
        )
        self._tie = self._staccato = False

    def _break(self, signs: str) -> None:
        if not self._notes or self._waiting is not None or len(set(signs)) > 1 or len(signs) > 3:
            raise NotationError(f"{self._here}: {signs} stands between no two notes")
        before = self._notes.pop()
        short = Fraction(1, 2 ** len(signs))
        long = 2 - short
        first, self._waiting = (long, short) if signs[0] == ">" else (short, long)
        self._notes.append(msgspec.structs.replace(before, length=before.length * first))

    def _begin_tuplet(self, groups: Mapping[str, str]) -> None:
        if self._tuplet[1]:
            raise NotationError(f"{self._here}: a tuplet within a tuplet")
        p = int(groups["p"])
        q = int(groups["q"]) if groups["q"] else self._default_q(p)
        count = int(groups["r"]) if groups["r"] else p
        if not q or not count:
            raise NotationError(f"{self._here}: {groups['tuplet']} is no tuplet")
        self._tuplet = (Fraction(q, p), count)

    def _default_q(self, p: int) -> int:
        """In compound time fives, sevens and nines fill three, else two."""
        compound = self._metre is not None and self._metre.numerator % 3 == 0
        return 3 if p in (5, 7, 9) and compound else TUPLETS[p]

    def _field(self, name: str, value: str) -> None:
        match name:
            case "M":
                self._metre = metre_of(value)
            case "L":
                self._unit = unit_of(value)
            case "K":
                self._key = key_of(value)
            case "Q" | "T" | "P" | "N" | "R" | "r":
                pass
            case _:
                raise NotationError(f"{self._here}: the field [{name}:] is not supported")

    def _rest_bars(self, count: int) -> None:
        if self._metre is None or not 0 < count <= 64 or self._notes:
            raise NotationError(f"{self._here}: Z{count} is no whole bar's rest here")
        for left in range(count, 0, -1):
            rest = Note((), self._metre, Fraction(0))
            if left == 1:
                self._notes.append(rest)
            else:
                self._bars.append(Bar(len(self._bars) + 1, (rest,), self._metre))

    def _close(self) -> None:
        if self._notes:
            if self._waiting is not None:
                raise NotationError(f"{self._here}: a bar line within a broken rhythm")
            self._bars.append(Bar(len(self._bars) + 1, tuple(self._notes), self._metre))
        self._notes, self._accidentals = [], {}


def uneven_bars(tune: Tune) -> list[str]:
    """A sentence for each bar that does not sum to the metre; an upbeat and its last bar may."""
    bars = [bar for bar in tune.bars if bar.metre is not None]
    wrong = [bar for bar in bars if bar.length != bar.metre]
    if len(bars) > 1 and wrong == [bars[0], bars[-1]]:
        first, last = wrong
        if first.length < last.length and first.length + last.length == last.metre:
            return []
    return [
        f"bar {bar.number} has {bar.length} of a whole note, the metre {bar.metre}" for bar in wrong
    ]
