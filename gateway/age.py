"""When a job was made, as its id tells: the difference between 404 and 410."""

from streams.ids import ALPHABET, SHARD

DIGITS = {character: value for value, character in enumerate(ALPHABET)}
LENGTH = 26


def made_ms(job_id: str) -> int | None:
    """Wall milliseconds from an id that is a UUIDv7; None for derived ids and other texts."""
    shard, _, text = job_id.partition("-")
    if shard != SHARD or len(text) != LENGTH or not set(text) <= DIGITS.keys():
        return None
    value = 0
    for character in text:
        value = value << 5 | DIGITS[character]
    version, variant = value >> 76 & 0xF, value >> 62 & 0b11
    return value >> 80 if version == 7 and variant == 0b10 and value < 1 << 128 else None
