"""What is measured of an étude: its skill, how hard it is, how like another it is."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise

import msgspec

from processors.etyde.notation import Note, Tune

GRAM = 4  # intervals that are compared together
LIKE = 0.6  # from here on two études are the same one
EIGHTH, SIXTEENTH, HALF = Fraction(1, 8), Fraction(1, 16), Fraction(1, 2)


class Skill(StrEnum):
    """What an étude may be asked to train."""

    SIXTEENTHS = "sixteenths"
    DOTTED_RHYTHM = "dotted_rhythm"
    TRIPLETS = "triplets"
    SYNCOPATION = "syncopation"
    LONG_TONES = "long_tones"
    SCALES = "scales"
    THIRDS = "thirds"
    ARPEGGIOS = "arpeggios"
    LEAPS = "leaps"
    OCTAVES = "octaves"
    CHROMATIC = "chromatic"
    LEGATO = "legato"
    STACCATO = "staccato"
    DOUBLE_STOPS = "double_stops"


class Measure(msgspec.Struct, frozen=True):
    """How much of a skill there is: a share from 0 to 1, and what share is enough."""

    share: Callable[[Tune], float]
    enough: float
    meaning: str


def sounding(tune: Tune) -> list[Note]:
    """The notes, without rests."""
    return [note for note in tune.notes if note.pitches]


def intervals(tune: Tune) -> list[int]:
    """Semitones from each note to the next, down is negative."""
    return [after - before for before, after in pairwise(tune.pitches)]


def of_notes(is_one: Callable[[Note], bool]) -> Callable[[Tune], float]:
    """The share of notes of a kind."""

    def share(tune: Tune) -> float:
        notes = sounding(tune)
        return sum(map(is_one, notes)) / len(notes) if notes else 0.0

    return share


def of_intervals(is_one: Callable[[int], bool]) -> Callable[[Tune], float]:
    """The share of intervals of a kind."""

    def share(tune: Tune) -> float:
        found = intervals(tune)
        return sum(map(is_one, found)) / len(found) if found else 0.0

    return share


def is_dotted(note: Note) -> bool:
    """Whether its length is one and a half times a plain one."""
    return not note.tuplet and note.length.numerator == 3


def is_off_beat(note: Note) -> bool:
    """Whether it begins between two quarters and sounds over the next."""
    into = note.begins % Fraction(1, 4)
    return into > 0 and into + note.length > Fraction(1, 4)


def arpeggiated(tune: Tune) -> float:
    """The share of intervals that are a third or a fourth, two or more in one direction."""
    found = intervals(tune)
    steps = [3 <= abs(one) <= 5 for one in found]
    inside = [False] * len(found)
    for at, (one, other) in enumerate(pairwise(found)):
        if steps[at] and steps[at + 1] and one * other > 0:
            inside[at] = inside[at + 1] = True
    return sum(inside) / len(inside) if inside else 0.0


MEASURES: Mapping[Skill, Measure] = {
    Skill.SIXTEENTHS: Measure(
        of_notes(lambda note: note.length <= SIXTEENTH), 0.4, "notes that are sixteenths"
    ),
    Skill.DOTTED_RHYTHM: Measure(of_notes(is_dotted), 0.15, "notes that are dotted"),
    Skill.TRIPLETS: Measure(of_notes(lambda note: note.tuplet), 0.3, "notes in triplets"),
    Skill.SYNCOPATION: Measure(of_notes(is_off_beat), 0.12, "notes tied or held over a beat"),
    Skill.LONG_TONES: Measure(
        of_notes(lambda note: note.length >= HALF), 0.5, "notes of a half or longer"
    ),
    Skill.SCALES: Measure(of_intervals(lambda n: 1 <= abs(n) <= 2), 0.65, "intervals by step"),
    Skill.THIRDS: Measure(of_intervals(lambda n: abs(n) in (3, 4)), 0.4, "intervals of a third"),
    Skill.ARPEGGIOS: Measure(arpeggiated, 0.35, "intervals within broken chords"),
    Skill.LEAPS: Measure(of_intervals(lambda n: abs(n) >= 5), 0.3, "intervals of a fourth or more"),
    Skill.OCTAVES: Measure(of_intervals(lambda n: abs(n) == 12), 0.12, "intervals of an octave"),
    Skill.CHROMATIC: Measure(of_intervals(lambda n: abs(n) == 1), 0.45, "steps of a semitone"),
    Skill.LEGATO: Measure(of_notes(lambda note: note.slurred), 0.5, "notes under a slur"),
    Skill.STACCATO: Measure(of_notes(lambda note: note.staccato), 0.4, "notes with a dot"),
    Skill.DOUBLE_STOPS: Measure(
        of_notes(lambda note: len(note.pitches) > 1), 0.15, "notes of two pitches or more"
    ),
}


def skill_fault(tune: Tune, skill: Skill) -> str:
    """What there is too little of; "" where there is enough."""
    measure = MEASURES[skill]
    share = measure.share(tune)
    if share >= measure.enough:
        return ""
    return (
        f"{skill} is asked for: {share:.0%} are {measure.meaning}, "
        f"at least {measure.enough:.0%} should be"
    )


def difficulty(tune: Tune) -> float:
    """How hard it is, from 0 to 10, by what is counted: pace, leaps, range, rhythm, accidentals."""
    notes = sounding(tune)
    if not notes:
        return 0.0
    time = sum((note.length for note in tune.notes), Fraction(0))
    pace = len(notes) / float(time * 4)  # notes for each quarter
    found = [abs(one) for one in intervals(tune)] or [0]
    pitches = tune.pitches
    parts = (
        (pace / 4, 3.0),
        (sum(found) / len(found) / 8, 2.0),
        ((max(pitches) - min(pitches)) / 36, 1.5),
        (len({note.length for note in notes}) / 8, 1.0),
        (sum(note.altered for note in notes) / len(notes) * 2, 1.0),
        (sum(len(note.pitches) > 1 for note in notes) / len(notes) * 2, 1.0),
        (of_notes(is_off_beat)(tune) * 2, 0.5),
    )
    return round(sum(min(1.0, part) * weight for part, weight in parts), 2)


def grams(pitches: Sequence[int]) -> Counter[tuple[int, ...]]:
    """Each run of GRAM intervals, and how often: the same in every key."""
    steps = [after - before for before, after in pairwise(pitches)]
    return Counter(tuple(steps[at : at + GRAM]) for at in range(max(0, len(steps) - GRAM + 1)))


def likeness(one: Sequence[int], other: Sequence[int]) -> float:
    """How much two melodies have in common, 0 to 1: Jaccard over runs of intervals."""
    first, second = grams(one), grams(other)
    every = sum((first | second).values())
    if not every:
        return float(list(one) == list(other))
    return sum((first & second).values()) / every
