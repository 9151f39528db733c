"""Instruments: which written notes and which tempos a player of a level can be asked for."""

from collections.abc import Mapping

import msgspec

LEVEL_MAX = 10
TEMPO_LEAST = 40  # beats a minute; slower is no pulse any more


class Instrument(msgspec.Struct, frozen=True):
    """What is asked of players at level 1 and at level 10; between them it grows evenly.

    Pitches are those of MIDI (60 is middle C), as written: what transposing instruments read.
    """

    name: str
    low: tuple[int, int]
    high: tuple[int, int]
    tempo: tuple[int, int] = (100, 176)  # the fastest, in beats a minute

    def range_at(self, level: int) -> tuple[int, int]:
        """The lowest and the highest written note."""
        return between(self.low, level), between(self.high, level)

    def tempo_at(self, level: int) -> tuple[int, int]:
        """The slowest and the fastest tempo."""
        return TEMPO_LEAST, between(self.tempo, level)


def between(ends: tuple[int, int], level: int) -> int:
    """The value at a level, on the line from level 1 to level 10."""
    first, last = ends
    return round(first + (last - first) * (level - 1) / (LEVEL_MAX - 1))


ANY = Instrument("any", (48, 40), (72, 84), (96, 160))  # for instruments that are not listed
INSTRUMENTS: Mapping[str, Instrument] = {
    one.name: one
    for one in (
        Instrument("violin", (55, 55), (81, 100)),
        Instrument("viola", (48, 48), (74, 93)),
        Instrument("cello", (36, 36), (62, 81), (96, 168)),
        Instrument("double bass", (40, 40), (60, 79), (84, 144)),
        Instrument("flute", (62, 60), (79, 96), (100, 184)),
        Instrument("recorder", (60, 60), (74, 86), (96, 168)),
        Instrument("oboe", (62, 58), (77, 91)),
        Instrument("clarinet", (52, 52), (72, 96), (100, 184)),
        Instrument("bassoon", (41, 34), (60, 76)),
        Instrument("saxophone", (60, 58), (77, 90), (100, 184)),
        Instrument("trumpet", (58, 54), (72, 86)),
        Instrument("horn", (53, 43), (72, 84), (88, 152)),
        Instrument("trombone", (46, 40), (62, 77), (88, 152)),
        Instrument("tuba", (34, 26), (53, 67), (84, 138)),
        Instrument("piano", (48, 21), (76, 108), (100, 184)),
        Instrument("guitar", (52, 52), (71, 88)),
        Instrument("accordion", (53, 53), (77, 93)),
        Instrument("voice", (57, 53), (72, 84), (88, 144)),
    )
}
DANISH: Mapping[str, str] = {
    "bratsch": "viola",
    "kontrabas": "double bass",
    "fløjte": "flute",
    "tværfløjte": "flute",
    "blokfløjte": "recorder",
    "obo": "oboe",
    "klarinet": "clarinet",
    "fagot": "bassoon",
    "saxofon": "saxophone",
    "trompet": "trumpet",
    "valdhorn": "horn",
    "basun": "trombone",
    "klaver": "piano",
    "harmonika": "accordion",
    "sang": "voice",
    "violoncel": "cello",
}


def instrument_of(name: str) -> Instrument | None:
    """The instrument of an English or Danish name; None for one that is not listed."""
    plain = " ".join(name.lower().split())
    return INSTRUMENTS.get(DANISH.get(plain, plain))
