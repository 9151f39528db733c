"""Keys of ABC notation: `G`, `Am`, `D dorian`, `Bb mix`, `HP`; which notes they alter."""

import re
from collections.abc import Mapping

SHARPS, FLATS = "FCGDAEB", "BEADGCF"
TONICS = {"F": -1, "C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5}  # sharps of the major key
MODES = {
    "": 0,
    "maj": 0,
    "ion": 0,
    "m": -3,
    "min": -3,
    "aeo": -3,
    "mix": -1,
    "dor": -2,
    "phr": -4,
    "lyd": 1,
    "loc": -5,
}
KEY = re.compile(r"^([A-G])([#b♯♭]?)\s*([A-Za-z]*)")
ALTERED = {"#": 7, "♯": 7, "b": -7, "♭": -7, "": 0}
SIGNATURE_MAX = 7


def sharps_of(text: str) -> int:
    """How many sharps a key has, negative for flats. Raises ValueError for what is no key."""
    name = text.strip()
    if name.lower() in ("", "none") or name.startswith("clef"):
        return 0
    match = KEY.match(name)
    if match is None:
        raise ValueError(f"{text!r} is no key")
    tonic, accidental, mode = match[1], match[2], match[3].lower()
    mode = "m" if mode == "m" else mode[:3]
    if mode not in MODES and mode not in ("cle", "exp"):
        raise ValueError(f"{text!r} is no key: unknown mode {match[3]!r}")
    count = TONICS[tonic] + ALTERED[accidental] + MODES.get(mode, 0)
    if abs(count) > SIGNATURE_MAX:
        raise ValueError(f"{text!r} has more than {SIGNATURE_MAX} accidentals")
    return count


def signature(text: str) -> Mapping[str, int]:
    """The semitones by which a key alters each note letter. Raises ValueError."""
    count = sharps_of(text)
    altered = SHARPS[:count] if count > 0 else FLATS[: -count or 0]
    return dict.fromkeys(altered, 1 if count > 0 else -1)


def same_key(one: str, other: str) -> bool:
    """Whether two names are of one key. Raises ValueError."""
    tonic = (KEY.match(one.strip()), KEY.match(other.strip()))
    named = [match[1] + match[2] if match else "" for match in tonic]
    return sharps_of(one) == sharps_of(other) and named[0] == named[1]
