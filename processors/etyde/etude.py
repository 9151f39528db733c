"""What is asked of one étude, and what is wrong with what a model wrote."""

from collections.abc import Sequence

import msgspec

from processors.etyde.instruments import Instrument
from processors.etyde.keys import same_key
from processors.etyde.measures import LIKE, Skill, difficulty, likeness, skill_fault
from processors.etyde.notation import (
    LETTERS,
    MIDDLE_C,
    NotationError,
    Tune,
    metre_of,
    parse,
    uneven_bars,
)

BARS_NAMED_MAX = 6  # so many wrong bars are told at once
APART = 0.05  # two études that are nearer in difficulty are equally hard
NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")


class Brief(msgspec.Struct, frozen=True):
    """What one étude is to be."""

    instrument: Instrument
    level: int
    skill: Skill
    bars: int
    key: str = ""  # empty: any
    metre: str = ""


def read(abc: str) -> Tune | str:
    """The tune, or what is wrong with its notation."""
    try:
        return parse(abc)
    except NotationError as error:
        return str(error)


def tune_faults(tune: Tune, brief: Brief) -> list[str]:
    """What is wrong with one étude by itself."""
    faults = uneven_bars(tune)[:BARS_NAMED_MAX]
    if len(tune.bars) != brief.bars:
        faults.append(f"it has {len(tune.bars)} bars, not {brief.bars}")
    if brief.key and not same_key(tune.key, brief.key):
        faults.append(f"K: is {tune.key}, not {brief.key}")
    if brief.metre and metre_of(tune.metre) != metre_of(brief.metre):
        faults.append(f"M: is {tune.metre}, not {brief.metre}")
    faults += range_faults(tune, brief)
    if fault := skill_fault(tune, brief.skill):
        faults.append(fault)
    return faults


def range_faults(tune: Tune, brief: Brief) -> list[str]:
    """Whether every note is one that a player of the level can be asked for."""
    low, high = brief.instrument.range_at(brief.level)
    outside = [
        (bar.number, pitch)
        for bar in tune.bars
        for note in bar.notes
        for pitch in note.pitches
        if not low <= pitch <= high
    ]
    named = ", ".join(f"{name_of(pitch)} in bar {number}" for number, pitch in outside[:4])
    who = f"{brief.instrument.name} at level {brief.level}"
    return [f"{who} plays {name_of(low)} to {name_of(high)}, not {named}"] if outside else []


def set_faults(tune: Tune, others: Sequence[Tune]) -> list[str]:
    """What is wrong with an étude beside the others of its set."""
    faults = []
    for number, other in enumerate(others, start=1):
        alike = likeness(tune.pitches, other.pitches)
        if alike >= LIKE:
            faults.append(f"it is étude {number} again: {alike:.0%} of its intervals are the same")
        elif abs(difficulty(tune) - difficulty(other)) < APART:
            faults.append(
                f"it is as hard as étude {number}: have more notes to a beat, or larger intervals"
            )
    return faults


def name_of(pitch: int) -> str:
    """A pitch as players say it: 60 is C4."""
    return f"{NAMES[pitch % 12]}{pitch // 12 - 1}"


def in_abc(pitch: int) -> str:
    """A pitch as ABC writes it, without accidentals: 60 is `C`, 72 `c`, 48 `C,`, 61 `C` too."""
    octave, step = divmod(pitch - MIDDLE_C, 12)
    letter = next(name for name, at in reversed(LETTERS.items()) if at <= step)
    return letter.lower() + "'" * (octave - 1) if octave > 0 else letter + "," * -octave
