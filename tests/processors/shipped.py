"""The samples that ship, with what a simulated model answers to them."""

from pathlib import Path

import processors.builtin
from ops.rehearsal.cast import Cast, find_cast
from ops.rehearsal.samples import Sample, read

SAMPLES = Path(processors.builtin.__file__).parent / "samples"
FILES = sorted(SAMPLES.glob("*/*.json"))


def name_of(file: Path) -> str:
    """`etyde-set/cello`."""
    return f"{file.parent.name}/{file.stem}"


def shipped(file: Path) -> tuple[Cast, Sample]:
    """What a sample is of, and the sample."""
    return find_cast(file.parent.name), read(file)


class Silent:
    """An audience that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, sentence: str) -> None:
        self.told.append(sentence)

    def line(self, level: str, message: str, fields: dict[str, object]) -> None:
        self.told.append(f"{level} {message}")

    def progress(self, fraction: float | None, note: str) -> None:
        self.told.append(note)
